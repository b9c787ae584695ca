"""Kinds of business: their merchant category codes, usual amounts, hours and the words in their names.

Several kinds share a code on purpose: a pay-day lender, a credit union and a mortgage bank are all 6012, an online
casino may trade as a game shop, a scam shop as a marketplace. Only the name tells them apart.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Rhythm(IntEnum):
    """When in the day something happens."""

    DAY = 0
    MORNING = 1
    LUNCH = 2
    EVENING = 3
    NIGHT = 4
    COMMUTE = 5
    OFFICE = 6
    BANK = 7


_PEAKS: dict[Rhythm, tuple[tuple[float, float, float], ...]] = {
    Rhythm.DAY: ((13.5, 3.5, 1.0),),
    Rhythm.MORNING: ((8.5, 1.3, 0.7), (14.0, 2.5, 0.3)),
    Rhythm.LUNCH: ((12.7, 1.0, 0.6), (19.0, 1.5, 0.4)),
    Rhythm.EVENING: ((19.5, 2.0, 0.8), (13.0, 2.0, 0.2)),
    Rhythm.NIGHT: ((22.5, 2.2, 1.0),),
    Rhythm.COMMUTE: ((8.0, 1.0, 0.5), (17.8, 1.3, 0.5)),
    Rhythm.OFFICE: ((11.0, 1.8, 0.6), (15.0, 1.3, 0.4)),
    Rhythm.BANK: ((5.5, 1.2, 1.0),),
}
_RESOLUTION = 1024


def _quantiles(peaks: tuple[tuple[float, float, float], ...]) -> npt.NDArray[np.float64]:
    """Hours of the day at evenly spaced quantiles of a mixture of (hour, spread, weight) peaks wrapped at midnight."""
    grid = (np.arange(24 * 60) + 0.5) / 60
    density = np.full(len(grid), 0.002)
    for hour, spread, weight in peaks:
        distance = (grid - hour + 12) % 24 - 12
        density += weight / spread * np.exp(-0.5 * (distance / spread) ** 2)
    cumulative = np.cumsum(density)
    return np.interp((np.arange(_RESOLUTION) + 0.5) / _RESOLUTION, cumulative / cumulative[-1], grid)


_HOURS = np.stack([_quantiles(_PEAKS[rhythm]) for rhythm in Rhythm])


def draw_hours(
    rng: np.random.Generator, rhythm: npt.NDArray[np.integer] | Rhythm, n: int, shift: float = 0.0
) -> npt.NDArray[np.float64]:
    """Hours of the day in [0, 24), float64 [n]; ``rhythm`` is one or one per draw, ``shift`` moves the day later."""
    hours = _HOURS[rhythm, rng.integers(_RESOLUTION, size=n)] + rng.random(n) * 0.2 + shift
    return np.asarray(hours % 24)


class Trade(IntEnum):
    """What a merchant does."""

    GROCERIES = 0
    CONVENIENCE = 1
    RESTAURANT = 2
    FAST_FOOD = 3
    CAFE = 4
    BAR = 5
    FUEL = 6
    TRANSIT = 7
    TAXI = 8
    CLOTHES = 9
    ELECTRONICS = 10
    HOME = 11
    PHARMACY = 12
    HEALTH = 13
    BEAUTY = 14
    BOOKS = 15
    GAMES = 16
    MARKETPLACE = 17
    PETS = 18
    ENTERTAINMENT = 19
    AIRLINE = 20
    HOTEL = 21
    CHARITY = 22
    WHOLESALE = 23
    STREAMING = 24
    TELECOM = 25
    UTILITIES = 26
    INSURANCE = 27
    GYM = 28
    SAVINGS = 29
    MORTGAGE = 30
    LANDLORD = 31
    LENDER = 32
    BETTING = 33
    DISGUISED_CASINO = 34
    SCAM_SHOP = 35
    COLLECTIONS = 36
    CASH = 37
    EMPLOYER = 38
    STATE = 39
    CARD_ACQUIRER = 40
    OTHER_BANK = 41
    PERSON = 42
    FEES = 43


@dataclass(frozen=True, slots=True)
class Terms:
    """How a trade does business.

    ``share``: its part of everyday card spending (0: reached in other ways), ``weekend``: factor on Saturday and
    Sunday, ``online``: probability that a purchase is online, ``euros`` and ``spread``: median and log-spread of an
    amount, ``international``: the same merchants everywhere, ``invented``: names have a brand before the word.
    """

    mccs: tuple[str, ...]
    words: tuple[str, ...]
    euros: float = 30.0
    spread: float = 0.6
    rhythm: Rhythm = Rhythm.DAY
    online: float = 0.0
    share: float = 0.0
    weekend: float = 1.0
    international: bool = False
    invented: bool = True


_R = Rhythm
TERMS: dict[Trade, Terms] = {
    Trade.GROCERIES: Terms(("5411",), ("FOODS", "MARKET", "FRESH", "MARKT", "MARCHÉ"), 22, 0.7, _R.DAY, 0.06, 20, 1.2),
    Trade.CONVENIENCE: Terms(("5499", "5411"), ("EXPRESS", "CORNER", "KIOSK", "MINI", "24/7"), 6, 0.5, _R.DAY, 0, 10),
    Trade.RESTAURANT: Terms(("5812",), ("GRILL", "KITCHEN", "BISTRO", "SUSHI"), 32, 0.6, _R.EVENING, 0.05, 8, 1.7),
    Trade.FAST_FOOD: Terms(("5814",), ("BURGER", "CHICKEN", "PIZZA", "KEBAB"), 11, 0.45, _R.LUNCH, 0.3, 10, 1.1),
    Trade.CAFE: Terms(("5814", "5812"), ("COFFEE", "CAFÉ", "BAKERY", "BREW", "ROASTERS"), 5, 0.4, _R.MORNING, 0, 9),
    Trade.BAR: Terms(("5813",), ("TAP", "ARMS", "BAR", "LOUNGE", "BREWERY"), 18, 0.6, _R.NIGHT, 0, 4, 2.2),
    Trade.FUEL: Terms(("5541", "5542"), ("FUEL", "PETROL", "SERVICE STN"), 52, 0.35, _R.COMMUTE, 0, 4),
    Trade.TRANSIT: Terms(("4111", "4131"), ("METRO", "RAIL", "BUS", "TRAVEL"), 3.2, 0.6, _R.COMMUTE, 0.25, 11, 0.5),
    Trade.TAXI: Terms(("4121",), ("CABS", "RIDE", "TAXI"), 13, 0.5, _R.NIGHT, 0.6, 3, 1.6),
    Trade.CLOTHES: Terms(("5651", "5691"), ("FASHION", "DENIM", "SHOES", "MODE"), 44, 0.7, _R.DAY, 0.5, 4, 1.4),
    Trade.ELECTRONICS: Terms(("5732",), ("ELECTRONICS", "DIGITAL", "TECH", "AUDIO"), 90, 1.0, _R.DAY, 0.6, 1.5, 1.2),
    Trade.HOME: Terms(("5200", "5712"), ("DIY", "FURNITURE", "GARDEN", "LIVING"), 48, 0.9, _R.DAY, 0.3, 2, 1.5),
    Trade.PHARMACY: Terms(("5912",), ("PHARMACY", "APOTHEKE", "CHEMIST", "APTEKA"), 12, 0.6, _R.DAY, 0.1, 3, 0.8),
    Trade.HEALTH: Terms(("8099", "8021"), ("DENTAL", "CLINIC", "PHYSIO", "OPTICS"), 60, 0.7, _R.OFFICE, 0, 0.8, 0.2),
    Trade.BEAUTY: Terms(("7230",), ("HAIR", "BARBERS", "NAILS", "SPA"), 34, 0.4, _R.DAY, 0, 1.2, 1.2),
    Trade.BOOKS: Terms(("5942",), ("BOOKS", "PRESS", "STATIONERY"), 16, 0.5, _R.DAY, 0.5, 1.2),
    Trade.GAMES: Terms(("5816",), ("GAMES", "ARCADE", "STUDIO", "QUEST"), 14, 0.8, _R.NIGHT, 1, 2, 1.3, True),
    Trade.MARKETPLACE: Terms(("5262", "5999", "5311"), ("BAZAAR", "OUTLET"), 24, 0.9, _R.EVENING, 1, 7, 1.1, True),
    Trade.PETS: Terms(("5995",), ("PETS", "VETS", "AQUATICS"), 28, 0.5, _R.DAY, 0.3, 1),
    Trade.ENTERTAINMENT: Terms(("7832", "7922"), ("CINEMA", "THEATRE", "BOWL"), 22, 0.5, _R.EVENING, 0.6, 1.5, 1.9),
    Trade.AIRLINE: Terms(("4511",), ("AIR", "AIRWAYS", "JET"), 140, 0.7, _R.EVENING, 1, 0.4, 1, True),
    Trade.HOTEL: Terms(("7011",), ("HOTEL", "INN", "HOSTEL", "SUITES"), 160, 0.6, _R.EVENING, 0.6, 0.3),
    Trade.CHARITY: Terms(("8398",), ("TRUST", "RELIEF", "HOSPICE", "FUND"), 15, 0.6, _R.EVENING, 1, 0.5),
    Trade.WHOLESALE: Terms(("5046", "5199"), ("WHOLESALE", "CASH&CARRY", "SUPPLY"), 210, 0.7, _R.MORNING, 0.1),
    Trade.STREAMING: Terms(("5815", "4899"), ("TV", "MUSIC", "CLOUD", "NEWS"), 10, 0.4, online=1, international=True),
    Trade.TELECOM: Terms(("4814",), ("MOBILE", "TELECOM", "BROADBAND"), 25, 0.4),
    Trade.UTILITIES: Terms(("4900",), ("ENERGY", "WATER", "POWER", "GAS"), 75, 0.5),
    Trade.INSURANCE: Terms(("6300",), ("INSURANCE", "ASSURANCE", "MUTUAL"), 38, 0.5),
    Trade.GYM: Terms(("7997",), ("GYM", "FITNESS", "SPORTS CLUB"), 29, 0.3),
    Trade.SAVINGS: Terms(("6012",), ("SAVINGS", "CREDIT UNION", "BUILDING SOC", "ISA"), 120, 0.8),
    Trade.MORTGAGE: Terms(("6012",), ("HOME LOANS", "MORTGAGES", "HYPOTHEK"), 820, 0.4),
    Trade.LANDLORD: Terms(("6513",), ("LETTINGS", "ESTATES", "PROPERTY"), 700, 0.4),
    Trade.LENDER: Terms(("6012",), ("QUICK CASH", "PAYDAY", "TIL FRIDAY", "FAST LOAN"), 220, 0.6),
    Trade.BETTING: Terms(("7995",), ("BET", "BOOKMAKERS", "LOTTO"), 14, 0.8, online=1),
    Trade.DISGUISED_CASINO: Terms(("5816", "5999"), ("SPINS", "JACKPOT"), 22, 0.9, online=1, international=True),
    Trade.SCAM_SHOP: Terms(
        ("5999", "5262", "5732", "5311"), ("GIFTCARD HUB", "TOPUP", "LUXE SALE"), 70, 0.9, _R.EVENING, 1, 0.5, 1, True
    ),
    Trade.COLLECTIONS: Terms(("6012",), ("RECOVERIES", "DEBT SOLUTIONS", "COLLECT"), 60, 0.5),
    Trade.CASH: Terms(("6011",), ("ATM", "CASH MACHINE", "CASHPOINT"), 60, 0.6, invented=False),
    Trade.EMPLOYER: Terms(("0000",), ("LOGISTICS PAYROLL", "GROUP SALARY", "CARE LTD WAGES", "COUNCIL PAY")),
    Trade.STATE: Terms(("0000",), ("STATE PENSION", "PENSION SERVICE"), invented=False),
    Trade.CARD_ACQUIRER: Terms(("0000",), ("PAYOUTS", "CARD TAKINGS", "SETTLEMENT")),
    Trade.OTHER_BANK: Terms(("4829",), ("BANK", "DIRECT", "NEOBANK")),
    Trade.PERSON: Terms(("4829",), ("P2P TRANSFER",), 28, 0.9, invented=False),
    Trade.FEES: Terms(("0000",), ("OVERDRAFT FEE", "UNPAID ITEM FEE"), 9, 0.2, invented=False),
}

N_TRADES = len(Trade)
EUROS = np.array([TERMS[trade].euros for trade in Trade])
SPREAD = np.array([TERMS[trade].spread for trade in Trade])
ONLINE = np.array([TERMS[trade].online for trade in Trade])
RHYTHM = np.array([TERMS[trade].rhythm for trade in Trade])
SHARE = np.array([TERMS[trade].share for trade in Trade])
WEEKEND = np.array([TERMS[trade].weekend for trade in Trade])
INTERNATIONAL = np.array([TERMS[trade].international for trade in Trade])
