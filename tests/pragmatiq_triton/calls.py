"""One call to a server, and what came of it."""

import http.client
import json

import numpy as np
import tritonclient.grpc
from tritonclient.utils import InferenceServerException


def over_http(url: str, **record: object) -> tuple[int, str]:
    """Status and body of a call."""
    connection = http.client.HTTPConnection(url, timeout=60)
    connection.request("POST", "/v1/score", json.dumps({"record": record}))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def over_grpc(url: str, **record: object) -> str:
    """What a call came to: ``answered`` or its status."""
    tensor = tritonclient.grpc.InferInput("record", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[json.dumps(record)]], object))
    with tritonclient.grpc.InferenceServerClient(url) as client:
        try:
            client.infer("scoring", [tensor])
        except InferenceServerException as error:
            return str(error.status())
    return "answered"
