"""Lets the official Python SDK do what the Rust test asks for, one JSON line each way.

    in   {"do": "log", "event_token": "..", "message": ".."}        and so on, see TASKS
    out  {"answer": {..}}

The SDK is used as it was published. Two things around it are ours:

- Time. A pause of the SDK is told ({"sleep": milliseconds}) instead of slept through; the test
  moves the portal's clock as far and says {"woken": true}.
- Addresses. The portal's is a parameter of the SDK; the one of the OAuth server is written into
  it, so the resolver of this process is told that this name is the portal. The certificate that
  comes back is checked against the name as ever. `requests` trusts the portal's authority through
  REQUESTS_CA_BUNDLE.
"""

import json
import os
import socket
import sys
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit

sys.path.insert(0, os.environ["JUDGE_PACKAGES"])

from b24pysdk import BitrixApp, BitrixToken, BitrixWebhook  # noqa: E402
from b24pysdk.errors import BitrixAPIError  # noqa: E402

OAUTH_HOST = "oauth.bitrix24.tech"
OAUTH_PORT = int(os.environ["JUDGE_OAUTH_PORT"])

real_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, port, *args, **kwargs):
    """Leads the OAuth server's name to the portal, and every other name to where it belongs."""
    if host == OAUTH_HOST:
        host, port = "127.0.0.1", OAUTH_PORT
    return real_getaddrinfo(host, port, *args, **kwargs)


def say(value):
    print(json.dumps(value), flush=True)


def sleep(seconds):
    say({"sleep": round(seconds * 1000)})
    if not json.loads(sys.stdin.readline()).get("woken"):
        raise RuntimeError("a pause was answered with something else")


socket.getaddrinfo = getaddrinfo
time.sleep = sleep

tokens = {}


def log_params(task):
    return {"EVENT_TOKEN": task["event_token"], "LOG_MESSAGE": task["message"]}


def log(token, task):
    answer = token.call_method("bizproc.activity.log", log_params(task))
    return {"result": answer["result"], "time": answer["time"]}


def webhook(task):
    url = urlsplit(task["url"])
    secret = url.path.removeprefix("/rest/")
    tokens["hook"] = BitrixWebhook(domain=url.netloc, webhook_token=secret)
    return {}


def install(task):
    app = BitrixApp(client_id=task["client_id"], client_secret=task["client_secret"])
    tokens["app"] = BitrixToken(
        domain=urlsplit(task["root"]).netloc,
        auth_token=task["tokens"]["access_token"],
        refresh_token=task["tokens"]["refresh_token"],
        expires=datetime.fromtimestamp(task["tokens"]["expires"], tz=timezone.utc),
        expires_in=3600,
        bitrix_app=app,
    )
    return {}


def log_as_app(task):
    before = tokens["app"].oauth_token.access_token
    answer = log(tokens["app"], task)
    return answer | {"renewed": tokens["app"].oauth_token.access_token != before}


def batch(task):
    methods = [("bizproc.activity.log", log_params(command)) for command in task["commands"]]
    answer = tokens["hook"].call_batch(methods, halt=task["halt"])["result"]
    return {"outcomes": list(outcomes(answer, len(methods)))}


def outcomes(answer, count):
    for index in range(count):
        result = section(answer["result"], index)
        error = section(answer["result_error"], index)
        if result is not None:
            yield {"result": result}
        elif error is not None:
            yield {"error": error["error"]}


def section(values, index):
    """PHP writes integer keys as a list, or as an object if some are missing."""
    if isinstance(values, list):
        return values[index] if index < len(values) else None
    return values.get(str(index))


TASKS = {
    "webhook": webhook,
    "install": install,
    "log": lambda task: log(tokens["hook"], task),
    "log_as_app": log_as_app,
    "batch": batch,
}

for line in sys.stdin:
    message = json.loads(line)
    try:
        say({"answer": TASKS[message["do"]](message)})
    except BitrixAPIError as error:
        kind = type(error).__name__
        say({"answer": {"error": error.error, "status": error.status_code, "kind": kind}})
