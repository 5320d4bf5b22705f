"""An application with one activity, for the stand-in portal: Python's standard library alone.

It listens on a free port of this machine, prints the port as its first line, and then a line for
each thing that happened. It registers the activity "check" when it is installed or updated, and
again after each update, writes two lines into the log of the workflow that calls it, and returns a
value.
"""

import http.server
import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request


class Application:
    def __init__(self):
        self.application_token = None
        self.url = None

    def take(self, form):
        """Takes what the portal has sent; says what it was."""
        token = form["auth[application_token]"]
        event = form.get("event")
        if event in ("ONAPPINSTALL", "ONAPPUPDATE"):
            # The first event brings the token; an update may bring another one.
            self.application_token = token
            self.register(form)
            return event
        if token != self.application_token:
            return "refused a request that is not the portal's"
        if event == "ONAPPUNINSTALL":
            self.application_token = None
            return event
        self.check(form)
        return f"checked, due {form['properties[Due]']}"

    def register(self, form):
        for event in ("ONAPPUPDATE", "ONAPPUNINSTALL"):
            self.call(form, "event.bind", {"event": event, "handler": self.url})
        self.call(form, "bizproc.activity.add", {
            "CODE": "check",
            "NAME": "Check the order",
            "HANDLER": self.url,
            "USE_SUBSCRIPTION": "Y",
            "PROPERTIES": {"Due": {"Name": "Due", "Type": "date", "Default": "2026-12-01"}},
            "RETURN_PROPERTIES": {"Total": {"Name": "Total", "Type": "int"}},
        })

    def check(self, form):
        token = form["event_token"]
        for line in ("Order received", "Card charged"):
            self.call(form, "bizproc.activity.log", {"EVENT_TOKEN": token, "LOG_MESSAGE": line})
        self.call(form, "bizproc.event.send", {
            "EVENT_TOKEN": token, "LOG_MESSAGE": "Order checked", "RETURN_VALUES": {"TOTAL": 42},
        })

    @staticmethod
    def call(form, method, params):
        body = json.dumps({**params, "auth": form["auth[access_token]"]}).encode()
        headers = {"Content-Type": "application/json"}
        url = form["auth[client_endpoint]"] + method
        try:
            request = urllib.request.Request(url, body, headers)
            return json.load(urllib.request.urlopen(request))["result"]
        except urllib.error.HTTPError as error:
            refusal = json.load(error)
            # Both events of an update come here, in whichever order.
            if refusal["error"] in ("ERROR_ACTIVITY_ALREADY_INSTALLED", "ERROR_CORE"):
                return None
            raise RuntimeError(f"{method}: {refusal}") from None


def main():
    application = Application()
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode(), True))
            # Reply first: a portal does not wait for the work.
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            with lock:
                print(application.take(form), flush=True)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    application.url = f"http://127.0.0.1:{server.server_port}/"
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
