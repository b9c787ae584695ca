"""How many fields a gRPC message has, counted before it is parsed.

Two bytes make an empty output or parameter, and parsed it takes a hundred: 64 MB would become gigabytes. A look at tags
and lengths alone costs a microsecond a field, and ends at the first one too many.
"""

from collections.abc import Mapping
from typing import Any

from pragmatiq_triton.gateway.errors import MalformedError
from pragmatiq_triton.gateway.identity import MOST_USERS

MOST_FIELDS = 512
"""Of a whole message, more than any that asks for something: ten, and four for each parameter."""

Within = Mapping[int, Any]

# ModelInferRequest: the fields that are messages, by their number, and of these the same. Of a tensor's contents (5)
# only bytes_contents (8) may be there: the others would grow when they are parsed.
_PARAMETER: Within = {2: {}}
_CONTENTS: Within = {}
_TENSOR: Within = {4: _PARAMETER, 5: _CONTENTS}
INFERENCE: Within = {4: _PARAMETER, 5: _TENSOR, 6: {2: _PARAMETER}}
_BYTES_CONTENTS = 8
_SHAPE = 3
_SHAPE_BYTES = 64
_SMALL = 4096


def check_bounds(body: bytes, within: Within = INFERENCE) -> None:
    """:class:`MalformedError` for a message of more than :data:`MOST_FIELDS` fields, or what is no message."""
    try:
        _count(memoryview(body), within, MOST_FIELDS)
    except IndexError:
        raise MalformedError("expected a message of KServe's protocol") from None


def check_small(body: bytes) -> None:
    """:class:`MalformedError` for a message that asks for no inference and is large all the same."""
    if len(body) > _SMALL:
        raise MalformedError(f"expected a message of at most {_SMALL} bytes")


def _count(body: memoryview, within: Within, left: int) -> int:
    """How many fields are left of those that there may be, behind ``body``."""
    at, end = 0, len(body)
    n_records = 0
    while at < end:
        tag, at = _varint(body, at)
        number, kind = tag >> 3, tag & 7
        left -= 1
        if within is _CONTENTS:
            n_records += 1
            if number != _BYTES_CONTENTS or n_records > MOST_USERS:
                raise MalformedError(f"inputs[0].contents: expected bytes_contents, {MOST_USERS} at most")
            left += 1
        if left < 0:
            raise MalformedError(f"the message has more than {MOST_FIELDS} fields")
        if kind == 0:
            _, at = _varint(body, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, at = _varint(body, at)
            if at + size > end:
                raise IndexError
            if within is _TENSOR and number == _SHAPE and size > _SHAPE_BYTES:
                raise MalformedError("inputs[0].shape: expected two numbers")
            inner = within.get(number)
            if inner is not None:
                left = _count(body[at : at + size], inner, left)
            at += size
        else:
            raise IndexError  # groups are of another age
    return left


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError
