"""Coded events as the Arrow columns of the raw contract."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pragmatiq_builder.synth.catalogue import MCCS, catalogue, statement_lines
from pragmatiq_builder.synth.events import (
    ABSENT,
    DAYS,
    Action,
    Channel,
    Codes,
    Events,
    OperatingSystem,
    OrderType,
    Screen,
    Side,
    Source,
    Template,
    TxnType,
)
from pragmatiq_builder.synth.phone import INSTRUMENTS
from pragmatiq_builder.synth.places import COUNTRY_CODES, CURRENCIES, CURRENCY_OF

EVENTS_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("ts", pa.timestamp("us"), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("fields", pa.map_(pa.string(), pa.string()), nullable=False),
    ]
)

Column = tuple[pa.StringArray, Codes]
"""A field of all events: a pool of strings and each event's index into it, ``ABSENT`` where it has none."""


def event_columns(events: Events) -> tuple[pa.Array, pa.StringArray, pa.MapArray]:
    """``ts``, ``source`` and ``fields`` of events."""
    ts = pa.array(events["ts"], pa.timestamp("us"))
    source = _names(Source).take(pa.array(events["source"]))
    return ts, source, _interleave(_fields(events))


def _fields(events: Events) -> dict[str, Column]:
    """Every field in the order in which an event shows it."""
    merchant = events["merchant"].astype(np.int64)
    pays = merchant >= 0
    of = np.flatnonzero(pays)
    paying = events[of]
    lines = statement_lines(
        merchant[of], paying["store"].astype(np.int64), paying["city"].astype(np.int64), paying["reference"]
    )
    country = events["country"].astype(np.int64)
    versions = pa.array([f"{7 + n // 20}.{n % 20}.0" for n in range(DAYS // 14 + 1)])
    return {
        "amount": _numbers(events["amount"], 2),
        "currency": (pa.array(CURRENCIES), np.where(pays, CURRENCY_OF[country], ABSENT)),
        "mcc": (pa.array(MCCS), np.where(pays, catalogue().mcc[merchant], ABSENT)),
        "merchant": (lines, _positions(pays)),
        "txn_type": (_names(TxnType), events["txn_type"]),
        "channel": (_names(Channel), events["channel"]),
        "screen": (_names(Screen), events["screen"]),
        "template": (_names(Template), events["template"]),
        "action": (_names(Action), events["action"]),
        "instrument": (pa.array(INSTRUMENTS), events["instrument"]),
        "side": (_names(Side), events["side"]),
        "order_type": (_names(OrderType), events["order_type"]),
        "quantity": _numbers(events["quantity"], 4),
        "price": _numbers(events["price"], 2),
        "country": (pa.array(COUNTRY_CODES), country),
        "counterparty": _ids("p", events["counterparty"].astype(np.int64)),
        "device_id": _ids("d", events["device"]),
        "os": (_names(OperatingSystem), events["os"]),
        "app_version": (versions, events["app_version"]),
    }


def _interleave(fields: dict[str, Column]) -> pa.MapArray:
    """The fields that each event has, event by event, as one map<string, string> column."""
    pools = [pool for pool, _ in fields.values()]
    first = np.concatenate([[0], np.cumsum([len(pool) for pool in pools])[:-1]])
    index = np.stack([codes for _, codes in fields.values()], axis=1).astype(np.int32)
    present = index >= 0
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int32)
    values = pa.concat_arrays(pools).take(pa.array((index + first)[present].astype(np.int32)))
    keys = pa.array(list(fields)).take(pa.array(np.nonzero(present)[1].astype(np.int32)))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, values)


def _names(enum: type[IntEnum]) -> pa.StringArray:
    return pa.array([member.name.lower() for member in enum])


def _positions(present: npt.NDArray[np.bool_]) -> Codes:
    return np.where(present, np.cumsum(present) - 1, ABSENT)


def _numbers(values: Codes, decimals: int) -> Column:
    """Fixed-point numbers as decimal strings."""
    present = values >= 0
    whole, part = np.divmod(values[present], 10**decimals)
    parts = pa.array([f"{n:0{decimals}d}" for n in range(10**decimals)])
    text = pc.binary_join_element_wise(pa.array(whole).cast(pa.string()), parts.take(pa.array(part)), ".")
    return text, _positions(present)


def _ids(prefix: str, values: Codes) -> Column:
    present = values >= 0
    distinct, inverse = np.unique(values[present], return_inverse=True)
    index = np.full(len(values), ABSENT)
    index[present] = inverse
    return pa.array([f"{prefix}{value:x}" for value in distinct.tolist()], pa.string()), index
