"""Countries of the synthetic bank: where customers live, where they travel, and what things cost there."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Country:
    """``per_euro``: units of ``currency`` for one euro; ``heads`` and ``tails`` make up its brand names."""

    code: str
    currency: str
    per_euro: float
    cities: tuple[str, ...]
    heads: tuple[str, ...]
    tails: tuple[str, ...]


COUNTRIES: tuple[Country, ...] = (
    Country(
        "GB",
        "GBP",
        0.86,
        ("LONDON", "LEEDS", "BRISTOL", "GLASGOW", "CARDIFF", "YORK", "HULL", "BATH", "MILTON KEYNES"),
        ("BRAM", "THORN", "HOLLO", "WEX", "ASH", "KIRK", "TALLO", "PEM", "STAN", "OAK", "FEN", "MARLO"),
        ("WELL", "BY", "WAY", "FORD", "LEY", "BERRY", "TON", "DALE", "WICK", "SHAW", "GATE"),
    ),
    Country(
        "IE",
        "EUR",
        1.0,
        ("DUBLIN", "CORK", "GALWAY", "SLIGO", "DÚN LAOGHAIRE"),
        ("KIL", "BALLY", "DON", "CLON", "RATH", "GLEN", "CARRI", "TULLA"),
        ("DARE", "MORE", "BEG", "GARVAN", "MOYLE", "ROE", "CONNA", "NEEN"),
    ),
    Country(
        "DE",
        "EUR",
        1.0,
        ("BERLIN", "HAMBURG", "MÜNCHEN", "KÖLN", "LEIPZIG", "ULM", "BREMEN"),
        ("STEIN", "GRÜN", "HOLZ", "BERG", "LINDEN", "ROSEN", "WALD", "MÜHL", "FALKEN"),
        ("BACH", "HOF", "KAMP", "MANN", "FELD", "THAL", "HEIM", "BRÜCK"),
    ),
    Country(
        "FR",
        "EUR",
        1.0,
        ("PARIS", "LYON", "NANTES", "LILLE", "NÎMES", "BORDEAUX"),
        ("BEAU", "CLAIR", "MONT", "VAL", "CHÂTEL", "ROCHE", "FLEU", "BOIS"),
        ("VAL", "FORT", "MARÉ", "LIEU", "RIVE", "SOL", "VERT", "NOIX"),
    ),
    Country(
        "ES",
        "EUR",
        1.0,
        ("MADRID", "SEVILLA", "VALENCIA", "BILBAO", "CÁDIZ", "GIJÓN"),
        ("ALTA", "RIO", "CASA", "MONTE", "FLOR", "SANTI", "ARE", "PUER"),
        ("MAR", "NIÑA", "LUZ", "VERA", "SOL", "ROJA", "CAMPO", "PEÑA"),
    ),
    Country(
        "PL",
        "PLN",
        4.3,
        ("WARSZAWA", "KRAKÓW", "ŁÓDŹ", "GDAŃSK", "WROCŁAW"),
        ("ZŁO", "BIAŁ", "JASNO", "DOB", "WIŚ", "KOWAL", "LIPO", "ŻÓŁ"),
        ("TEK", "NOWA", "POL", "SKI", "WICE", "MEX", "RYB", "DAR"),
    ),
    Country(
        "IT",
        "EUR",
        1.0,
        ("ROMA", "MILANO", "NAPOLI", "FORLÌ"),
        ("BEL", "MONTE", "SAN ", "FIO", "PRATO"),
        ("VINO", "RETTI", "LUCE", "MARE", "FIORE"),
    ),
    Country(
        "PT",
        "EUR",
        1.0,
        ("LISBOA", "PORTO", "FARO"),
        ("AL", "RIBEI", "PRA", "FON", "LUSI"),
        ("GARVE", "TEJO", "DOURA", "MAR", "VELHA"),
    ),
    Country(
        "US",
        "USD",
        1.1,
        ("NEW YORK NY", "MIAMI FL", "AUSTIN TX", "RENO NV"),
        ("BLUE", "SUN", "MAPLE", "RED", "GRAND", "IRON"),
        ("FIELD", "STATE", "RIDGE", "STONE", "LAKE", "MARK"),
    ),
    Country(
        "TR",
        "TRY",
        31.0,
        ("İSTANBUL", "ANTALYA", "İZMİR"),
        ("YIL", "GÜNEŞ", "AK", "DEMİR", "ÇINAR"),
        ("TEPE", "DAĞ", "LAR", "OĞLU", "SARAY"),
    ),
    Country(
        "TH",
        "THB",
        38.0,
        ("BANGKOK", "PHUKET", "CHIANG MAI"),
        ("SIAM", "CHAO", "LOTU", "RUNG", "BAAN"),
        ("PHRA", "THAI", "SUK", "NAM", "KHAO"),
    ),
    Country(
        "BR",
        "BRL",
        5.4,
        ("SÃO PAULO", "RECIFE", "CURITIBA"),
        ("BOA", "NOVA", "IPA", "JARDI", "PARA"),
        ("VISTA", "NEMA", "ÇÃO", "NORTE", "TIBA"),
    ),
)

HOME_SHARES = np.array([0.40, 0.10, 0.16, 0.14, 0.10, 0.10])
"""Share of customers living in each of the first countries; nobody lives in the others."""

N_HOMES = len(HOME_SHARES)
COUNTRY_CODES = tuple(country.code for country in COUNTRIES)
CURRENCIES = tuple(sorted({country.currency for country in COUNTRIES}))
CURRENCY_OF = np.array([CURRENCIES.index(country.currency) for country in COUNTRIES])
PER_EURO = np.array([country.per_euro for country in COUNTRIES])

CITIES = tuple(city for country in COUNTRIES for city in country.cities)
N_CITIES = np.array([len(country.cities) for country in COUNTRIES])
FIRST_CITY = np.concatenate([[0], np.cumsum(N_CITIES)[:-1]])
"""Cities of country ``c`` are ``FIRST_CITY[c]:FIRST_CITY[c] + N_CITIES[c]`` of ``CITIES``."""
