"""An event as numbers: one NumPy record whose columns are codes, written out as strings only at the end."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.synth.catalogue import catalogue, store_number
from pragmatiq_builder.synth.places import FIRST_CITY, N_CITIES, PER_EURO
from pragmatiq_builder.synth.trades import Rhythm, draw_hours

Events = npt.NDArray[np.void]
Days = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.int64]

ABSENT = -1
OWN_DEVICE = 0
"""A device that stands for whichever phone the customer holds at that time."""

START = np.datetime64("2023-01-01T00:00:00", "us")
DAYS = 731
END = START + np.timedelta64(DAYS, "D")
MONTH_STARTS = (np.arange("2023-01", "2025-01", dtype="M8[M]").astype("M8[us]") - START) / np.timedelta64(1, "D")
"""Days from ``START`` to the first of each of the 24 months."""

_DAY_US = 86_400_000_000


class Source(IntEnum):
    TRANSACTION = 0
    APP = 1
    TRADING = 2
    COMMUNICATION = 3


class TxnType(IntEnum):
    CARD_PAYMENT = 0
    DIRECT_DEBIT = 1
    STANDING_ORDER = 2
    CREDIT_TRANSFER = 3
    P2P_IN = 4
    P2P_OUT = 5
    CASH_WITHDRAWAL = 6
    FEE = 7
    RETURNED_DEBIT = 8


class Channel(IntEnum):
    CONTACTLESS = 0
    CHIP = 1
    ONLINE = 2
    TRANSFER = 3
    DEBIT = 4
    APP = 5
    ATM = 6
    EMAIL = 7
    PUSH = 8
    SMS = 9


class Screen(IntEnum):
    HOME = 0
    TRANSACTIONS = 1
    PAYMENTS = 2
    CARDS = 3
    BUDGET = 4
    SAVINGS = 5
    TRADING = 6
    OFFERS = 7
    SECURITY = 8
    LIMITS = 9
    SUPPORT = 10
    STATEMENTS = 11
    OVERDRAFT = 12


class Action(IntEnum):
    VIEW = 0
    TAP = 1
    CONFIRM = 2
    LOGIN = 3
    SENT = 4
    OPENED = 5
    CLICKED = 6


class OperatingSystem(IntEnum):
    IOS_16 = 0
    IOS_17 = 1
    IOS_18 = 2
    ANDROID_13 = 3
    ANDROID_14 = 4
    ANDROID_15 = 5


class OrderType(IntEnum):
    MARKET = 0
    LIMIT = 1
    RECURRING = 2


class Side(IntEnum):
    BUY = 0
    SELL = 1


class Template(IntEnum):
    STATEMENT_READY = 0
    CASHBACK_OFFER = 1
    REFERRAL_BONUS = 2
    SAVINGS_NUDGE = 3
    TRAVEL_TIPS = 4
    TRADING_DIGEST = 5
    LOW_BALANCE = 6
    PAYMENT_RETURNED = 7
    ARREARS_NOTICE = 8


EVENT = np.dtype(
    [
        ("ts", np.int64),  # µs since 1970
        ("source", np.int8),
        ("amount", np.int64),  # hundredths of the country's currency
        ("merchant", np.int32),
        ("store", np.int32),
        ("city", np.int16),
        ("reference", np.int64),
        ("txn_type", np.int8),
        ("channel", np.int8),
        ("country", np.int8),
        ("counterparty", np.int32),
        ("device", np.int64),
        ("screen", np.int8),
        ("action", np.int8),
        ("os", np.int8),
        ("app_version", np.int16),
        ("order_type", np.int8),
        ("side", np.int8),
        ("instrument", np.int8),
        ("quantity", np.int64),  # ten-thousandths
        ("price", np.int64),  # hundredths of a euro
        ("template", np.int8),
        ("fraud", np.int8),  # 1: not the customer's doing
    ]
)
"""Every column but ``ts``, ``source`` and ``fraud`` is ``ABSENT`` where an event has no such field."""


def timestamps(day: Days) -> Codes:
    """Days from ``START`` as µs since 1970."""
    return START.astype(np.int64) + np.rint(np.asarray(day) * _DAY_US).astype(np.int64)


def blank(source: Source, day: Days) -> Events:
    """Events of a source at the given days, with no field set."""
    events = np.full(len(day), ABSENT, EVENT)
    events["ts"] = timestamps(day)
    events["source"] = source
    events["fraud"] = 0
    return events


def payments(
    rng: np.random.Generator,
    day: Days,
    merchant: Codes,
    euros: Days,
    *,
    country: Codes | int,
    txn_type: Codes | TxnType = TxnType.CARD_PAYMENT,
    channel: Codes | Channel = Channel.ONLINE,
    city: Codes | int = ABSENT,
) -> Events:
    """Transactions of ``euros`` (converted into the country's currency) at catalogue merchants.

    A shop in a ``city`` shows what the merchant's statement lines show; an online one shows no place.
    """
    events = blank(Source.TRANSACTION, day)
    merchants = catalogue()
    in_shop = np.asarray(city) >= 0
    branch = rng.integers(0, 4, len(day))
    events["amount"] = np.maximum(np.rint(euros * PER_EURO[country] * 100), 1)
    events["merchant"] = merchant
    events["store"] = np.where(
        in_shop & merchants.shows_store[merchant], store_number(merchant, np.asarray(city), branch), ABSENT
    )
    events["city"] = np.where(in_shop & merchants.shows_city[merchant], city, ABSENT)
    events["reference"] = np.where(merchants.shows_reference[merchant], rng.integers(0, 36**6, len(day)), ABSENT)
    events["txn_type"] = txn_type
    events["channel"] = channel
    events["country"] = country
    return events


def draw_days(rng: np.random.Generator, intensity: Days) -> Codes:
    """Whole days of a Poisson process with this many events expected per day, ascending int64."""
    cumulative = np.cumsum(intensity)
    if not cumulative[-1] > 0:
        return np.zeros(0, np.int64)
    position = rng.random(rng.poisson(cumulative[-1])) * cumulative[-1]
    return np.sort(np.searchsorted(cumulative, position, side="right"))


def draw_moments(rng: np.random.Generator, intensity: Days, rhythm: Rhythm, shift: float = 0.0) -> Days:
    """:func:`draw_days` with an hour of the day each, later by ``shift`` hours than the rhythm's."""
    day = draw_days(rng, intensity)
    return day + draw_hours(rng, rhythm, len(day), shift) / 24


def steps(lengths: Codes) -> Codes:
    """0, 1, 2, ... inside each of the groups that lie end to end: [2, 3] gives [0, 1, 0, 1, 2]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def draw_cities(rng: np.random.Generator, country: Codes) -> Codes:
    """A city of each country."""
    return np.asarray(FIRST_CITY[country] + (rng.random(len(country)) * N_CITIES[country]).astype(np.int64))


def join(parts: Sequence[Events]) -> Events:
    """All events in order of time, no two of them at the same microsecond."""
    events = np.concatenate(parts) if parts else np.zeros(0, EVENT)
    events = events[np.argsort(events["ts"], kind="stable")]
    rank = np.arange(len(events))
    events["ts"] = np.maximum.accumulate(events["ts"] - rank) + rank
    return events
