"""What a caller sends is refused at the first element too many, whatever comes after it."""

import tracemalloc

import msgspec
import pytest
from tritonclient.grpc import service_pb2 as pb

from pragmatiq_triton.gateway.bounded import bounded_list, elements
from pragmatiq_triton.gateway.errors import MalformedError, TooLargeError
from pragmatiq_triton.gateway.over_grpc.bounds import MOST_FIELDS, check_bounds, check_small
from pragmatiq_triton.gateway.over_http import kserve, rest

MILLIONS = 4_000_000


@pytest.fixture
def little_memory():
    """What a test takes at its height has to stay far below what its input would become."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80 * 1024 * 1024


def test_a_bounded_list_holds_up_to_its_bound():
    decode = msgspec.json.Decoder(bounded_list(int, 3)).decode
    assert [elements(decode(text)) for text in (b"[]", b"[1]", b"[1,2,3]")] == [[], [1], [1, 2, 3]]
    with pytest.raises(msgspec.ValidationError, match="at most length 3"):
        decode(b"[1,2,3,4]")


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[' + b"{}," * MILLIONS + b"{}]}",
        b'{"inputs":[{"name":"record","datatype":"BYTES","shape":[' + b"1," * MILLIONS + b"1]}]}",
        b'{"inputs":[{"name":"record","datatype":"BYTES","shape":[1,1],"data":[' + b'"",' * MILLIONS + b'""]}]}',
        b'{"inputs":[{"name":"record","datatype":"BYTES","shape":[1,1],"data":[[' + b'"",' * MILLIONS + b'""]]}]}',
        b'{"outputs":[' + b'{"name":"scores"},' * MILLIONS + b"1]}",
        b'{"parameters":{' + b'"a":1,' * MILLIONS + b'"b":1}}',
        b'{"inputs":' + b"[" * MILLIONS,
    ],
    ids=["inputs", "shape", "data", "nested data", "outputs", "parameters", "depth"],
)
def test_millions_of_elements_in_an_inference_are_refused_in_little_memory(body, little_memory):
    with pytest.raises(MalformedError) as raised:
        kserve.read_inference(body, None)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"records":[' + b"1," * MILLIONS + b"1]}", TooLargeError),
        (b'{"record":{},"tasks":[' + b'"",' * MILLIONS + b'""]}', MalformedError),
        (b'{"record":' + b"[" * MILLIONS, MalformedError),
        (b'{"' + b"a" * MILLIONS + b'":1}', MalformedError),
    ],
    ids=["records", "tasks", "depth", "name"],
)
def test_millions_of_elements_in_a_rest_request_are_refused_in_little_memory(body, error, little_memory):
    with pytest.raises(error) as raised:
        rest._read(body, 1000)
    assert len(str(raised.value)) < 300


def good_inference():
    request = pb.ModelInferRequest(model_name="scoring", id="x")
    request.parameters["timeout"].int64_param = 5
    tensor = request.inputs.add(name="record", datatype="BYTES", shape=[64, 1])
    tensor.parameters["a"].string_param = "b"
    tensor.contents.bytes_contents.extend([b"{}"] * 64)
    request.outputs.add(name="scores").parameters["binary_data"].bool_param = True
    request.raw_input_contents.append(b"x" * 1000)
    return request


def test_a_message_that_asks_for_something_is_within_bounds():
    check_bounds(good_inference().SerializeToString())


def many(field, element):
    """Millions of the same field, as they lie on the wire."""
    return (bytes([field << 3 | 2, len(element)]) + element) * (MILLIONS // 4)


def within(number, inner):
    size, length = len(inner), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + inner


@pytest.mark.parametrize(
    "body",
    [
        many(6, b""),
        many(5, b""),
        many(4, b""),
        many(7, b""),
        b"\x08\x01" * MILLIONS,
        within(5, within(5, many(8, b""))),
        within(5, within(5, within(2, b"\x01" * MILLIONS))),
        within(5, within(3, b"\x01" * MILLIONS)),
        within(5, b"\x18\x01" * MILLIONS),
        within(5, many(4, b"")),
        within(6, many(2, b"")),
        b"\x0b" * MILLIONS,
        b"\xff" * MILLIONS,
        b"\x2a\xff\xff\xff\xff\x0f",
        good_inference().SerializeToString()[:-5],
    ],
)
def test_a_message_that_would_grow_is_refused_before_it_is_parsed(body, little_memory):
    with pytest.raises(MalformedError):
        check_bounds(body)


def test_the_bound_counts_every_field_of_every_part():
    request = good_inference()
    for number in range(MOST_FIELDS // 4):
        request.parameters[f"p{number}"].int64_param = number
    with pytest.raises(MalformedError, match=f"more than {MOST_FIELDS} fields"):
        check_bounds(request.SerializeToString())


def test_messages_that_ask_for_no_inference_are_small():
    check_small(pb.ModelReadyRequest(name="scoring").SerializeToString())
    with pytest.raises(MalformedError):
        check_small(b"x" * 5000)
