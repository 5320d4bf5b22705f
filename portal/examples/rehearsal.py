"""A rehearsal of an application's whole life: the portal's binary on one side, handler.py on the
other, and nothing else.

    cargo build -p bizproc-portal --features cli
    python3 portal/examples/rehearsal.py target/debug/bizproc-portal

The application is installed, registers an activity, is called by a workflow that REST starts, logs,
returns a value that the portal shows, is updated (its registrations are gone, and made again), and
is uninstalled.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request

DEADLINE = 30


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def until(what, look):
    """Looks until something is seen; a rehearsal that hangs says what it waits for."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.02)
    raise TimeoutError(f"waited in vain for {what}")


def rehearse(portal, application):
    """`portal` is what the binary has printed; `application` reads a line of the handler."""
    api, rest, app = portal["page"] + "api/", portal["client_endpoint"], portal["app"]
    token = app["access_token"]
    assert application() == "ONAPPINSTALL"
    codes = lambda: ask(rest + "bizproc.activity.list", {"auth": token})["result"]
    assert codes() == ["check"], codes()
    print("installed: the activity is registered")

    start = {"auth": token, "TEMPLATE_ID": 1, "DOCUMENT_ID": ["crm", "CCrmDocumentDeal", "DEAL_7"]}
    workflow = ask(rest + "bizproc.workflow.start", start)["result"]
    assert application() == "checked, due 12/01/2026"
    of_it = f"{api}workflows/{workflow}/"
    activity = until("the value", lambda: [
        it for it in ask(of_it + "returned")["activities"] if it["return_values"]])[0]
    assert activity["return_values"] == {"Total": "42"}, activity
    entries = ask(of_it + "entries")["entries"]
    texts = [entry["text"] for entry in entries if entry["kind"] == "custom"]
    assert texts == ["Order received", "Card charged", "Order checked"], texts
    assert ask(of_it + "lost")["lost"] == []
    print("called: three entries, and Total is 42")

    ask(f"{api}apps/{app['client_id']}/update_token", {})
    # ONAPPUPDATE for the handler that was bound, and ONAPPINSTALL for the callback.
    assert sorted([application(), application()]) == ["ONAPPINSTALL", "ONAPPUPDATE"]
    until("the registration", lambda: codes() == ["check"])
    ask(rest + "bizproc.workflow.start", start)
    assert application().startswith("checked")
    print("updated: registered again, and called with another application token")

    ask(f"{api}apps/{app['client_id']}/uninstall", {})
    assert application() == "ONAPPUNINSTALL"
    failed = [sent for sent in ask(api + "sent")["sent"] if sent["failed"]]
    assert failed == [], failed
    print("uninstalled: everything that was sent was taken")


def main(binary):
    here = os.path.dirname(os.path.abspath(__file__))
    handler = subprocess.Popen([sys.executable, os.path.join(here, "handler.py")],
                               stdout=subprocess.PIPE, text=True)
    read = lambda: handler.stdout.readline().strip()
    url = f"http://127.0.0.1:{read()}/"
    portal = subprocess.Popen([binary, "--json", "--no-tls", "--app", "--install-url", url],
                              stdout=subprocess.PIPE, text=True)
    try:
        rehearse(json.loads(portal.stdout.readline()), read)
    finally:
        for process in (portal, handler):
            process.terminate()
            process.wait()
    print("rehearsal ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
