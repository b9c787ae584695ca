"""Everyday card payments, cash and transfers between people, following each customer's habits."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.synth.catalogue import catalogue, draw_merchants
from pragmatiq_builder.synth.customers import Archetype, Customer, Levels, Usage
from pragmatiq_builder.synth.events import (
    ABSENT,
    DAYS,
    MONTH_STARTS,
    OWN_DEVICE,
    Channel,
    Codes,
    Days,
    Events,
    TxnType,
    draw_cities,
    draw_days,
    draw_moments,
    payments,
)
from pragmatiq_builder.synth.places import COUNTRIES
from pragmatiq_builder.synth.trades import N_TRADES, ONLINE, RHYTHM, SHARE, SPREAD, WEEKEND, Rhythm, Trade, draw_hours

_FAVOURITES = 4
_WEEKEND = (np.arange(DAYS) + 6) % 7 >= 5
_SINCE_FIRST = np.arange(DAYS) - MONTH_STARTS[np.searchsorted(MONTH_STARTS, np.arange(DAYS), side="right") - 1]


@dataclass(frozen=True, slots=True)
class Habits:
    """Where one customer goes.

    ``trade_cdf`` float64 [2, N_TRADES] on workdays and weekends, ``favourites`` merchant ids [N_TRADES, 4],
    ``whereabouts`` the country of each day, ``loyalty`` the odds of a favourite over any other merchant.
    """

    trade_cdf: npt.NDArray[np.float64]
    favourites: Codes
    whereabouts: Codes
    loyalty: float


def draw_habits(rng: np.random.Generator, customer: Customer) -> Habits:
    taste = SHARE * rng.gamma(2.0, 0.5, N_TRADES)
    for trade, factor in customer.traits.tastes.items():
        taste[trade] *= factor
    if customer.archetype == Archetype.SMALL_TRADER:
        taste[Trade.WHOLESALE] = 0.12 * taste.sum()
    cdf = np.cumsum([taste, taste * WEEKEND], axis=1)
    trades = np.repeat(np.arange(N_TRADES), _FAVOURITES)
    favourites = draw_merchants(rng, customer.country, trades, len(trades)).reshape(N_TRADES, _FAVOURITES)
    whereabouts = np.full(DAYS, customer.country)
    for _ in range(rng.poisson(1.3)):
        left, nights = rng.integers(DAYS), rng.integers(3, 15)
        whereabouts[left : left + nights] = rng.integers(len(COUNTRIES))
    return Habits(cdf / cdf[:, -1:], favourites, whereabouts, float(rng.uniform(0.55, 0.95)))


def everyday_events(
    rng: np.random.Generator, customer: Customer, habits: Habits, level: Levels, pressure: Levels
) -> list[Events]:
    """Card payments, the weekly shop, cash withdrawals and transfers to and from friends."""
    events = [_weekly_shop(rng, customer, habits, level)] if customer.usage == Usage.PRIMARY else []
    return [
        *events,
        _card_payments(rng, customer, habits, level * (1 - 0.4 * pressure)),
        _shopping_sprees(rng, customer, habits, level),
        _cash(rng, customer, level * (1 + pressure)),
        _between_people(rng, customer, level),
    ]


def _card_payments(rng: np.random.Generator, customer: Customer, habits: Habits, level: Levels) -> Events:
    after_payday = (_SINCE_FIRST - customer.payday) % 30 < 6
    day = draw_days(rng, level * customer.traits.payments * np.where(after_payday, 1.35, 0.92))
    cdf, u = habits.trade_cdf, rng.random(len(day))
    trade = np.where(_WEEKEND[day], np.searchsorted(cdf[1], u, side="right"), np.searchsorted(cdf[0], u, side="right"))
    moment = day + draw_hours(rng, RHYTHM[trade], len(day), customer.traits.shift) / 24
    return _purchases(rng, customer, habits, moment, trade)


def _weekly_shop(rng: np.random.Generator, customer: Customer, habits: Habits, level: Levels) -> Events:
    usual = level.max() or 1.0
    day = np.arange(int(rng.integers(7)), DAYS, 7)
    day = day[(rng.random(len(day)) < 0.85 * level[day] / usual) & (habits.whereabouts[day] == customer.country)]
    merchant = np.repeat(habits.favourites[Trade.GROCERIES, 0], len(day))
    euros = np.exp(catalogue().log_euros[merchant] + rng.normal(0.9, 0.25, len(day)))
    return payments(
        rng,
        day + draw_hours(rng, Rhythm.EVENING, len(day), customer.traits.shift) / 24,
        merchant,
        euros,
        country=customer.country,
        channel=Channel.CHIP,
        city=np.full(len(day), customer.city),
    )


def _shopping_sprees(rng: np.random.Generator, customer: Customer, habits: Habits, level: Levels) -> Events:
    """Several online purchases within the hour, by the customer: what a fraud burst has to be told from."""
    start = draw_moments(rng, level * 0.006, Rhythm.NIGHT)
    moment = np.repeat(start, rng.integers(2, 6, len(start)))
    trade = rng.choice([Trade.MARKETPLACE, Trade.ELECTRONICS, Trade.GAMES, Trade.CLOTHES], len(moment))
    return _purchases(rng, customer, habits, moment + rng.random(len(moment)) / 24, trade)


def _purchases(rng: np.random.Generator, customer: Customer, habits: Habits, moment: Days, trade: Codes) -> Events:
    n, day = len(moment), moment.astype(np.int64)
    online = rng.random(n) < ONLINE[trade]
    shop = np.where(rng.random(n) < 0.12, rng.integers(len(COUNTRIES), size=n), customer.country)
    country = np.where(online, shop, habits.whereabouts[np.minimum(day, DAYS - 1)])
    at_home = country == customer.country
    choice = np.minimum(rng.geometric(0.45, n) - 1, _FAVOURITES - 1)
    loyal = at_home & (rng.random(n) < habits.loyalty)
    merchant = np.where(loyal, habits.favourites[trade, choice], draw_merchants(rng, country, trade, n))
    local = at_home & (loyal | (rng.random(n) < 0.7))
    city = np.where(online, ABSENT, np.where(local, customer.city, draw_cities(rng, country)))
    euros = np.exp(catalogue().log_euros[merchant] + rng.normal(0, SPREAD[trade])) * (customer.income / 2200) ** 0.3
    euros = np.where(rng.random(n) < 0.3, np.ceil(euros) - 0.01, euros)
    channel = np.select([online, rng.random(n) < 0.7], [Channel.ONLINE, Channel.CONTACTLESS], Channel.CHIP)
    events = payments(rng, moment, merchant, euros, country=country, channel=channel, city=city)
    events["device"] = np.where(online & (rng.random(n) < 0.5), OWN_DEVICE, ABSENT)
    return events


def _cash(rng: np.random.Generator, customer: Customer, level: Levels) -> Events:
    day = draw_moments(rng, level * (0.09 if customer.archetype == Archetype.RETIREE else 0.04), Rhythm.DAY)
    merchant = draw_merchants(rng, customer.country, Trade.CASH, len(day))
    return payments(
        rng,
        day,
        merchant,
        rng.choice([20.0, 40.0, 50.0, 60.0, 100.0, 200.0], len(day)),
        country=customer.country,
        txn_type=TxnType.CASH_WITHDRAWAL,
        channel=Channel.ATM,
        city=np.full(len(day), customer.city),
    )


def _between_people(rng: np.random.Generator, customer: Customer, level: Levels) -> Events:
    """Transfers to and from a handful of friends, the closest most often."""
    day = draw_moments(rng, level * customer.traits.sessions * 0.5, Rhythm.EVENING, customer.traits.shift)
    friends = rng.integers(1, 10_000_000, 7)
    friend = np.minimum(rng.geometric(0.35, len(day)) - 1, len(friends) - 1)
    merchant = draw_merchants(rng, customer.country, Trade.PERSON, len(day))
    euros = np.ceil(np.exp(rng.normal(3.0, 0.9, len(day))))
    sent = rng.random(len(day)) < 0.55
    events = payments(
        rng,
        day,
        merchant,
        euros,
        country=customer.country,
        txn_type=np.where(sent, TxnType.P2P_OUT, TxnType.P2P_IN),
        channel=Channel.APP,
    )
    events["counterparty"] = friends[friend]
    events["device"] = np.where(sent, OWN_DEVICE, ABSENT)
    return events
