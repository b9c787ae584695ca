"""Triton's HTTP messages: the KServe protocol, version 2, with tensors as binary data behind the JSON."""

import gzip
import json
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from pragmatiq_client.causes import from_status
from pragmatiq_client.errors import ProtocolError, ScoringError
from pragmatiq_client.wire import Request, Tensors

HEADER_LENGTH = "inference-header-content-length"
_NOT_TRITON = "a proxy, a gateway or another server answered, not Triton"
_METRICS = "Triton's metrics port, or another server (HTTP's is usually 8000)"
_NUMBERS: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back, with header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def infer_path(model: str) -> str:
    """Where inferences of the model go to."""
    return f"/v2/models/{quote(model, safe='')}/infer"


def ready_path(model: str | None) -> str:
    """Where the server, or a model, says whether it is ready."""
    return "/v2/health/ready" if model is None else f"/v2/models/{quote(model, safe='')}/ready"


def config_path(model: str) -> str:
    """Where the model's config is read."""
    return f"/v2/models/{quote(model, safe='')}/config"


def infer_body(request: Request) -> tuple[bytes, dict[str, str]]:
    """The body of an inference, and the headers that it needs."""
    data = b"".join(struct.pack("<I", len(document)) + document for document in request.documents)
    asked = {
        "id": request.request_id,
        "inputs": [
            {
                "name": "record",
                "datatype": "BYTES",
                "shape": [len(request.documents), 1],
                "parameters": {"binary_data_size": len(data)},
            }
        ],
        # All that there are: which ones name the scores differs from server to server.
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(asked, separators=(",", ":")).encode("utf-8")
    return head + data, {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}


def read_infer(answer: HttpAnswer, request: Request) -> Tensors:
    """The outputs of an inference.

    Raises:
        ScoringError: the server's error, or an answer that is not Triton's.
    """
    body = _decoded(answer)
    if answer.status != 200:
        raise _error(answer, body)
    length = answer.headers.get(HEADER_LENGTH)
    try:
        size = len(body) if length is None else int(length)
        head = json.loads(body[:size])
        outputs = {output["name"]: output for output in head["outputs"]}
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(answer, body) from error
    answered = head.get("id")
    if answered and answered != request.request_id:
        raise ProtocolError(f"the answer is another request's ({answered})")
    return _Outputs(outputs, body[size:])


def read_config(answer: HttpAnswer) -> dict[str, Any]:
    """The model's config.

    Raises:
        ScoringError: the server's error, or an answer that is not Triton's.
    """
    body = _decoded(answer)
    if answer.status != 200:
        raise _error(answer, body)
    try:
        config = json.loads(body)
    except ValueError as error:
        raise _unreadable(answer, body) from error
    if not isinstance(config, dict):
        raise _unreadable(answer, body)
    return config


def read_ready(answer: HttpAnswer) -> bool:
    """Whether it is ready: Triton says so by an empty 200.

    Raises:
        ScoringError: no access, or an answer that is not Triton's.
    """
    body = _decoded(answer)
    if answer.status == 200 and body.strip():
        raise _unreadable(answer, body)
    if answer.status in (401, 403, 407) or 300 <= answer.status < 400:
        raise _error(answer, body)
    return answer.status == 200


class _Outputs:
    """The outputs of one answer; ``binary`` is what stands behind the JSON."""

    def __init__(self, outputs: Mapping[str, Mapping[str, Any]], binary: bytes) -> None:
        self._outputs = outputs
        self._binary = binary

    def as_numpy(self, name: str) -> npt.NDArray[Any] | None:
        """The output of that name; ValueError where it cannot be read."""
        output = self._outputs.get(name)
        if output is None:
            return None
        try:
            shape = [int(size) for size in output["shape"]]
            return self._values(name, output).reshape(shape)
        except (KeyError, TypeError, struct.error) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def _values(self, name: str, output: Mapping[str, Any]) -> npt.NDArray[Any]:
        datatype = output["datatype"]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            data = output["data"]
            return (
                _objects([text.encode() for text in data])
                if datatype == "BYTES"
                else np.array(data, _NUMBERS[datatype])
            )
        start = 0
        for other, values in self._outputs.items():
            if other == name:
                break
            start += values.get("parameters", {}).get("binary_data_size", 0)
        raw = self._binary[start : start + size]
        if len(raw) != size:
            raise ValueError(f"expected {size} bytes, got {len(raw)}")
        return _strings(raw) if datatype == "BYTES" else np.frombuffer(raw, _NUMBERS[datatype])


def _strings(raw: bytes) -> npt.NDArray[np.object_]:
    values: list[bytes] = []
    at = 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        values.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(raw):
        raise ValueError("a string is cut off")
    return _objects(values)


def _objects(values: list[bytes]) -> npt.NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


def _decoded(answer: HttpAnswer) -> bytes:
    """The body without the compression that a proxy may have added."""
    body = answer.body
    for coding in reversed(answer.headers.get("content-encoding", "").lower().replace(" ", "").split(",")):
        try:
            if coding in ("gzip", "x-gzip"):
                body = gzip.decompress(body)
            elif coding == "deflate":
                body = _inflated(body)
            elif coding not in ("", "identity"):
                raise ProtocolError(
                    f"HTTP {answer.status} with the content encoding {coding!r}, which was not asked for"
                )
        except (OSError, EOFError, zlib.error) as error:
            raise ProtocolError(f"HTTP {answer.status}: expected a body in {coding}: {error}") from error
    return body


def _inflated(body: bytes) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error:
        return zlib.decompress(body, -zlib.MAX_WBITS)


def _error(answer: HttpAnswer, body: bytes) -> ScoringError:
    """The error that a status other than 200 stands for."""
    try:
        text = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        text = None
    if isinstance(text, str):
        error = from_status(str(answer.status), text)
        if answer.status == 405:
            error.likely_cause = _METRICS
        return error
    said = f"HTTP {answer.status}{_excerpt(answer, body)}"
    error = ProtocolError(said) if answer.status == 400 else from_status(str(answer.status), said)
    if b"HTTP request was sent to HTTPS port" in body or b"HTTP request to an HTTPS server" in body:
        error.likely_cause = "the port expects TLS: use https://"
    elif 300 <= answer.status < 400:
        error.likely_cause = f"the server moved, or a login is asked for: {answer.headers.get('location', 'elsewhere')}"
    elif answer.status == 413:
        error.likely_cause = "a proxy's limit on the size of a request: send fewer records at once, or raise it"
    elif answer.status == 407:
        error.likely_cause = "a proxy on the way wants a password"
    else:
        error.likely_cause = error.likely_cause or _NOT_TRITON
    return error


def _unreadable(answer: HttpAnswer, body: bytes) -> ProtocolError:
    kind = f"HTTP {answer.status}{_excerpt(answer, body)}"
    lost = b'"outputs"' in body and HEADER_LENGTH not in answer.headers
    cause = f"a proxy on the way drops the header {HEADER_LENGTH}" if lost else _NOT_TRITON
    return ProtocolError(f"expected Triton's answer, got {kind}", likely_cause=cause)


def _excerpt(answer: HttpAnswer, body: bytes) -> str:
    if not body:
        return " with an empty body"
    kind = answer.headers.get("content-type", "no content type")
    text = re.sub(r"\s+", " ", body[:400].decode("utf-8", "replace")).strip()
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return f" ({kind}): {shown[:160]}"
