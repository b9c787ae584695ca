"""KServe's messages over gRPC: what is read of an inference, and how answers are written."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2 as pb

from pragmatiq_triton.gateway.errors import MalformedError
from pragmatiq_triton.gateway.identity import MOST_USERS
from pragmatiq_triton.gateway.inference import InferenceAnswer
from pragmatiq_triton.gateway.outputs import check_outputs, output_tensors
from pragmatiq_triton.gateway.tensors_in import MOST_PARAMETERS, REFUSED_PARAMETERS, read_bytes_tensor

Parameters = Mapping[str, Any]


class Inference(NamedTuple):
    """What of a request counts: its id, the records, the outputs, a time limit in µs."""

    id: str
    documents: list[bytes]
    outputs: tuple[str, ...]
    timeout: int | None


def parse(kind: type[Message], body: bytes) -> Any:
    """A message of ``kind``; :class:`MalformedError` for what is none."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise MalformedError(f"expected a message {kind.DESCRIPTOR.full_name}") from None


def read_inference(request: Any) -> Inference:
    """Read a ``ModelInferRequest``; :class:`MalformedError` where it is no inference of one tensor ``record``."""
    for parameters in (request.parameters, *(each.parameters for each in (*request.inputs[:1], *request.outputs[:8]))):
        _check_parameters(parameters)
    outputs = check_outputs([each.name for each in request.outputs])
    if len(request.inputs) != 1 or request.inputs[0].name != "record":
        raise MalformedError("inputs: expected one tensor, `record`")
    tensor = request.inputs[0]
    shape = list(tensor.shape)
    if tensor.datatype != "BYTES":
        raise MalformedError("inputs[0].datatype: expected BYTES")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or not 1 <= shape[0] <= MOST_USERS:
        raise MalformedError(f"inputs[0].shape: expected [n, 1] with n from 1 to {MOST_USERS}")
    if request.raw_input_contents:
        if len(request.raw_input_contents) != 1 or tensor.contents.ByteSize():
            raise MalformedError("raw_input_contents: expected one entry, and no contents beside it")
        documents = read_bytes_tensor(memoryview(request.raw_input_contents[0]))
    else:
        documents = list(tensor.contents.bytes_contents[: MOST_USERS + 1])
    if len(documents) != shape[0]:
        raise MalformedError(f"inputs[0]: the shape says {shape[0]} records, there are {len(documents)}")
    timeout = request.parameters["timeout"].int64_param if "timeout" in request.parameters else 0
    return Inference(request.id, documents, outputs, timeout if timeout > 0 else None)


def write_answer(answer: InferenceAnswer, inference: Inference, identity: Mapping[str, str]) -> bytes:
    """A ``ModelInferResponse``; ``identity`` goes into its parameters."""
    response = pb.ModelInferResponse(model_name=answer.request.ensemble.name, model_version="1", id=inference.id)
    for name, value in identity.items():
        response.parameters[name].string_param = value
    for tensor in output_tensors(answer, inference.outputs):
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype)
        output.shape.extend(tensor.shape)
        response.raw_output_contents.append(bytes(tensor.raw))
    return bytes(response.SerializeToString())


def _check_parameters(parameters: Parameters) -> None:
    if len(parameters) > MOST_PARAMETERS:
        raise MalformedError(f"parameters: expected at most {MOST_PARAMETERS}")
    for name, reason in REFUSED_PARAMETERS.items():
        if name in parameters and (parameters[name].int64_param or parameters[name].string_param):
            raise MalformedError(f"parameters: {name} is not done here: {reason}")
