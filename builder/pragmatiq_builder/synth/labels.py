"""What the three label files say of a customer; outcomes lie after ``eval_ts``, the events before it hint at them."""

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.synth.customers import Course, Customer
from pragmatiq_builder.synth.events import Codes, Events, Source, TxnType, timestamps

DEFAULT_EVALS = np.array(["2023-09-01", "2023-11-01", "2024-01-01"], "datetime64[us]").astype(np.int64)
"""``eval_ts`` of ``default_12m``, each with its twelve months inside the data."""

CHURN_EVALS = np.array(["2024-01-01", "2024-04-01", "2024-07-01"], "datetime64[us]").astype(np.int64)
"""``eval_ts`` of ``churn_6m``."""

_DAY_US = 86_400_000_000
_NORMAL_PAYMENTS = 6

Labels = tuple[Codes, npt.NDArray[np.int8]]


def fraud_labels(rng: np.random.Generator, events: Events) -> Labels:
    """``ts`` and label of every fraudulent event and of a few of the customer's own card payments, ascending."""
    card = (events["source"] == Source.TRANSACTION) & (events["txn_type"] == TxnType.CARD_PAYMENT)
    normal = np.flatnonzero(card & (events["fraud"] == 0))
    sample = rng.choice(normal, min(_NORMAL_PAYMENTS, len(normal)), replace=False) if len(normal) else normal
    rows = np.sort(np.concatenate([np.flatnonzero(events["fraud"]), sample]))
    return events["ts"][rows], events["fraud"][rows]


def default_labels(customer: Customer, events: Events) -> Labels:
    """``eval_ts`` and whether the account defaults in the 365 days from then; not for who already has or has left."""
    rows = DEFAULT_EVALS[_still_here(customer, events, DEFAULT_EVALS, silence_days=365)]
    return rows, _within(customer, Course.DEFAULT, rows, days=365)


def churn_labels(customer: Customer, events: Events) -> Labels:
    """``eval_ts`` and whether the account is closed in the 182 days from then; asked of recently active customers."""
    rows = CHURN_EVALS[_still_here(customer, events, CHURN_EVALS, silence_days=90)]
    return rows, _within(customer, Course.LEAVE, rows, days=182)


def _still_here(customer: Customer, events: Events, at: Codes, *, silence_days: int) -> npt.NDArray[np.bool_]:
    """Customers with an event in the last ``silence_days`` and whose end has not come yet."""
    seen = np.searchsorted(events["ts"], at) > np.searchsorted(events["ts"], at - silence_days * _DAY_US)
    over = customer.course in (Course.LEAVE, Course.DEFAULT)
    return np.asarray(seen & ~(over & (_outcome_us(customer) <= at)))


def _within(customer: Customer, course: Course, at: Codes, *, days: int) -> npt.NDArray[np.int8]:
    outcome = _outcome_us(customer)
    hit = (customer.course == course) & (outcome > at) & (outcome <= at + days * _DAY_US)
    return np.asarray(hit, np.int8)


def _outcome_us(customer: Customer) -> int:
    return int(timestamps(np.array([customer.outcome]))[0])
