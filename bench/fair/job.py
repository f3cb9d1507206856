"""A job with Microsoft's SDK for Python, as its users write it: lists of rows, which the SDK sends
by CreateMultiple, several threads at a time. The SDK itself does not repeat what got a 429."""

import collections
import json
import os
import threading
import time

from azure.core.credentials import AccessToken
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError

BASE, BEARER = os.environ["BASE"], os.environ["BEARER"]
WRITES, PARALLEL = int(os.environ["WRITES"]), int(os.environ["PARALLEL"])
# Microsoft advises to begin with a hundred rows.
ROWS = 100


class Credential:
    def get_token(self, *scopes, **more):
        return AccessToken(BEARER, int(time.time()) + 3600)


state = threading.Lock()
counts = collections.Counter()
failures = collections.Counter()
following = iter(range(0, WRITES, ROWS))


def write(client, first):
    rows = range(first, min(first + ROWS, WRITES))
    data = [{"firstname": "Job", "lastname": f"Row {number}"} for number in rows]
    while True:
        try:
            client.records.create("contact", data)
            with state:
                counts["written"] += len(data)
            return
        except HttpError as error:
            if error.status_code != 429:
                with state:
                    failures[f"{error.status_code}: {error}"[:120]] += 1
                return
            with state:
                counts["throttled"] += 1
            time.sleep(float((error.details or {}).get("retry_after") or 5))


def work():
    with DataverseClient(BASE, Credential()) as client:
        while True:
            with state:
                first = next(following, None)
            if first is None:
                return
            write(client, first)


begun = time.monotonic()
threads = [threading.Thread(target=work) for _ in range(min(PARALLEL, 10))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(
    json.dumps(
        {
            "seconds": time.monotonic() - begun,
            "written": counts["written"],
            "throttled": counts["throttled"],
            "failures": dict(failures),
        }
    )
)
