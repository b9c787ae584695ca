"""Card payments that the customer did not make.

Every part of the pattern also occurs honestly (new phones, travel, night owls, shopping sprees, large amounts);
it is their coming together within minutes that gives a fraud away. Only card payments are marked, so the kind of
transaction says nothing about the label.
"""

from enum import IntEnum

import numpy as np

from pragmatiq_builder.synth.catalogue import catalogue, draw_merchants
from pragmatiq_builder.synth.customers import Customer, Usage
from pragmatiq_builder.synth.events import ABSENT, Channel, Events, draw_cities, payments
from pragmatiq_builder.synth.phone import device_setup
from pragmatiq_builder.synth.places import COUNTRIES
from pragmatiq_builder.synth.trades import ONLINE, SHARE, Rhythm, Trade, draw_hours

_EPISODES = 0.11
"""Expected per customer."""

_COUNTRY_ODDS = np.array([0.4, 0.6, 0.8, 0.7, 0.9, 0.9, 0.7, 0.7, 1.6, 1.6, 1.3, 1.6])
_RHYTHMS = (Rhythm.BANK, Rhythm.NIGHT, Rhythm.EVENING, Rhythm.DAY)
_LOOT = np.array([Trade.SCAM_SHOP, Trade.SCAM_SHOP, Trade.SCAM_SHOP, Trade.ELECTRONICS, Trade.MARKETPLACE, Trade.GAMES])
_LOOT_ODDS = np.array([0.6, 0.45, 0.0])
"""Per :class:`Kind`, the probability of a payment at a shop of ``_LOOT`` rather than at any."""


class Kind(IntEnum):
    """A stranger's phone in the account, a copied card tried out and then emptied, one payment that looks normal."""

    TAKEOVER = 0
    COPIED_CARD = 1
    STEALTH = 2


def fraud_events(rng: np.random.Generator, customer: Customer) -> list[Events]:
    """All fraud episodes of a customer, mostly none."""
    first, last = max(customer.opened, 0.0) + 20, customer.closed - 2
    n = int(rng.poisson(_EPISODES))
    if customer.usage > Usage.SECONDARY or first >= last:
        return []
    return [part for day in rng.uniform(first, last, n) for part in _episode(rng, customer, int(day))]


def _episode(rng: np.random.Generator, customer: Customer, day: int) -> list[Events]:
    kind = Kind(rng.choice(len(Kind), p=[0.45, 0.3, 0.25]))
    rhythm = Rhythm(rng.choice(_RHYTHMS, p=[0.12, 0.28, 0.3, 0.3]))
    start = day + float(draw_hours(rng, rhythm, 1)[0]) / 24
    n = 1 if kind == Kind.STEALTH else int(rng.integers(2, 6))
    minutes = rng.exponential(6, n).cumsum() + 3
    abroad = rng.random() < 0.4 and kind != Kind.STEALTH
    country = int(rng.choice(len(COUNTRIES), p=_COUNTRY_ODDS / _COUNTRY_ODDS.sum())) if abroad else customer.country
    usual = rng.choice(len(SHARE), n, p=SHARE / SHARE.sum())
    trade = np.where(rng.random(n) < _LOOT_ODDS[kind], rng.choice(_LOOT, n), usual)
    merchant = draw_merchants(rng, country, trade, n)
    euros = np.exp(catalogue().log_euros[merchant] + rng.normal(0.4, 0.7, n))
    if kind == Kind.COPIED_CARD:
        euros[0] = rng.uniform(0.5, 3)
    online = rng.random(n) < ONLINE[trade]
    city = np.where(online, ABSENT, draw_cities(rng, np.full(n, country)))
    events = payments(
        rng,
        start + minutes / 1440,
        merchant,
        euros,
        country=country,
        channel=np.where(online, Channel.ONLINE, Channel.CHIP),
        city=city,
    )
    events["fraud"] = 1
    if kind != Kind.TAKEOVER:
        return [events]
    stranger = rng.integers(1 << 32, 1 << 44)
    events["device"] = np.where(online & (rng.random(n) < 0.7), stranger, ABSENT)
    visit = device_setup(rng, start, country)
    visit["device"] = stranger
    return [visit, events]
