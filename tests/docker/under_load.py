"""Keep a server busy until it goes away, and print as JSON what became of every request; run in a container's network.

    python tests/docker/under_load.py PROTOCOL URL CALLERS N_EVENTS

Each caller sends one request after another, each with new events, until one is refused. ``started`` is when the first
answers are there. A request is `answered`, or `refused` where the server said or showed that it did not take it, or
`lost` where it took it and never answered.
"""

import json
import sys
import threading
from collections import Counter

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

TIMEOUT = 60.0
REFUSED = ("UNAVAILABLE", "not ready", "Connection refused", "is not found", "unavailable", "exiting", "stopping")


def record(caller: int, n: int, n_events: int) -> bytes:
    events = [
        {"ts": 1_700_000_000_000_000 + i, "source": "transaction", "fields": {"merchant": f"{caller} {n} {i}"}}
        for i in range(n_events)
    ]
    return json.dumps({"events": events}).encode()


def call(protocol: str, url: str, caller: int, n_events: int, counts: Counter[str], lock: threading.Lock) -> None:
    module = tritonclient.grpc if protocol == "grpc" else tritonclient.http
    options = {} if protocol == "grpc" else {"connection_timeout": TIMEOUT, "network_timeout": TIMEOUT}
    with module.InferenceServerClient(url, **options) as client:
        for n in range(10_000):
            tensor = module.InferInput("record", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[record(caller, n, n_events)]], np.object_))
            try:
                client.infer("scoring", [tensor])
                outcome = "answered"
            except (InferenceServerException, OSError) as error:
                words = str(error)
                outcome = "refused" if any(word in words for word in REFUSED) else f"lost: {words}"
            with lock:
                counts[outcome] += 1
            if outcome != "answered":
                return


if __name__ == "__main__":
    protocol, url, callers, n_events = sys.argv[1:]
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    threads = [
        threading.Thread(target=call, args=(protocol, url, caller, int(n_events), counts, lock))
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
