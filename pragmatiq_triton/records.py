"""One customer's record: its JSON form, its limits, and errors that name the path of what is wrong."""

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
import numpy as np

from pragmatiq_triton.errors import LimitError, RecordError, printable
from pragmatiq_triton.record_errors import explain
from pragmatiq_triton.time_range import LIVES, PLAUSIBLE, TimeRange, implausible_milestones

Scalar = str | int | float | bool | None
Number = float | bool | None
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Event(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """``ts`` is in microseconds since the epoch; a field whose value is null counts as the empty string.

    ``event_id`` is not read: it may stay in a record of events that labels tell apart by it.
    """

    ts: Int64
    source: str
    fields: dict[str, Scalar] = {}
    event_id: str | int | msgspec.UnsetType = msgspec.UNSET


class Milestone(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """Something that happened once in a customer's life (birth, an account opened), at ``ts`` microseconds."""

    key: str
    ts: Int64


class Record(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A customer's history and profile; ``as_of`` 0 means: as of the newest event.

    ``features`` are numbers of the caller's own, as of the moment of judgement, for heads that were fitted with them.

    With ``eval_ts`` > 0 the record is read as it was then: what it holds at or after that moment is not seen, and
    ``as_of`` is ``eval_ts``.
    """

    events: list[Event]
    user_id: str = ""
    attributes: dict[str, Scalar] = {}
    lifelong: list[Milestone] = []
    as_of: Int64 = 0
    eval_ts: Int64 = 0
    features: dict[str, Number] = {}


class RecordLimits(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one record may hold at most; over a limit is an error that names it.

    Raising a limit raises the memory and the time that a single caller can claim.
    """

    max_record_bytes: int = 16 * 1024 * 1024
    max_events: int = 20_000
    max_fields: int = 400_000
    max_event_fields: int = 4_096
    max_profile_items: int = 4_096
    max_string_bytes: int = 16_384


_decode: Callable[[bytes], Record] = msgspec.json.Decoder(Record).decode
_decode_value: Callable[[bytes], Scalar] = msgspec.json.Decoder(Scalar).decode


def decode_record(raw: bytes, limits: RecordLimits = RecordLimits(), times: TimeRange = PLAUSIBLE) -> Record:
    """Read one record from UTF-8 JSON.

    Raises :class:`RecordError` naming the path (``$.events[3].ts``), what was expected and what was there, also where
    a time is not among the plausible ``times``; :class:`LimitError` naming the limit. A message is short and printable,
    whatever the record holds.
    """
    if len(raw) > limits.max_record_bytes:
        raise LimitError("$", f"{len(raw)} bytes are over the limit max_record_bytes = {limits.max_record_bytes}")
    try:
        record = _decode(raw)
    except msgspec.ValidationError as error:
        raise explain(error, raw, _decode_value) from None
    except RecursionError:
        raise RecordError("$", "the JSON is nested too deeply; a record needs four levels") from None
    except ValueError as error:  # malformed JSON, not UTF-8
        raise RecordError("$", f"expected one JSON object in UTF-8: {error}") from None
    check_limits(record, limits)
    check_times(record, times)
    return record


def check_times(record: Record, times: TimeRange) -> None:
    """Raise :class:`RecordError` where a time of the record is not plausible, naming the first; 0 is no moment."""
    for name in ("as_of", "eval_ts"):
        moment: int = getattr(record, name)
        if moment and moment not in times:
            raise RecordError(f"$.{name}", times.problem(moment))
    for i, event in enumerate(record.events):
        if event.ts not in times:
            raise RecordError(f"$.events[{i}].ts", times.problem(event.ts))
    check_milestones(record.lifelong)


def check_milestones(lifelong: Sequence[Milestone]) -> None:
    """Raise :class:`RecordError` where a milestone's time is not plausible; it may lie long before 1970."""
    odd = np.flatnonzero(implausible_milestones(np.asarray([milestone.ts for milestone in lifelong], np.int64)))
    if len(odd):
        raise RecordError(f"$.lifelong[{odd[0]}].ts", LIVES.problem(lifelong[odd[0]].ts))


def check_limits(record: Record, limits: RecordLimits) -> None:
    """Raise :class:`LimitError` where the record holds more than the limits allow."""
    if len(record.events) > limits.max_events:
        raise LimitError("$.events", f"{len(record.events)} events are over the limit max_events = {limits.max_events}")
    n_profile = len(record.attributes) + len(record.lifelong) + len(record.features)
    n_fields = sum(len(event.fields) for event in record.events) + n_profile
    if n_fields > limits.max_fields:
        raise LimitError("$", f"{n_fields} fields are over the limit max_fields = {limits.max_fields}")
    if n_profile > limits.max_profile_items:
        over = f"over the limit max_profile_items = {limits.max_profile_items}"
        raise LimitError("$", f"{n_profile} attributes, milestones and features are {over}")
    for i, event in enumerate(record.events):
        if len(event.fields) > limits.max_event_fields:
            over = f"over the limit max_event_fields = {limits.max_event_fields}"
            raise LimitError(f"$.events[{i}].fields", f"{len(event.fields)} fields are {over}")
        _check_strings(f"$.events[{i}]", {"source": event.source}, limits)
        _check_strings(f"$.events[{i}].fields", event.fields, limits)
    _check_strings("$.attributes", record.attributes, limits)


def text_of(value: Scalar) -> str:
    """A field's value as the string that the tokenizer reads: null is empty, the rest is Python's ``str``."""
    return value if type(value) is str else "" if value is None else str(value)


def _check_strings(path: str, fields: dict[str, Scalar], limits: RecordLimits) -> None:
    # No character takes more than four bytes, so short strings need no encoding to be measured.
    short = limits.max_string_bytes // 4
    for key, value in fields.items():
        if type(value) is str and len(value) > short and len(value.encode()) > limits.max_string_bytes:
            size = f"{len(value.encode())} bytes are over the limit max_string_bytes = {limits.max_string_bytes}"
            raise LimitError(f"{path}.{printable(key)}", size)
