"""What happens on the customer's phone: app sessions, trading orders, messages from the bank."""

import numpy as np

from pragmatiq_builder.synth.customers import Course, Customer, Levels, Usage
from pragmatiq_builder.synth.events import (
    DAYS,
    MONTH_STARTS,
    OWN_DEVICE,
    Action,
    Channel,
    Codes,
    Days,
    Events,
    OrderType,
    Screen,
    Side,
    Source,
    Template,
    blank,
    draw_days,
    draw_moments,
    steps,
    timestamps,
)
from pragmatiq_builder.synth.trades import Rhythm

INSTRUMENTS = ("BTC", "ETH", "GOLD", "SP500", "EUSTOXX", "NORDWIND", "HELIOS", "VANTA", "QUARRY", "MERIDIAN")

_SCREENS = np.array([0, 24, 14, 10, 8, 6, 0, 6, 1.5, 1, 1, 2, 1], np.float64)
_SECOND = 1 / 86_400
_CAMPAIGNS = (
    Template.CASHBACK_OFFER,
    Template.REFERRAL_BONUS,
    Template.SAVINGS_NUDGE,
    Template.TRAVEL_TIPS,
    Template.TRADING_DIGEST,
)


def _price_paths() -> Levels:
    """The euro price of every instrument on every day, float64 [DAYS, n_instruments], the same for every seed."""
    rng = np.random.default_rng(7_301)
    first = rng.lognormal(4, 1.2, len(INSTRUMENTS))
    return np.asarray(first * np.exp(np.cumsum(rng.normal(0, 0.018, (DAYS, len(INSTRUMENTS))), axis=0)))


_PRICES = _price_paths()


def phone_events(rng: np.random.Generator, customer: Customer, level: Levels, pressure: Levels) -> list[Events]:
    """App sessions, orders and messages; devices of the customer's own are filled in by :func:`assign_devices`."""
    sessions = _sessions(rng, customer, level * (1 + pressure))
    if customer.usage >= Usage.DORMANT:
        return [sessions]
    return [
        sessions,
        _complaints(rng, customer),
        *(device_setup(rng, day, customer.country) for day in customer.device_days[1:]),
        _orders(rng, customer, level),
        _campaigns(rng, level),
    ]


def app_visit(day: Days, screen: Codes | Screen, action: Codes | Action, country: int) -> Events:
    """App events on the customer's own device."""
    events = blank(Source.APP, day)
    events["screen"] = screen
    events["action"] = action
    events["country"] = country
    events["device"] = OWN_DEVICE
    return events


def message(day: Days, template: Codes | Template, channel: Codes | Channel, action: Codes | Action) -> Events:
    """Messages from the bank, or what the customer did with them."""
    events = blank(Source.COMMUNICATION, day)
    events["template"] = template
    events["channel"] = channel
    events["action"] = action
    return events


def assign_devices(events: Events, customer: Customer) -> None:
    """Fill in the device held at each time where an event names ``OWN_DEVICE``, and what runs on any app's device."""
    starts = timestamps(np.maximum(customer.device_days, -1.0))
    held = np.searchsorted(starts, events["ts"], side="right") - 1
    own = events["device"] == OWN_DEVICE
    events["device"][own] = customer.device_ids[held[own]]
    app = events["source"] == Source.APP
    day = (events["ts"] - timestamps(np.zeros(1))) // 86_400_000_000
    generation = np.clip((day - customer.update_lag) // 240, 0, 2)
    events["os"][app] = (3 * customer.device_os[held] + generation)[app]
    events["app_version"][app] = np.maximum(day - customer.update_lag, 0)[app] // 14


def _sessions(rng: np.random.Generator, customer: Customer, level: Levels) -> Events:
    """Visits that start with a login and the home screen and then move on every few seconds."""
    start = draw_moments(rng, level * customer.traits.sessions, Rhythm.EVENING, customer.traits.shift - 2)
    length = 1 + rng.geometric(0.45, len(start))
    step = steps(length)
    taste = _SCREENS * rng.gamma(2.0, 0.5, len(Screen))
    taste[Screen.TRADING] = 12.0 if customer.trades else 0.0
    screen = rng.choice(len(Screen), len(step), p=taste / taste.sum())
    screen[step == 0] = Screen.HOME
    action = np.where(step == 0, Action.LOGIN, np.where(rng.random(len(step)) < 0.3, Action.TAP, Action.VIEW))
    pause = rng.exponential(14, len(step)).cumsum()
    elapsed = pause - pause[np.arange(len(step)) - step]
    return app_visit(np.repeat(start, length) + elapsed * _SECOND, screen, action, customer.country)


def _complaints(rng: np.random.Generator, customer: Customer) -> Events:
    """Support before the fading starts and statements after it for many who leave; the other way round for others."""
    leaves = customer.course == Course.LEAVE and rng.random() < 0.65
    start = customer.turn if leaves else float(rng.uniform(max(customer.opened, 0), customer.closed))
    n_support, n_statements = rng.integers(1, 6, 2) if leaves or rng.random() < 0.5 else (0, 0)
    before, after = rng.uniform(-25, 0, n_support), rng.uniform(0, 25, n_statements)
    day = start + np.concatenate([before, after] if leaves else [before + 25, after - 25])
    screen = np.repeat([Screen.SUPPORT, Screen.STATEMENTS], [n_support, n_statements])
    return app_visit(day, screen, Action.CONFIRM, customer.country)


def device_setup(rng: np.random.Generator, day: float, country: int) -> Events:
    """The first minutes of a device in the account: login, security, cards, limits."""
    screens = np.array([Screen.HOME, Screen.SECURITY, Screen.CARDS, Screen.LIMITS])
    actions = np.array([Action.LOGIN, Action.CONFIRM, Action.VIEW, Action.CONFIRM])
    return app_visit(day + rng.uniform(5, 40, len(screens)).cumsum() * _SECOND, screens, actions, country)


def _orders(rng: np.random.Generator, customer: Customer, level: Levels) -> Events:
    moment = draw_moments(rng, level * (0.12 if customer.trades else 0.0), Rhythm.OFFICE)
    n = len(moment)
    held = rng.choice(len(INSTRUMENTS), 3)
    events = blank(Source.TRADING, moment)
    instrument = held[np.minimum(rng.geometric(0.6, n) - 1, 2)]
    price = _PRICES[moment.astype(np.int64), instrument] * np.exp(rng.normal(0, 0.004, n))
    events["instrument"] = instrument
    events["side"] = np.where(rng.random(n) < 0.65, Side.BUY, Side.SELL)
    events["order_type"] = rng.choice(len(OrderType), n, p=[0.6, 0.25, 0.15])
    events["price"] = np.maximum(np.rint(price * 100), 1)
    events["quantity"] = np.maximum(np.rint(rng.lognormal(4, 1, n) / price * 10_000), 1)
    return events


def _campaigns(rng: np.random.Generator, level: Levels) -> Events:
    """Statements by e-mail each month, campaigns by push or e-mail, some opened minutes to hours later."""
    statements = MONTH_STARTS + 0.25
    offers = draw_days(rng, np.where(level > 0, 0.045, 0.0)) + 0.4 + rng.random() * 0.3
    day = np.concatenate([statements, offers])
    template = np.concatenate([np.full(len(statements), Template.STATEMENT_READY), rng.choice(_CAMPAIGNS, len(offers))])
    email = (template == Template.STATEMENT_READY) | (rng.random(len(day)) < 0.3)
    channel = np.where(email, Channel.EMAIL, Channel.PUSH)
    interest = 0.5 * np.minimum(level[np.minimum(day.astype(np.int64), DAYS - 1)], 1.0)
    opened = rng.random(len(day)) < interest
    later = day + rng.exponential(0.1, len(day))
    clicked = opened & (rng.random(len(day)) < 0.3)
    return np.concatenate(
        [
            message(day, template, channel, Action.SENT),
            message(later[opened], template[opened], channel[opened], Action.OPENED),
            message(later[clicked] + 20 * _SECOND, template[clicked], channel[clicked], Action.CLICKED),
        ]
    )
