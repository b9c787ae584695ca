"""What a field's value says, however it is written: missing, a number, true or false, or just its characters."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MISSING_VALUES = ("nan", "NaN", "None", "NULL", "null", "<NA>", "NaT")
"""What other tools write where there is no value; the empty string is one in any case."""

PLAIN_CHARACTERS = 64
"""A number that takes more characters without an exponent is spelled with one."""

_CANONICAL = re.compile(r"-?(?:[1-9][0-9]*|0(?=\.))(?:\.[0-9]*[1-9])?")
"""Most numbers, as they are in one piece already."""
_NUMBER = re.compile(r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]{1,4}))?")
_STARTS_NUMBERS = frozenset("+-.0123456789")
_LARGEST_EXPONENT = 400
_BOOLEANS = {"true": "true", "True": "true", "TRUE": "true", "false": "false", "False": "false", "FALSE": "false"}


@dataclass(frozen=True, slots=True)
class ValueRules:
    """How values are read before anything else looks at them: in fitting, in encoding and in serving alike.

    ``missing``: spellings of a value that is not there, compared exactly, without the white space around a value.
    ``dropped``: names of fields that are not read at all.
    """

    missing: frozenset[str] = frozenset(("", *MISSING_VALUES))
    dropped: frozenset[str] = frozenset()

    def read(self, value: str) -> str | None:
        """The value in its one spelling; None where it is missing."""
        return None if value.strip() in self.missing else canonical(value)

    def read_field(self, key: str, value: str) -> str | None:
        """:meth:`read` of a field's value; None also where the field is dropped."""
        return None if key in self.dropped else self.read(value)


def canonical(value: str) -> str:
    """One spelling per number and truth value: ``10000`` for ``10000.0`` and ``1e4``, ``true`` for ``True``.

    Digits are moved, never rounded, so long identifiers stay what they are. A number with leading zeros or a plus sign
    (a postcode, a telephone number) is a name and stays, as does everything that is no finite number.
    """
    text = value.strip()
    if not text or text[0] not in _STARTS_NUMBERS:
        return _BOOLEANS.get(text, value)
    if len(text) <= PLAIN_CHARACTERS and _CANONICAL.fullmatch(text):
        return text
    parts = _plain_parts(text)
    if parts is None:
        return value
    sign, digits, exponent = parts
    if not digits:
        return "0"
    whole = len(digits) + exponent
    if exponent >= 0:
        plain = digits + "0" * min(exponent, PLAIN_CHARACTERS + 1)
    elif whole > 0:
        plain = f"{digits[:whole]}.{digits[whole:]}"
    else:
        plain = f"0.{'0' * min(-whole, PLAIN_CHARACTERS + 1)}{digits}"
    if len(plain) > PLAIN_CHARACTERS:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        plain = f"{digits[0]}{fraction}e{whole - 1}"
    return sign + plain


def is_plain_number(value: str) -> bool:
    """Whether a value counts as a number where a field's kind is found out: not with leading zeros or a plus sign."""
    text = value.strip()
    return bool(text) and text[0] in _STARTS_NUMBERS and _plain_parts(text) is not None


def numbers_of(values: Sequence[str]) -> npt.NDArray[np.float64]:
    """The numbers that values spell, float64 [n], leading zeros and plus signs allowed; NaN for what is none."""
    return np.fromiter(map(_number_of, values), np.float64, len(values))


def _number_of(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return math.nan
    # Python also reads 1_000, other scripts' digits, inf and nan.
    return number if math.isfinite(number) and "_" not in value and value.isascii() else math.nan


def _plain_parts(text: str) -> tuple[str, str, int] | None:
    """Sign, digits without zeros at either end (none of zero), and the exponent of ten behind them."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, bare_fraction, written_exponent = match.groups(default="")
    fraction = fraction or bare_fraction
    if sign == "+" or (len(whole) > 1 and whole[0] == "0"):
        return None
    exponent = int(written_exponent or 0) - len(fraction)
    digits = (whole + fraction).lstrip("0")
    size = len(digits) + exponent
    if digits and not -_LARGEST_EXPONENT < size <= 309:
        return None
    # Beyond float64's range it is a string of digits, not a number.
    if size == 309 and math.isinf(float(text)):
        return None
    stripped = digits.rstrip("0")
    return sign if stripped else "", stripped, exponent + len(digits) - len(stripped)
