"""What is wrong with a record, in a line: msgspec's message with the place and the value that it does not name."""

import re
from typing import Any

import msgspec

from pragmatiq_triton.errors import RecordError, printable

_MESSAGE = re.compile(r"(.*?)(?: - at `(\$(?:\.\w+|\[\d+\]|\[\.\.\.\])*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|(\[\.\.\.\])")
_NAME = re.compile(r"`(.*)`", re.DOTALL)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def explain(error: msgspec.ValidationError, raw: bytes, decode_value: Any) -> RecordError:
    """msgspec's ``error`` about the record ``raw`` as path and problem; ``decode_value`` reads the value of a field.

    The message is short and printable whatever the record holds: names and values of the caller are cut and escaped.
    Reads along the path alone, so that a large record costs little more than what was read to find the error.
    """
    matched = _MESSAGE.fullmatch(str(error))
    problem, path = (matched[1], matched[2] or "$") if matched else (str(error), "$")
    if problem.count("`") == 1:
        # The path was part of an unknown member's name.
        problem, path = str(error), "$"
    problem = problem[:1].lower() + _NAME.sub(lambda name: printable(name[1].replace("`", "")), problem)[1:]
    try:
        path, value = _follow(path, raw, decode_value)
    except (ValueError, RecursionError, LookupError, StopIteration):
        # What is wrong comes before what cannot be read, or in a member that is there twice, the first time.
        return RecordError(path, problem)
    if value[:1] not in b"[{" and "got" not in problem:
        problem += f", got {printable(value[:400].decode('utf-8', 'replace'))}"
    return RecordError(path, problem)


def _follow(path: str, raw: bytes, decode_value: Any) -> tuple[str, bytes]:
    """The path with the key that msgspec leaves out (``[...]``), and the JSON that is there."""
    value = memoryview(raw)
    for name, index, unnamed in _STEP.findall(path):
        if index:
            value = memoryview(_items(value)[int(index)])
            continue
        members = _members(value)
        if unnamed:
            name = next(key for key, member in members.items() if _is_refused(member, decode_value))
            path = path.replace(unnamed, f".{printable(name)}", 1)
        value = memoryview(members[name])
    return path, bytes(value)


def _is_refused(value: msgspec.Raw, decode_value: Any) -> bool:
    try:
        decode_value(value)
    except (ValueError, RecursionError):
        return True
    return False
