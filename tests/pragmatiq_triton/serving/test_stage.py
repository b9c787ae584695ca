"""A stage as a Triton model, without Triton: which answer goes to whom, and how it is counted."""

import json
import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from pragmatiq_triton.errors import DataError
from pragmatiq_triton.serving.stage import Stage, StageModel


class Doubling(Stage):
    """Doubles ``x``; refuses negative numbers and fails at 0. Notes what it was told to count."""

    def __init__(self):
        self.submitted = []

    def submit(self, requests, replies, *, counted=True, terms=()):
        for request, reply in zip(requests, replies, strict=True):
            x = int(request["x"][0])
            self.submitted.append((x, counted))
            reply(
                {"y": 2 * request["x"]}
                if x > 0
                else ValueError("zero")
                if x == 0
                else DataError(f"negative {'x' * -x}\n\x00")
            )

    def samples(self):
        return []


UNSENDABLE = 77


class Model(StageModel):
    name = "doubling"
    input_names = ("x",)

    def load(self, folder, parameters):
        return Doubling()


class Metric:
    def increment(self, value):
        pass


class PbUtils:
    """As much of ``triton_python_backend_utils`` as answering takes."""

    class MetricFamily:
        COUNTER, GAUGE = "counter", "gauge"

        def __init__(self, name, description, kind):
            pass

        def Metric(self, labels):
            return Metric()

    class TritonError(SimpleNamespace):
        INVALID_ARG, INTERNAL = "invalid", "internal"

        def __init__(self, message, code):
            super().__init__(message=message, code=code)

    class InferenceResponse(SimpleNamespace):
        def __init__(self, tensors=(), error=None):
            super().__init__(tensors=tensors, error=error)

    logged: ClassVar = []
    Logger: ClassVar = SimpleNamespace(log_error=logged.append)

    @staticmethod
    def Tensor(name, array):
        if array[0] == 2 * UNSENDABLE:
            raise RuntimeError("no shared memory left")
        return name, array.tolist()

    @staticmethod
    def get_input_tensor_by_name(request, name):
        if request.x is None:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
        return SimpleNamespace(as_numpy=lambda: np.array([request.x]))


def request(x, parameters="{}"):
    return SimpleNamespace(x=x, parameters=lambda: parameters)


def outcomes(model):
    counted = {sample.labels["outcome"]: sample.value for sample in model._samples()}
    return {outcome: n for outcome, n in counted.items() if n}


CANARY = '{"canary":true}'


@pytest.fixture
def model(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", PbUtils)
    config = {"input": [{"name": "x"}], "output": [{"name": "y"}]}
    loaded = Model()
    names = {"model_name": "doubling", "model_version": "1", "model_repository": str(tmp_path)}
    loaded.initialize({"model_config": json.dumps(config), **names})
    yield loaded
    loaded.finalize()


def test_canaries_among_other_requests_are_answered_in_place_and_counted_apart(model):
    answers = model.execute([request(1), request(2, CANARY), request(-1), request(3), request(0, CANARY), request(0)])
    assert [answer.tensors for answer in answers] == [[("y", [2])], [("y", [4])], (), [("y", [6])], (), ()]
    assert [answer.error and answer.error.code for answer in answers] == [
        *(None, None, "invalid", None, "internal", "internal")
    ]
    assert outcomes(model) == {"answered": 2, "refused": 1, "failed": 1, "canary": 2}
    assert sorted(model._stage.submitted) == [(-1, True), (0, False), (0, True), (1, True), (2, False), (3, True)]


def test_canaries_alone(model):
    (answer,) = model.execute([request(5, CANARY)])
    assert answer.tensors == [("y", [10])]
    assert outcomes(model) == {"canary": 1}
    assert model._stage.submitted == [(5, False)]


def test_a_request_that_cannot_be_read_and_an_answer_that_cannot_be_sent_fail_alone(model):
    answers = model.execute([request(1), request(None), request(UNSENDABLE), request(4), request(None, CANARY)])
    assert [answer.tensors for answer in answers] == [[("y", [2])], (), (), [("y", [8])], ()]
    assert [answer.error.message for answer in answers if answer.error] == [
        "doubling: internal error: UnicodeDecodeError",
        "doubling: internal error: RuntimeError",
        "doubling: internal error: UnicodeDecodeError",
    ]
    assert outcomes(model) == {"answered": 2, "failed": 2, "canary": 1}
    assert any("no shared memory left" in message for message in PbUtils.logged)


def test_a_message_is_short_and_on_one_line(model):
    (answer,) = model.execute([request(-5_000)])
    assert len(answer.error.message.encode()) < 1_000
    assert answer.error.message.isprintable()
    (answer,) = model.execute([request(-3)])
    assert answer.error.message == r"doubling: negative xxx\n\x00"


def test_a_fault_in_submitting_is_told_to_those_who_have_no_answer_yet(model, monkeypatch):
    def submit(requests, replies, *, counted=True, terms=()):
        replies[0]({"y": np.array([1])})
        raise ValueError("a bug")

    monkeypatch.setattr(model._stage, "submit", submit)
    answers = model.execute([request(1), request(2), request(3)])
    assert [bool(answer.error) for answer in answers] == [False, True, True]
