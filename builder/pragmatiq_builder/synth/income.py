"""Money that comes and goes by the calendar: income, housing, bills, subscriptions, savings, sweeps to other banks."""

import numpy as np

from pragmatiq_builder.synth.catalogue import catalogue, draw_merchants
from pragmatiq_builder.synth.customers import Archetype, Course, Customer, Levels, Usage
from pragmatiq_builder.synth.events import (
    DAYS,
    MONTH_STARTS,
    OWN_DEVICE,
    Channel,
    Codes,
    Days,
    Events,
    TxnType,
    draw_days,
    payments,
)
from pragmatiq_builder.synth.trades import Rhythm, Trade, draw_hours

_PAYERS = {Archetype.RETIREE: Trade.STATE, Archetype.SMALL_TRADER: Trade.CARD_ACQUIRER}
_BILLS = np.array([Trade.TELECOM, Trade.UTILITIES, Trade.INSURANCE, Trade.GYM, Trade.STREAMING, Trade.STREAMING])
_BILL_ODDS = np.array([0.9, 0.75, 0.6, 0.35, 0.7, 0.4])


def calendar_events(rng: np.random.Generator, customer: Customer, pressure: Levels) -> list[Events]:
    """Everything that recurs; a second or dormant account has none of it."""
    if customer.usage != Usage.PRIMARY:
        return []
    return [_income(rng, customer, pressure), _bills(rng, customer, pressure), _sweeps(rng, customer)]


def _income(rng: np.random.Generator, customer: Customer, pressure: Levels) -> Events:
    day, euros = _paydays(rng, customer)
    merchant = _payers(rng, customer, day)
    lost = pressure[day.astype(np.int64)] * rng.choice([0.15, 0.6, 0.85])
    keep = day < (customer.turn + rng.uniform(0, 40) if customer.moves_salary else DAYS)
    if customer.archetype in (Archetype.SALARIED, Archetype.SHIFT_WORKER):
        keep &= (day < customer.job_change) | (day > customer.job_change + rng.uniform(0, 75))
    return payments(
        rng,
        (day + draw_hours(rng, Rhythm.BANK, len(day)) / 24)[keep],
        merchant[keep],
        (euros * (1 - lost))[keep],
        country=customer.country,
        txn_type=TxnType.CREDIT_TRANSFER,
        channel=Channel.TRANSFER,
    )


def _paydays(rng: np.random.Generator, customer: Customer) -> tuple[Days, Days]:
    """Days and euros of the income while all is well: monthly, weekly, termly, or as the business goes."""
    if customer.archetype in (Archetype.SALARIED, Archetype.RETIREE):
        return MONTH_STARTS + customer.payday, np.full(len(MONTH_STARTS), customer.income)
    if customer.archetype == Archetype.SHIFT_WORKER:
        weeks = np.arange(5.0, DAYS, 7)
        return weeks, customer.income / 4.3 * rng.lognormal(0, 0.15, len(weeks))
    if customer.archetype == Archetype.STUDENT:
        terms, months = MONTH_STARTS[::4] + 8, MONTH_STARTS + customer.payday
        return np.append(terms, months), customer.income * np.repeat([2.4, 0.4], [len(terms), len(months)])
    self_employed = customer.archetype == Archetype.SELF_EMPLOYED
    per_month, spread = (3.0, 0.6) if self_employed else (13.0, 0.4)
    day = draw_days(rng, np.full(DAYS, per_month / 30.4))
    return day.astype(np.float64), customer.income / per_month * rng.lognormal(-(spread**2) / 2, spread, len(day))


def _payers(rng: np.random.Generator, customer: Customer, day: Days) -> Codes:
    """One payer for life, another one after a change of jobs, several clients for the self-employed."""
    payers = draw_merchants(rng, customer.country, _PAYERS.get(customer.archetype, Trade.EMPLOYER), 6)
    if customer.archetype == Archetype.SELF_EMPLOYED:
        return np.asarray(payers[rng.integers(len(payers), size=len(day))])
    return np.asarray(np.where(day > customer.job_change, payers[1], payers[0]))


def _bills(rng: np.random.Generator, customer: Customer, pressure: Levels) -> Events:
    """Housing, direct debits, subscriptions and savings, one row per commitment and month; some debits are returned."""
    bills = _BILLS[rng.random(len(_BILLS)) < _BILL_ODDS]
    housing = Trade.MORTGAGE if customer.owns_home else Trade.LANDLORD
    extra = [housing] if customer.archetype != Archetype.STUDENT else []
    saves = rng.random() < (0.6 if customer.course == Course.RECOVER else 0.35)
    trades = np.concatenate([extra, bills, [Trade.SAVINGS] if saves else []]).astype(np.int64)
    n, n_months = len(trades), len(MONTH_STARTS)
    merchants = draw_merchants(rng, customer.country, trades, n)
    fixed = np.exp(catalogue().log_euros[merchants] + rng.normal(0, 0.2, n)) * (customer.income / 2200) ** 0.5
    due = rng.integers(0, 27, n)
    last = np.full(n, customer.closed)
    if customer.course == Course.LEAVE:
        last = np.minimum(last, rng.uniform(customer.turn, customer.closed, n))
    first = np.where(rng.random(n) < 0.25, rng.uniform(0, DAYS / 2, n), -1.0)

    day = (MONTH_STARTS + due[:, None] + draw_hours(rng, Rhythm.BANK, n * n_months).reshape(n, n_months) / 24).ravel()
    of = np.repeat(np.arange(n), n_months)
    varies = np.where(trades == Trade.UTILITIES, 0.2, 0.0)[of]
    euros = fixed[of] * np.exp(varies * rng.normal(size=n * n_months))
    keep = (day < last[of]) & (day > first[of])
    now = pressure[np.minimum(day, DAYS - 1).astype(np.int64)]
    keep &= ~((trades[of] == Trade.SAVINGS) & (rng.random(len(day)) < 1.3 * now))
    returned = rng.random(len(day)) < 0.01 + 0.16 * now
    by_card = trades[of] == Trade.STREAMING
    standing = np.isin(trades[of], (Trade.LANDLORD, Trade.SAVINGS))
    txn_type = np.select(
        [by_card, standing, returned],
        [TxnType.CARD_PAYMENT, TxnType.STANDING_ORDER, TxnType.RETURNED_DEBIT],
        TxnType.DIRECT_DEBIT,
    )
    channel = np.select([by_card, standing], [Channel.ONLINE, Channel.TRANSFER], Channel.DEBIT)
    return payments(
        rng,
        day[keep],
        merchants[of][keep],
        euros[keep],
        country=customer.country,
        txn_type=txn_type[keep],
        channel=channel[keep],
    )


def _sweeps(rng: np.random.Generator, customer: Customer) -> Events:
    """Transfers to an account elsewhere: a habit of some, and from the turn on the whole income of those who leave."""
    habit = rng.random() < 0.22
    day = MONTH_STARTS + customer.payday + rng.uniform(0.3, 3.0, len(MONTH_STARTS))
    leaving = (day >= customer.turn) & (customer.course == Course.LEAVE) & (rng.random() < 0.7)
    keep = leaving | habit
    share = np.where(leaving, rng.uniform(0.5, 0.95, len(day)), 0.15)
    merchant = np.repeat(draw_merchants(rng, customer.country, Trade.OTHER_BANK, 1), len(day))
    events = payments(
        rng,
        day[keep],
        merchant[keep],
        (share * customer.income)[keep],
        country=customer.country,
        txn_type=TxnType.P2P_OUT,
        channel=Channel.APP,
    )
    events["counterparty"] = rng.integers(1, 10_000_000)
    events["device"] = OWN_DEVICE
    return events
