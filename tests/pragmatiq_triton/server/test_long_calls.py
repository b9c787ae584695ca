"""Calls that take longer than callers' pings are apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from pragmatiq_triton.server import TritonServer

pytestmark = [pytest.mark.triton, pytest.mark.slow]

SLEEPING = """
import time
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        time.sleep(float(inputs[0][0, 0]))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", 2 * x)]) for x in inputs]
"""
SECONDS = 36.0
"""Triton hangs up at the fourth ping, if it is told nothing."""


def test_a_grpc_caller_that_pings_may_wait_for_its_answer(make_repository: Callable[..., Path]) -> None:
    x = triton.InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.asarray([[SECONDS, 0]], np.float32))
    with TritonServer(make_repository(sleeping=SLEEPING), http_port=0, grpc_port=0, metrics_port=0) as server:
        options = triton.KeepAliveOptions(keepalive_time_ms=7_000, http2_max_pings_without_data=0)
        with triton.InferenceServerClient(server.grpc_url, keepalive_options=options) as client:
            answer = client.infer("sleeping", [x])
    assert answer.as_numpy("y").tolist() == [[2 * SECONDS, 0]]
