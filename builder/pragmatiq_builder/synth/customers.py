"""Who the customers are: archetype, home, income, devices, and the course their two years take."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.synth.events import DAYS, Codes, Days
from pragmatiq_builder.synth.places import FIRST_CITY, HOME_SHARES, N_CITIES
from pragmatiq_builder.synth.trades import Trade

Levels = npt.NDArray[np.float64]


class Archetype(IntEnum):
    SALARIED = 0
    SHIFT_WORKER = 1
    STUDENT = 2
    RETIREE = 3
    SELF_EMPLOYED = 4
    SMALL_TRADER = 5


class Usage(IntEnum):
    """What the account is to the customer: the main one, a second one, hardly anything, nothing at all."""

    PRIMARY = 0
    SECONDARY = 1
    DORMANT = 2
    UNUSED = 3


class Course(IntEnum):
    """What happens to the customer between ``Customer.turn`` and ``Customer.outcome``.

    ``LEAVE`` fades out and closes the account at the outcome, ``LULL`` fades and comes back; under ``DEFAULT`` the
    pressure on the finances rises until the outcome, under ``PRESSED`` it rises as much and is survived,
    under ``RECOVER`` it starts high and goes away.
    """

    STEADY = 0
    LEAVE = 1
    LULL = 2
    DEFAULT = 3
    PRESSED = 4
    RECOVER = 5


@dataclass(frozen=True, slots=True)
class Traits:
    """What is usual for an archetype; ``tastes`` are factors on the trades' shares, rates are per day."""

    share: float
    ages: tuple[int, int]
    income: float
    payments: float
    sessions: float
    shift: float
    trading: float
    risk: float
    tastes: dict[Trade, float]


_T = Trade
TRAITS: dict[Archetype, Traits] = {
    Archetype.SALARIED: Traits(0.38, (23, 64), 2600, 0.85, 0.24, 0.0, 0.25, 0.9, {_T.FUEL: 1.4, _T.AIRLINE: 1.5}),
    Archetype.SHIFT_WORKER: Traits(
        0.18, (19, 60), 1700, 0.8, 0.26, 1.0, 0.08, 1.4, {_T.CONVENIENCE: 2.0, _T.FAST_FOOD: 1.6, _T.TRANSIT: 1.4}
    ),
    Archetype.STUDENT: Traits(
        0.15, (18, 27), 750, 0.85, 0.38, 1.6, 0.12, 1.0, {_T.BAR: 2.2, _T.FAST_FOOD: 1.8, _T.GAMES: 2.5, _T.FUEL: 0.2}
    ),
    Archetype.RETIREE: Traits(
        0.13, (62, 88), 1500, 0.55, 0.09, -1.2, 0.06, 0.35, {_T.PHARMACY: 3.0, _T.GROCERIES: 1.6, _T.GAMES: 0.1}
    ),
    Archetype.SELF_EMPLOYED: Traits(0.10, (25, 66), 2900, 0.9, 0.26, 0.4, 0.22, 1.3, {_T.FUEL: 2.2, _T.CAFE: 1.6}),
    Archetype.SMALL_TRADER: Traits(
        0.06, (26, 66), 3300, 0.8, 0.28, -0.5, 0.10, 1.3, {_T.FUEL: 1.8, _T.HOME: 2.0, _T.AIRLINE: 0.4}
    ),
}
_SHARES = np.array([TRAITS[archetype].share for archetype in Archetype])
_USAGE_SHARES = np.array([0.755, 0.19, 0.04, 0.015])
USAGE_FACTOR = np.array([1.0, 0.4, 0.012, 0.0])
_COURSE_SHARES = np.array([0.25, 0.33, 0.14, 0.13, 0.04, 0.11])


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer's fixed traits.

    Days count from ``events.START``; ``opened`` may be negative, ``closed`` is ``DAYS`` for accounts still open.
    ``payday`` is a day of the month from 0, ``job_change`` a day that for most never comes, ``update_lag`` the days
    by which the app runs behind its releases. ``device_days`` are the days from which each of ``device_ids`` is in
    use, ``device_os`` is 0 for iOS and 1 for Android.
    """

    index: int
    archetype: Archetype
    usage: Usage
    age: int
    country: int
    city: int
    income: float
    activity: float
    opened: float
    closed: float
    course: Course
    turn: float
    outcome: float
    gambles: bool
    moves_salary: bool
    trades: bool
    owns_home: bool
    payday: int
    job_change: float
    update_lag: int
    device_days: Days
    device_ids: Codes
    device_os: Codes

    @property
    def user_id(self) -> str:
        return f"c{self.index:08d}"

    @property
    def traits(self) -> Traits:
        return TRAITS[self.archetype]


def draw_customer(rng: np.random.Generator, index: int) -> Customer:
    """A customer whose traits depend on nothing but ``rng``."""
    archetype = Archetype(rng.choice(len(_SHARES), p=_SHARES))
    traits = TRAITS[archetype]
    usage = Usage(rng.choice(len(_USAGE_SHARES), p=_USAGE_SHARES))
    country = int(rng.choice(len(HOME_SHARES), p=HOME_SHARES))
    opened = -float(rng.exponential(900)) if rng.random() < 0.72 else float(rng.uniform(0, 500))
    course, turn, outcome = _draw_course(rng, traits.risk, opened)
    if usage >= Usage.DORMANT:
        course = Course.STEADY
    n_devices = 1 + int(rng.poisson(0.6))
    gambles = rng.random() < (0.75 if course >= Course.DEFAULT else 0.25)
    return Customer(
        index=index,
        archetype=archetype,
        usage=usage,
        age=int(rng.integers(*traits.ages)),
        country=country,
        city=int(FIRST_CITY[country] + rng.integers(N_CITIES[country])),
        income=traits.income * float(rng.lognormal(0, 0.35)),
        activity=float(rng.lognormal(0, 0.55)),
        opened=opened,
        closed=outcome if course == Course.LEAVE else float(DAYS),
        course=course,
        turn=turn,
        outcome=outcome,
        gambles=bool(gambles),
        moves_salary=bool(rng.random() < (0.75 if course == Course.LEAVE else 0.08)),
        trades=bool(rng.random() < traits.trading),
        owns_home=bool(rng.random() < 0.45) and archetype not in (Archetype.STUDENT, Archetype.SHIFT_WORKER),
        payday=0 if archetype == Archetype.RETIREE else int(rng.integers(23, 28)),
        job_change=float(rng.uniform(0, 5 * DAYS)),
        update_lag=int(rng.integers(60)),
        device_days=np.concatenate([[-np.inf], np.sort(rng.uniform(0, DAYS, n_devices - 1))]),
        device_ids=rng.integers(1 << 32, 1 << 44, n_devices),
        device_os=(rng.random(n_devices) < 0.15).astype(np.int64) ^ int(rng.random() < 0.5),
    )


def _draw_course(rng: np.random.Generator, risk: float, opened: float) -> tuple[Course, float, float]:
    """The course with the days of its turn and its outcome; a STEADY one has neither before the end."""
    shares = _COURSE_SHARES.copy()
    shares[Course.DEFAULT :] *= risk
    course = Course(rng.choice(len(shares), p=shares / shares.sum()))
    earliest = max(opened, 0.0)
    if course in (Course.LEAVE, Course.LULL):
        outcome = rng.uniform(max(365.0, earliest + 150), DAYS)
        turn = outcome - (rng.uniform(0, 10) if rng.random() < 0.12 else rng.uniform(60, 230))
    elif course in (Course.DEFAULT, Course.PRESSED):
        outcome = rng.uniform(max(270.0, earliest + 150), DAYS)
        turn = outcome - rng.uniform(180, 480)
    elif course == Course.RECOVER:
        turn = earliest + rng.uniform(0, 210)
        outcome = turn + rng.uniform(150, 330)
    else:
        return course, float(DAYS), float(DAYS)
    return course, float(max(turn, earliest)), float(outcome)


def activity_levels(customer: Customer) -> Levels:
    """How busy each day is, float64 [DAYS]: 1 is the archetype's usual, 0 outside the account's life."""
    day = np.arange(DAYS)
    level = np.where(day % 365 > 334, 1.25, 1.0) * customer.activity * USAGE_FACTOR[customer.usage]
    progress = np.clip((day - customer.turn) / max(customer.outcome - customer.turn, 1.0), 0, 1)
    if customer.course == Course.LEAVE:
        level *= 1 - 0.85 * progress
    elif customer.course == Course.LULL:
        back = np.clip((day - customer.outcome) / 30, 0, 1)
        level *= 1 - 0.8 * progress * (1 - back)
    elif customer.course == Course.DEFAULT:
        level[day >= customer.outcome] *= 0.3
    level[(day < np.ceil(customer.opened)) | (day + 1 > customer.closed)] = 0
    return np.asarray(level)


def pressure_levels(customer: Customer) -> Levels:
    """How pressed the customer's finances are each day, in [0, 1], float64 [DAYS]."""
    day = np.arange(DAYS)
    progress = np.clip((day - customer.turn) / max(customer.outcome - customer.turn, 1.0), 0, 1)
    if customer.course == Course.DEFAULT:
        return np.asarray(progress**0.7)
    if customer.course == Course.PRESSED:
        return np.asarray(progress**0.7 * (day < customer.outcome))
    if customer.course == Course.RECOVER:
        return np.asarray((1 - progress) ** 0.7 * (day >= customer.turn))
    return np.zeros(DAYS)
