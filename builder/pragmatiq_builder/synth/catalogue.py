"""The merchants: a long-tailed catalogue that is the same for every seed, and how their names look on statements.

Merchant ids are laid out as [country, trade, rank]: ``SEGMENT`` merchants of every trade in every country, drawn by
a Zipf law over the rank. A statement line is a name form (canonical, abbreviated, misspelt or cut short), and,
depending on the merchant, an acquirer's prefix, a store number, a city or an order reference.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pragmatiq_builder.synth.places import CITIES, COUNTRIES
from pragmatiq_builder.synth.trades import EUROS, INTERNATIONAL, N_TRADES, TERMS, Trade

SEGMENT = 40
"""Merchants of one trade in one country."""

MCCS = tuple(sorted({mcc for terms in TERMS.values() for mcc in terms.mccs}))

_CHAINS = 10
_NUMBERED = (Trade.GROCERIES, Trade.CONVENIENCE, Trade.FUEL, Trade.CASH, Trade.FAST_FOOD, Trade.CLOTHES)
_FORMS = 4
_FORM_OF_SLOT = np.array([0] * 25 + [1] * 3 + [2] * 2 + [3] * 2)
_PREFIXES = ("SUMUP  *", "SQ *", "ZTL*", "PAYPAL *", "IZ *")
_ZIPF = np.cumsum(1 / (np.arange(SEGMENT) + 1.6))
_ZIPF_CDF = _ZIPF / _ZIPF[-1]

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Catalogue:
    """Per merchant: ``mcc`` (an index into ``MCCS``), ``log_euros``, and which parts its statement lines show.

    ``names`` holds ``_FORMS`` strings per merchant, end to end.
    """

    names: pa.StringArray
    mcc: Ids
    log_euros: npt.NDArray[np.float64]
    shows_store: npt.NDArray[np.bool_]
    shows_city: npt.NDArray[np.bool_]
    shows_reference: npt.NDArray[np.bool_]


def draw_merchants(rng: np.random.Generator, country: Ids | int, trade: Ids | int, n: int) -> Ids:
    """Merchant ids int64 [n], the popular ones more often; ``country`` and ``trade`` are one or one per draw."""
    home = np.where(INTERNATIONAL[trade], 0, country)
    rank = np.searchsorted(_ZIPF_CDF, rng.random(n), side="right")
    return np.asarray((home * N_TRADES + trade) * SEGMENT + rank, np.int64)


def trade_of(merchant: Ids) -> Ids:
    """The trade of each merchant id."""
    return np.asarray(merchant // SEGMENT % N_TRADES, np.int64)


@cache
def catalogue() -> Catalogue:
    """The one catalogue, built on first use."""
    n = len(COUNTRIES) * N_TRADES * SEGMENT
    rng = np.random.default_rng(20_240_817)
    rank = np.arange(n) % SEGMENT
    trade = trade_of(np.arange(n))
    head, tail, word, style = rng.random((4, n))
    names: list[str] = []
    mcc = np.empty(n, np.int64)
    for i in range(n):
        country, terms = COUNTRIES[i // (SEGMENT * N_TRADES)], TERMS[Trade(trade[i])]
        name = terms.words[int(word[i] * len(terms.words))]
        if terms.invented:
            brand = country.heads[int(head[i] * len(country.heads))] + country.tails[int(tail[i] * len(country.tails))]
            prefix = _PREFIXES[int(style[i] * 997) % len(_PREFIXES)] if rank[i] >= _CHAINS and style[i] < 0.25 else ""
            name = f"{prefix}{brand} {name}"
        names += (name, *(_variants(name, i) if terms.invented else [name] * (_FORMS - 1)))
        mcc[i] = MCCS.index(terms.mccs[i % len(terms.mccs)])
    chain = rank < _CHAINS
    stays_online = np.array([TERMS[Trade(t)].online == 1 for t in range(N_TRADES)])[trade]
    numbered = np.isin(trade, _NUMBERED)
    street = ~stays_online & (trade < Trade.STREAMING) | (trade == Trade.CASH)
    return Catalogue(
        names=pa.array(names, pa.string()),
        mcc=mcc,
        log_euros=np.log(EUROS[trade]) + rng.normal(0, 0.35, n),
        shows_store=street & (numbered | chain) & (style > 0.1),
        shows_city=street & (style > 0.35),
        shows_reference=stays_online & (style > 0.3),
    )


def store_number(merchant: Ids, city: Ids, branch: Ids) -> Ids:
    """The number of a chain's ``branch`` in a city, the same for all who shop there."""
    return 100 + (merchant * 131 + city * 977 + branch * 53) % 8_900


def statement_lines(merchant: Ids, store: Ids, city: Ids, reference: Ids) -> pa.StringArray:
    """The merchant strings of a statement; -1 leaves a part out. All arguments are int64 [n]."""
    form = _FORM_OF_SLOT[(merchant * 31 + store) % len(_FORM_OF_SLOT)]
    name = catalogue().names.take(pa.array(merchant * _FORMS + form))
    with_place = pc.binary_join_element_wise(
        name,
        _known(store).cast(pa.string()),
        pa.array(CITIES).take(_known(city)),
        " ",
        null_handling="skip",
    )
    return pc.binary_join_element_wise(with_place, _base36(reference), "*", null_handling="skip")


def _known(codes: Ids) -> pa.Array:
    return pa.array(codes, mask=codes < 0)


def _base36(numbers: Ids) -> pa.Array:
    """Six upper-case characters per number, null where it is negative."""
    digits = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", np.uint8)
    places = np.maximum(numbers, 0)[:, None] // 36 ** np.arange(6) % 36
    text = np.ascontiguousarray(digits[places]).view("S6").ravel()
    return pa.array(text.astype("U6"), pa.string(), mask=numbers < 0)


def _variants(name: str, salt: int) -> tuple[str, str, str]:
    return _abbreviate(name), _misspell(name, salt), name[:11].rstrip()


def _abbreviate(name: str) -> str:
    return " ".join(w[0] + "".join(c for c in w[1:] if c not in "AEIOU") if len(w) > 4 else w for w in name.split(" "))


def _misspell(name: str, salt: int) -> str:
    at = 1 + salt % (len(name) - 2)
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]
