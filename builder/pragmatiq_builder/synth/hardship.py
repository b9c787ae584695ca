"""Gambling, pay-day loans, overdrafts and collections.

Customers under pressure gamble late at night after payday and borrow a day or two after losing; those who recover
gamble and borrow as much, but not one after the other. Losers mostly play at casinos with a harmless category code.
"""

import numpy as np

from pragmatiq_builder.synth.catalogue import draw_merchants
from pragmatiq_builder.synth.customers import Course, Customer, Levels, Usage
from pragmatiq_builder.synth.events import (
    ABSENT,
    DAYS,
    MONTH_STARTS,
    OWN_DEVICE,
    Action,
    Channel,
    Codes,
    Days,
    Events,
    Screen,
    Template,
    TxnType,
    draw_days,
    draw_moments,
    payments,
    steps,
)
from pragmatiq_builder.synth.phone import app_visit, message
from pragmatiq_builder.synth.trades import N_TRADES, Rhythm, Trade, draw_hours


def hardship_events(rng: np.random.Generator, customer: Customer, level: Levels, pressure: Levels) -> list[Events]:
    """What pressure on the finances leaves in the history, and its harmless look-alikes."""
    if customer.usage > Usage.SECONDARY:
        return []
    alive = np.where(level > 0, 1.0, 0.0)
    after_payday = (np.arange(DAYS) - customer.payday) % 30 < 12
    bad = alive * after_payday * pressure * (0.3 if customer.gambles else 0.1)
    bad_nights = draw_days(rng, bad)
    good_nights = draw_days(rng, alive * (0.035 if customer.gambles else 0.0))
    if customer.course == Course.RECOVER:
        loans = draw_days(rng, alive * 0.0015 + 0.3 * bad) + 0.6
    else:
        chased = bad_nights[rng.random(len(bad_nights)) < 0.3]
        unrelated = draw_days(rng, alive * 0.0015)
        loans = np.concatenate([chased + rng.uniform(0.4, 1.9, len(chased)), unrelated + 0.6])
    events = [
        _gambling(rng, customer, bad_nights, betting_share=0.2),
        _gambling(rng, customer, good_nights, betting_share=0.7),
        *_loans(rng, customer, loans),
        *_overdrafts(rng, customer, alive * (0.018 * pressure + 0.004)),
    ]
    if customer.course == Course.DEFAULT:
        events += _collections(rng, customer)
    return events


def _gambling(rng: np.random.Generator, customer: Customer, nights: Codes, betting_share: float) -> Events:
    """A few stakes minutes apart at one house each night; the loser's stakes grow."""
    size = rng.integers(1, 7, len(nights))
    trade = np.where(rng.random(len(nights)) < betting_share, Trade.BETTING, Trade.DISGUISED_CASINO)
    houses = draw_merchants(rng, customer.country, np.arange(N_TRADES), N_TRADES)
    house = np.repeat(houses[trade], size)
    step = steps(size)
    start = nights + draw_hours(rng, Rhythm.NIGHT, len(nights)) / 24
    day = np.repeat(start, size) + step * rng.uniform(2, 9, len(step)) / 1440
    euros = np.ceil(rng.lognormal(2.6, 0.6, len(step)) * 1.25**step / 5) * 5
    events = payments(rng, day, house, euros, country=customer.country)
    events["device"] = np.where(rng.random(len(step)) < 0.5, OWN_DEVICE, ABSENT)
    return events


def _loans(rng: np.random.Generator, customer: Customer, day: Days) -> list[Events]:
    """A pay-day loan's payout and, two to five weeks later, its repayment."""
    home = customer.country
    lender = draw_merchants(rng, home, Trade.LENDER, len(day))
    euros = np.ceil(rng.lognormal(5.3, 0.5, len(day)) / 10) * 10
    due = day + rng.uniform(14, 35, len(day))
    paid = (due < customer.outcome) | (customer.course != Course.DEFAULT)
    return [
        payments(rng, day, lender, euros, country=home, txn_type=TxnType.CREDIT_TRANSFER, channel=Channel.TRANSFER),
        _direct_debits(rng, customer, due[paid], lender[paid], euros[paid] * 1.18),
    ]


def _overdrafts(rng: np.random.Generator, customer: Customer, intensity: Levels) -> list[Events]:
    """Overdraft fees with a warning before each, and a look at the overdraft screen after some."""
    day = draw_moments(rng, intensity, Rhythm.BANK)
    merchant = draw_merchants(rng, customer.country, Trade.FEES, len(day))
    euros = rng.choice([6.0, 8.0, 12.0], len(day))
    seen = day[rng.random(len(day)) < 0.5] + 0.15
    return [
        payments(rng, day, merchant, euros, country=customer.country, txn_type=TxnType.FEE, channel=Channel.DEBIT),
        message(day - 0.02, Template.LOW_BALANCE, Channel.PUSH, Action.SENT),
        app_visit(seen, Screen.OVERDRAFT, Action.VIEW, customer.country),
    ]


def _collections(rng: np.random.Generator, customer: Customer) -> list[Events]:
    """After the default: notices, and instalments to one collector."""
    months = MONTH_STARTS[customer.outcome < MONTH_STARTS] + 11.4
    notices = customer.outcome + np.array([0.5, 14.5, 30.5])
    collector = np.repeat(draw_merchants(rng, customer.country, Trade.COLLECTIONS, 1), len(months))
    return [
        message(notices, Template.ARREARS_NOTICE, Channel.EMAIL, Action.SENT),
        _direct_debits(rng, customer, months, collector, np.full(len(months), 0.06 * customer.income)),
    ]


def _direct_debits(rng: np.random.Generator, customer: Customer, day: Days, merchant: Codes, euros: Days) -> Events:
    return payments(
        rng, day, merchant, euros, country=customer.country, txn_type=TxnType.DIRECT_DEBIT, channel=Channel.DEBIT
    )
