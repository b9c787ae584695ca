"""What is written to Triton, and what is read from it: the KServe protocol, version 2, with binary tensors.

A message is made here from nothing but a model's name out of the repository, numbers of ours, and records as bytes
behind the length that was counted here.
"""

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pragmatiq_triton.gateway.errors import (
    DeadlineError,
    ModelError,
    RefusedRecordError,
    RequestError,
    UnavailableError,
)
from pragmatiq_triton.gateway.triton.connection import TritonAnswer
from pragmatiq_triton.given_up import DEADLINE_PASSED

EMBEDDING = "embedding"

_PREFIX = re.compile(r"(\[request id: [^\]]*\] )?(in ensemble '[^']*', )?(\[request id: [^\]]*\] )?")
_OURS = re.compile(r"(tokenizer|text_embedder|scorer)(_\w+)?: ")
_DEAD = re.compile(r"Stub process '\w+' is not healthy")
_NO_PROCESS = re.compile(r"[Ss]tub")


class Tensor(msgspec.Struct):
    """An output as Triton describes it; ``parameters`` holds its length in bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}


class _Head(msgspec.Struct):
    outputs: list[Tensor]


class _Error(msgspec.Struct):
    error: str


class Output(msgspec.Struct):
    """An output: FP32 of ``shape`` [users, width], row by row, little endian."""

    shape: list[int]
    data: memoryview


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_error = msgspec.json.Decoder(_Error).decode


def infer_request(
    model: str, documents: Sequence[bytes], outputs: Sequence[str], parameters: Mapping[str, int | str | bool]
) -> list[bytes]:
    """The parts of an HTTP request that asks ``model`` for ``outputs`` of one record per user."""
    size = sum(map(len, documents)) + 4 * len(documents)
    record = {
        "name": "record",
        "datatype": "BYTES",
        "shape": (len(documents), 1),
        "parameters": {"binary_data_size": size},
    }
    asked = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = _encode({"inputs": (record,), "outputs": asked, "parameters": parameters})
    parts = [
        b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: triton\r\nContent-Type: application/octet-stream\r\n"
        b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
        % (model.encode("ascii"), len(head), len(head) + size),
        head,
    ]
    for document in documents:
        parts += (struct.pack("<I", len(document)), document)
    return parts


def read_infer(answer: TritonAnswer) -> dict[str, Output]:
    """The outputs by name; the error that Triton answered with instead is raised."""
    if answer.status != 200:
        raise _refusal(answer)
    try:
        length = len(answer.body) if answer.head_length is None else answer.head_length
        outputs = {}
        rest = memoryview(answer.body)[length:]
        for tensor in _decode_head(answer.body[:length]).outputs:
            size = tensor.parameters["binary_data_size"]
            outputs[tensor.name] = Output(tensor.shape, rest[:size])
            rest = rest[size:]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ModelError("the models' answer cannot be read") from error
    return outputs


def _refusal(answer: TritonAnswer) -> RequestError:
    try:
        said = _decode_error(answer.body).error
    except msgspec.DecodeError:
        return ModelError(f"the models answered with status {answer.status}")
    words = " ".join(_PREFIX.sub("", said, count=1).split())
    if words.endswith(DEADLINE_PASSED):
        return DeadlineError(words)
    if answer.status == 400:
        return RefusedRecordError(words)
    if answer.status == 503:
        return UnavailableError(words)
    if answer.status == 504:
        return DeadlineError(words)
    if _OURS.match(words):
        return ModelError(words)
    if _NO_PROCESS.search(words):
        dead = _DEAD.search(words)
        what = dead[0] if dead else "Stub process of a model has ended"
        return UnavailableError(f"{what}; the server has to be started again")
    # Triton's own words may hold paths.
    return ModelError("the models failed; the server's log says why")
