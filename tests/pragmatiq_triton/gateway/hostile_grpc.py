"""Messages that mean harm, as a gRPC method and the bytes of its request."""

import json
import random
from collections.abc import Callable

from tritonclient.grpc import service_pb2 as pb

from tests.pragmatiq_triton.gateway.hostile_http import GOOD_RECORD, SHAPES

SERVICE = "/inference.GRPCInferenceService/"
Call = tuple[str, bytes]


def inference() -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="scoring")
    tensor = request.inputs.add(name="record", datatype="BYTES", shape=[1, 1])
    tensor.contents.bytes_contents.append(json.dumps(GOOD_RECORD).encode())
    return request


def infer(request: pb.ModelInferRequest) -> Call:
    return f"{SERVICE}ModelInfer", request.SerializeToString()


def shapes(dice: random.Random) -> Call:
    request = inference()
    shape = dice.choice([each for each in SHAPES if isinstance(each, list)])
    request.inputs[0].shape[:] = [each for each in shape if type(each) is int and abs(each) < 2**63]
    request.inputs[0].datatype = dice.choice(["BYTES", "FP32", "", "X" * 5000])
    return infer(request)


def contents(dice: random.Random) -> Call:
    request = inference()
    tensor = request.inputs[0]
    kind = dice.randrange(7)
    if kind == 0:
        tensor.contents.int_contents.extend([1] * dice.choice([1, 100_000]))
    elif kind == 1:
        tensor.contents.bytes_contents.extend([b""] * dice.choice([1, 65, 50_000]))
    elif kind == 2:
        request.raw_input_contents.append(b"\xff\xff\xff\xff{}")
    elif kind == 3:
        tensor.ClearField("contents")
        request.raw_input_contents.extend([b"\x05"] * dice.choice([1, 3]))
    elif kind == 4:
        tensor.ClearField("contents")
        request.raw_input_contents.append(dice.choice([b"", b"\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00" * 65]))
    elif kind == 5:
        tensor.ClearField("contents")
    else:
        tensor.contents.bytes_contents[0] = dice.choice([b"\xff", b"[" * 100_000, b"", b"null", b'{"events":1e999}'])
    return infer(request)


def parameters(dice: random.Random) -> Call:
    request = inference()
    where = dice.choice([request, request.inputs[0], request.outputs.add(name=dice.choice(["tasks", "scores", "x"]))])
    kind = dice.randrange(7)
    if kind == 0:
        where.parameters["classification"].int64_param = 1
    elif kind == 1:
        where.parameters["shared_memory_region"].string_param = "pragmatiq"
    elif kind == 2:
        where.parameters["sequence_id"].int64_param = 7
    elif kind == 3:
        for number in range(dice.choice([30, 3_000])):
            where.parameters[f"p{number}"].int64_param = number
    elif kind == 4:
        where.parameters["timeout"].int64_param = dice.choice([-1, 0, 1, 2**63 - 1])
    elif kind == 5:
        where.parameters["ticket"].int64_param = 1
        where.parameters["deadline"].int64_param = 1
    else:
        request.outputs.extend([pb.ModelInferRequest.InferRequestedOutputTensor(name="scores")] * dice.choice([2, 900]))
    return infer(request)


def names(dice: random.Random) -> Call:
    request = inference()
    request.model_name = dice.choice(["scorer", "tokenizer", "", "a" * 20_000, "scoring\x00", "../x", "SCORING"])
    request.model_version = dice.choice(["", "1", "2", "-1", "x" * 1000])
    request.id = dice.choice(["", "a" * 20_000, "é", "\n"])
    request.inputs[0].name = dice.choice(["record", "", "tokens", "x" * 9000])
    return infer(request)


def duplicates(dice: random.Random) -> Call:
    request = inference()
    request.inputs.extend([request.inputs[0]] * dice.choice([1, 300]))
    return infer(request)


def methods(dice: random.Random) -> Call:
    method = dice.choice(
        ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryRegister",
         "SystemSharedMemoryStatus", "CudaSharedMemoryStatus", "TraceSetting", "LogSettings", "ModelStreamInfer",
         "ModelConfig", "ModelStatistics", "ModelMetadata", "ModelReady", "ServerMetadata", "Nothing", "ServerLive"]
    )  # fmt: skip
    body = dice.choice([b"", b"\x0a\x06scorer", b"\x0a\x07scoring", b"\xff" * 20, b"x" * 5000, b"\x0a\xff\xff\xff\x7f"])
    return f"{dice.choice([SERVICE, SERVICE, '/grpc.reflection.v1alpha.ServerReflection/', '/x/'])}{method}", body


def mutations(dice: random.Random) -> Call:
    method, good = infer(inference())
    changed = bytearray(good)
    for _ in range(dice.choice([1, 2, 8, 60])):
        at = dice.randrange(len(changed) or 1)
        kind = dice.randrange(3)
        if kind == 0 and changed:
            changed[at] = dice.randrange(256)
        elif kind == 1:
            del changed[at : at + dice.randrange(1, 9)]
        else:
            changed[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 9)))
    return method, bytes(changed)


def bombs(dice: random.Random) -> Call:
    """A few bytes on the wire that would be many in memory."""
    body = dice.choice([b"\x32\x00", b"\x2a\x00", b"\x22\x00", b"\x3a\x00", b"\x08\x01"]) * 1_000_000
    return f"{SERVICE}{dice.choice(['ModelInfer', 'ModelInfer', 'ModelReady', 'ModelMetadata'])}", body


KINDS: dict[Callable[[random.Random], Call], int] = {
    shapes: 10, contents: 15, parameters: 15, names: 10, duplicates: 8, methods: 10, mutations: 40, bombs: 1,
}  # fmt: skip
