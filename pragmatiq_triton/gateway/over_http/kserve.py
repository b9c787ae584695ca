"""KServe's protocol, version 2, over HTTP: what is read of an inference, and how its answer is written."""

from typing import Any, NamedTuple

import msgspec

from pragmatiq_triton.gateway.bounded import bounded_list, elements
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.errors import MalformedError, RequestError
from pragmatiq_triton.gateway.identity import MOST_USERS
from pragmatiq_triton.gateway.inference import InferenceAnswer
from pragmatiq_triton.gateway.outputs import OUTPUTS, check_outputs, output_tensors
from pragmatiq_triton.gateway.tensors_in import REFUSED_PARAMETERS, read_bytes_tensor

HEADER_LENGTH = b"inference-header-content-length"


_NOTHING = msgspec.Raw()


class _Parameters(msgspec.Struct, frozen=True):
    """Those that change what is done; others are passed over without being kept."""

    timeout: msgspec.Raw = _NOTHING
    binary_data: msgspec.Raw = _NOTHING
    binary_data_size: msgspec.Raw = _NOTHING
    binary_data_output: msgspec.Raw = _NOTHING
    classification: msgspec.Raw = _NOTHING
    shared_memory_region: msgspec.Raw = _NOTHING
    sequence_id: msgspec.Raw = _NOTHING


class _Shape(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    users: int
    width: int = 1


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: _Shape
    parameters: _Parameters = _Parameters()
    data: msgspec.Raw = _NOTHING


class _Asked(msgspec.Struct):
    name: str
    parameters: _Parameters = _Parameters()


_Outputs: Any = bounded_list(_Asked, len(OUTPUTS))


class _Head(msgspec.Struct):
    inputs: tuple[_Tensor]
    id: str = ""
    outputs: _Outputs = _Outputs()
    parameters: _Parameters = _Parameters()


_decode = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode
_texts = msgspec.json.Decoder(bounded_list(str | tuple[str], MOST_USERS)).decode


class Inference(NamedTuple):
    """What of a request counts: its id, the records, the outputs, which of them as binary data, a time limit in µs."""

    id: str
    documents: list[bytes]
    outputs: tuple[str, ...]
    binary: frozenset[str]
    timeout: int | None


def read_inference(body: bytes, header_length: bytes | None) -> Inference:
    """Read a body; ``header_length`` is the header of that name, where binary data follows the JSON.

    Raises:
        MalformedError: the body is no inference of one tensor ``record``, or asks for what is not done here.
    """
    head_size = _head_size(body, header_length)
    try:
        head = _decode(body[:head_size])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError(f"expected a KServe inference request in JSON: {_short(error)}") from None
    outputs = elements(head.outputs)
    for parameters in (head.parameters, head.inputs[0].parameters, *(each.parameters for each in outputs)):
        _check_parameters(parameters)
    names = check_outputs([each.name for each in outputs])
    documents = _documents(head.inputs[0], memoryview(body)[head_size:])
    all_binary = _is_true(head.parameters.binary_data_output)
    asked = {each.name: each.parameters.binary_data for each in outputs}
    binary = frozenset(name for name in names or OUTPUTS if (_is_true(asked[name]) if asked.get(name) else all_binary))
    return Inference(head.id, documents, names, binary, _timeout(head.parameters.timeout))


def write_answer(answer: InferenceAnswer, inference: Inference, identity: dict[str, str]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where binary data follow."""
    tensors = output_tensors(answer, inference.outputs)
    outputs: list[dict[str, Any]] = []
    binary: list[bytes | memoryview] = []
    for tensor in tensors:
        described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if tensor.name in inference.binary:
            data = tensor.raw
            described["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            described["data"] = tensor.values()
        outputs.append(described)
    ensemble = answer.request.ensemble
    head: dict[str, Any] = {"model_name": ensemble.name, "model_version": "1", "outputs": outputs}
    if inference.id:
        head["id"] = inference.id
    head["parameters"] = identity
    encoded = _encode(head)
    return (b"".join((encoded, *binary)), len(encoded)) if binary else (encoded, None)


def _head_size(body: bytes, header_length: bytes | None) -> int:
    if header_length is None:
        return len(body)
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        raise MalformedError("inference-header-content-length: expected the length of the JSON within the body")
    return int(header_length)


def _documents(tensor: _Tensor, binary: memoryview) -> list[bytes]:
    if tensor.name != "record":
        raise MalformedError("inputs: expected one tensor, `record`")
    if tensor.datatype != "BYTES":
        raise MalformedError("inputs[0].datatype: expected BYTES")
    n_users = tensor.shape.users
    if tensor.shape.width != 1 or not 1 <= n_users <= MOST_USERS:
        raise MalformedError(f"inputs[0].shape: expected [n, 1] with n from 1 to {MOST_USERS}")
    size = tensor.parameters.binary_data_size
    if not size:
        if len(binary):
            raise MalformedError("bytes follow the JSON, but inputs[0] has no binary_data_size")
        documents = _documents_of_json(tensor.data)
    else:
        documents = read_bytes_tensor(_binary(binary, size))
    if len(documents) != n_users:
        raise MalformedError(f"inputs[0]: the shape says {n_users} records, there are {len(documents)}")
    return documents


def _documents_of_json(data: msgspec.Raw) -> list[bytes]:
    try:
        found = elements(_texts(data))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise MalformedError(
            f"inputs[0].data: expected each record as a string of JSON, {MOST_USERS} at most; POST /v1/score takes "
            "records as objects"
        ) from None
    flat = (each[0] if isinstance(each, tuple) else each for each in found)
    return [text.encode("utf-8", "surrogatepass") for text in flat]


def _binary(binary: memoryview, size: msgspec.Raw) -> memoryview:
    try:
        wanted = msgspec.json.decode(size, type=int)
    except msgspec.DecodeError:
        wanted = -1
    if wanted != len(binary):
        raise MalformedError(f"inputs[0]: binary_data_size does not fit the {len(binary)} bytes that follow the JSON")
    return binary


def _check_parameters(parameters: _Parameters) -> None:
    for name, reason in REFUSED_PARAMETERS.items():
        if bytes(getattr(parameters, name)) not in (b"", b"0", b'""', b"null"):
            raise MalformedError(f"parameters: {name} is not done here: {reason}")


def _is_true(value: msgspec.Raw) -> bool:
    return bytes(value) == b"true"


def _timeout(value: msgspec.Raw) -> int | None:
    if not value:
        return None
    try:
        found = msgspec.json.decode(value, type=int)
    except msgspec.DecodeError:
        raise MalformedError("parameters: timeout: expected microseconds as a whole number") from None
    return found if found > 0 else None


def error_body(error: RequestError, call: Call) -> bytes:
    """An error as KServe has it."""
    return _encode({"error": str(error)})


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
