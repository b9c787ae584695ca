"""Keep a server busy until it goes away, and print as JSON what became of every request; run in a container's network.

    python tests/docker/under_load.py PROTOCOL URL CALLERS N_EVENTS

Each caller sends one request after another, each with new events, until one is refused; it then keeps its connection
open for a while, as callers do. ``started`` is when the first answers are there. A request is `answered`, or `refused`
where the server said or showed that it did not take it, or `lost` where it took it and never answered.
"""

import json
import sys
import threading
import time
from collections import Counter

import numpy as np
import tritonclient.grpc
import tritonclient.http

TIMEOUT = 60.0
HELD_SECONDS = 12.0
LOCK = threading.Lock()
REFUSED = ("the server is stopping", "UNAVAILABLE", "Connection refused")


def record(caller: int, n: int, n_events: int) -> bytes:
    events = [
        {"ts": 1_700_000_000_000_000 + i, "source": "transaction", "fields": {"merchant": f"{caller} {n} {i}"}}
        for i in range(n_events)
    ]
    return json.dumps({"events": events}).encode()


def call(protocol: str, url: str, caller: int, n_events: int, counts: Counter[str]) -> None:
    module = tritonclient.grpc if protocol == "grpc" else tritonclient.http
    options = {} if protocol == "grpc" else {"connection_timeout": TIMEOUT, "network_timeout": TIMEOUT}
    with module.InferenceServerClient(url, **options) as client:
        for n in range(10_000):
            tensor = module.InferInput("record", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[record(caller, n, n_events)]], np.object_))
            try:
                client.infer("scoring", [tensor])
                outcome = "answered"
            except Exception as error:
                words = str(error)
                outcome = "refused" if any(word in words for word in REFUSED) else f"lost: {words}"
            with LOCK:
                counts[outcome] += 1
            if outcome != "answered":
                time.sleep(HELD_SECONDS)
                return


if __name__ == "__main__":
    protocol, url, callers, n_events = sys.argv[1:]
    counts: Counter[str] = Counter()
    threads = [
        threading.Thread(target=call, args=(protocol, url, caller, int(n_events), counts))
        for caller in range(int(callers))
    ]
    for thread in threads:
        thread.start()
    while not counts["answered"]:
        threads[0].join(0.05)
    print("started", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps(counts))
