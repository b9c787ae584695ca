"""Whether a model's tokenizer knows strings: tells them apart, and by more than one token for all that it lacks."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

PROBES = (
    "NETFLIX", "Rent", "salary", "card payment", "TESCO STORES 3291", "interest", "insurance", "4711", "12.50",
    "Miete", "wages for march", "refund",
)  # fmt: skip
"""What a bank's text holds in any language that is written in Latin letters."""

SAMPLE = 4096
"""Strings that are looked at: enough for a share to a percent or so."""

MOST_SHARE = 0.5
NAMED_SHARE = 0.01


class KnownStrings(NamedTuple):
    """Of ``n`` strings with something in them, ``unknown`` have no token but the unknown one, and ``alike`` others have
    the tokens of a string that differs in more than case, accents and spaces, as the ``example`` does.
    """

    n: int
    unknown: int
    alike: int
    example: tuple[str, str] | None

    @property
    def lost_share(self) -> float:
        """Of strings that the model cannot tell from others."""
        return (self.unknown + self.alike) / max(self.n, 1)

    def __str__(self) -> str:
        said = f"of {self.n:,} strings {self.unknown:,} are only unknown tokens, {self.alike:,} have another's tokens"
        return said + (", such as {!a} and {!a}".format(*(text[:40] for text in self.example)) if self.example else "")


def known_strings(texts: Sequence[str], token_ids: Sequence[Sequence[int]], unknown_id: int | None) -> KnownStrings:
    """Count ``texts``, all different, by their ``token_ids`` without special tokens."""
    n = unknown = 0
    by_ids: dict[tuple[int, ...], dict[str, str]] = {}
    for text, ids in zip(texts, token_ids, strict=True):
        plain = _plain(text)
        if not plain:
            continue
        n += 1
        if set(ids) <= {unknown_id}:
            unknown += 1
        else:
            by_ids.setdefault(tuple(ids), {}).setdefault(plain, text)
    groups = [list(group.values()) for group in by_ids.values() if len(group) > 1]
    alike = sum(len(group) for group in groups)
    example = (groups[0][0], groups[0][1]) if groups else None
    return KnownStrings(n, unknown, alike, example)


def sampled(texts: Sequence[str]) -> list[str]:
    """Up to :data:`SAMPLE` of ``texts``, evenly spread."""
    return list(texts[:: -(-len(texts) // SAMPLE)]) if texts else []


def _plain(text: str) -> str:
    """Without what many tokenizers fold on purpose."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(
        char for char in folded if char.isprintable() and not char.isspace() and unicodedata.combining(char) == 0
    )
