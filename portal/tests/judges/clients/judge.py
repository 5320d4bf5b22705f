"""Lets clients of PyPI that are not the vendor's do what the Rust test asks for.

    python3 judge.py CLIENT TRIAL < task.json

Prints what the client made of it, as one line of JSON. The clients are used as they were published;
both trust the portal's authority through SSL_CERT_FILE.
"""

import asyncio
import json
import os
import sys
import urllib.request
from urllib.parse import urlencode, urlsplit

sys.path.insert(0, os.environ["JUDGE_PACKAGES"])

LOG = "bizproc.activity.log"
task = json.load(sys.stdin)


def params(token, message):
    return {"EVENT_TOKEN": token, "LOG_MESSAGE": message}


def commands():
    """Fifty, of which the 25th has a token that is not of this portal."""
    for number in range(50):
        token = "a|b|c.0000" if number == 24 else task["event_token"]
        yield f"c{number}", params(token, f"{number}: {task['message']}")


class FastBitrix24:
    """Webhooks, and tokens that a function of the application's brings; it repeats what it can."""

    def __init__(self):
        from fast_bitrix24 import BitrixAsync

        self.make = BitrixAsync

    def call(self, client):
        answer = client.call(LOG, params(task["event_token"], task["message"]), raw=True)
        return asyncio.run(answer)["result"]

    def line(self):
        return self.call(self.make(task["webhook"], verbose=False))

    def batch(self):
        client = self.make(task["webhook"], verbose=False)
        cmd = {key: f"{LOG}?{urlencode(fields)}" for key, fields in commands()}
        return asyncio.run(client.call_batch({"halt": 0, "cmd": cmd}))

    def token(self):
        tokens = dict(task["tokens"])

        async def bring():
            # The first token is the one that has run out.
            if "used" not in tokens:
                tokens["used"] = True
            else:
                query = urlencode({"grant_type": "refresh_token", **task["client"],
                                   "refresh_token": tokens["refresh_token"]})
                tokens.update(json.load(urllib.request.urlopen(task["oauth"] + "?" + query)))
            return tokens["access_token"]

        client = self.make(task["endpoint"], verbose=False, token_func=bring)
        return self.call(client)


class PyBitrix24:
    """Webhooks and OAuth; it repeats nothing, and hands out errors as they come."""

    def __init__(self):
        from pybitrix24 import Bitrix24

        host = urlsplit(task["webhook"]).netloc
        self.code = task["webhook"].rstrip("/").rsplit("/", 1)[1]
        self.client = Bitrix24(host, **task.get("client", {}), auth_hostname=host)

    def line(self):
        fields = params(task["event_token"], task["message"])
        return self.client.call_webhook(self.code, LOG, fields)

    def batch(self):
        calls = {key: (LOG, fields) for key, fields in commands()}
        return self.client.call_batch_webhook(self.code, calls)["result"]

    def token(self):
        # It has no way to be given tokens that were kept.
        self.client._access_token = task["tokens"]["access_token"]
        self.client._refresh_token = task["tokens"]["refresh_token"]
        fields = params(task["event_token"], task["message"])
        refused = self.client.call(LOG, fields)
        if refused.get("error") != "expired_token":
            return refused
        self.client.refresh_tokens()
        return self.client.call(LOG, fields)["result"]


CLIENTS = {"fast_bitrix24": FastBitrix24, "pybitrix24": PyBitrix24}

try:
    answer = {"answer": getattr(CLIENTS[sys.argv[1]](), sys.argv[2])()}
except Exception as error:  # whatever a client makes of trouble is its answer
    answer = {"error": type(error).__name__, "status": getattr(error, "status", None),
              "text": str(error)}
print(json.dumps(answer, default=str))
