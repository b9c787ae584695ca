"""The slow facts of a customer: profile attributes and lifelong milestones. None of them tells a label's outcome."""

from dataclasses import dataclass

import numpy as np

from pragmatiq_builder.synth.customers import Archetype, Customer, Usage
from pragmatiq_builder.synth.events import Codes, timestamps
from pragmatiq_builder.synth.places import COUNTRY_CODES

_AGE_EDGES = (18, 25, 35, 45, 55, 65, 75)
_INCOME_EDGES = (500, 1_000, 1_500, 2_500, 4_000, 7_000)
_MARITAL = ("single", "married", "partnered", "divorced", "widowed")


@dataclass(frozen=True, slots=True)
class Profile:
    """``attributes`` and the ``lifelong`` milestones as (key, µs since 1970) in order of time."""

    attributes: dict[str, str]
    lifelong: list[tuple[str, int]]


def draw_profile(rng: np.random.Generator, customer: Customer) -> Profile:
    odds = [0.62, 0.1, 0.25, 0.03, 0.0] if customer.age < 30 else [0.2, 0.5, 0.12, 0.13, 0.05]
    attributes = {
        "age_band": _band(customer.age, _AGE_EDGES),
        "country": COUNTRY_CODES[customer.country],
        "occupation": customer.archetype.name.lower(),
        "income_band": _band(customer.income, _INCOME_EDGES),
        "kyc_tier": str(rng.choice(["basic", "full", "enhanced"], p=[0.15, 0.75, 0.1])),
        "marital_status": _MARITAL[rng.choice(len(_MARITAL), p=odds)],
        "housing": "owner" if customer.owns_home else "family" if customer.archetype == Archetype.STUDENT else "tenant",
        "plan": str(rng.choice(["standard", "plus", "premium"], p=[0.72, 0.2, 0.08])),
        "main_account": "yes" if customer.usage == Usage.PRIMARY else "no",
    }
    return Profile(attributes, _milestones(rng, customer))


def _milestones(rng: np.random.Generator, customer: Customer) -> list[tuple[str, int]]:
    verified = customer.opened + float(rng.exponential(1.0))
    days = {
        "account_opened": customer.opened,
        "identity_verified": verified,
        "card_activated": verified + float(rng.exponential(5.0)),
        "first_income": verified + float(rng.uniform(5, 40)) if customer.usage == Usage.PRIMARY else np.inf,
        "trading_enabled": verified + float(rng.exponential(120)) if customer.trades else np.inf,
        "address_changed": customer.opened + float(rng.exponential(1_500)),
        "plan_changed": customer.opened + float(rng.exponential(2_500)),
    }
    kept = sorted((day, key) for key, day in days.items() if day < customer.closed)
    ts: Codes = timestamps(np.array([day for day, _ in kept]))
    return [(key, int(at)) for (_, key), at in zip(kept, ts, strict=True)]


def _band(value: float, edges: tuple[int, ...]) -> str:
    at = int(np.searchsorted(edges, value, side="right"))
    low = edges[at - 1] if at else 0
    return f"{low}-{edges[at]}" if at < len(edges) else f"{low}+"
