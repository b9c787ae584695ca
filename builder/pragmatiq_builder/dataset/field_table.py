"""The table of fields: what each field of a data set holds and what becomes of it, kept as ``fields.json``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pragmatiq_builder.dataset.columns import Part
from pragmatiq_triton.errors import ArtifactError

FILE = "fields.json"
SHARES = ("missing_share", "number_share", "unknown_share", "outside_share")
MOST_FIELDS = 500
"""Fields that the table keeps, those with the most values first; the rest are counted."""


class FittedShares(msgspec.Struct, frozen=True):
    """Of a field's values in the data that the tokenizer was fitted on, the shares ``unknown`` and ``outside``."""

    unknown: float
    outside: float


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of events, of profiles (``attributes``) or a milestone.

    ``kind``: how its values become tokens; ``missing`` where it has none, ``unknown`` where the tokenizer was fitted to
    data without it, ``dropped`` where a setting says so. ``values`` and ``missing`` count what is there and what is
    spelled but means nothing; ``distinct`` is a lower bound where ``distinct_at_least``. ``numbers``: values that parse
    as a number. ``unknown``: values that are [UNK], frequent ones of which are ``unseen``. ``outside``: numbers in the
    two buckets that are open, below the tokenizer's lowest edge or from its highest on; tables of before have None.
    ``fitted``: what these two were in the data that the tokenizer was fitted on, if those are others and their table
    is at hand. ``tokens``, and ``cut_tokens`` of them that the limits on an event
    or a profile take away from the network. ``examples``: frequent values, shortened.
    """

    name: str
    part: Part
    kind: str
    values: int
    missing: int
    distinct: int
    distinct_at_least: bool
    numbers: int
    unknown: int
    tokens: int
    cut_tokens: int
    examples: list[str]
    outside: int | None = None
    unseen: list[str] = []
    fitted: FittedShares | None = None

    @property
    def missing_share(self) -> float:
        return _share(self.missing, self.missing + self.values)

    @property
    def number_share(self) -> float:
        return _share(self.numbers, self.values)

    @property
    def unknown_share(self) -> float:
        return _share(self.unknown, max(self.values, self.unknown))

    @property
    def outside_share(self) -> float:
        return _share(self.outside or 0, self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON, with the shares."""
        shares = {name: getattr(self, name) for name in SHARES}
        return {**msgspec.to_builtins(self), **{name: round(share, 4) for name, share in shares.items()}}


class UnknownTotals(msgspec.Struct, frozen=True, kw_only=True):
    """How much of all fields' ``values`` the tokenizer does not know, those of fields that are not listed too.

    ``unseen_values`` are of fields that it knows, among them ``unseen_sources`` events of a source that it does not;
    ``values_of_unseen_fields`` of the others, which are ``unseen_fields`` names. Of the ``numbers``, values of numeric
    fields, ``outside`` are in its open buckets.
    """

    values: int
    unseen_values: int
    unseen_sources: int
    unseen_fields: int
    values_of_unseen_fields: int
    numbers: int
    outside: int

    @property
    def unknown_share(self) -> float:
        return _share(self.unseen_values + self.values_of_unseen_fields, self.values)

    @property
    def outside_share(self) -> float:
        return _share(self.outside, self.numbers)


class FieldTable(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a data set, ``left_out`` of which are not listed, and what is odd about them, a line each.

    ``fitted``: whether the tokenizer was fitted on these data, None in a table of before. If it was fitted on others,
    ``fitted_shares`` are those of all of their values together, None if they are not known.
    """

    fields: list[Field]
    left_out: int
    warnings: list[str]
    fitted: bool | None = None
    totals: UnknownTotals | None = None
    fitted_shares: FittedShares | None = None

    def save(self, folder: Path) -> None:
        """Write ``fields.json``."""
        (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "FieldTable | None":
        """The table of a data set or of a run; None where none was made: the folder is upstream's, or an older one.

        Raises :class:`ArtifactError` where the file is damaged.
        """
        path = folder / FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise ArtifactError(f"{path}: expected a table of fields: {error}; tokenize again") from None

    def first(self, most: int) -> list[Field]:
        """At most so many fields, those with the most values, in the order of their part and name."""
        return kept_fields(self.fields, most)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        return {
            "fields": [field.to_dict() for field in self.fields],
            "fields_left_out": self.left_out,
            "warnings": self.warnings,
            "unknown": self._unknown(),
        }

    def _unknown(self) -> dict[str, Any] | None:
        if self.totals is None:
            return None
        shares = {name: round(getattr(self.totals, name), 4) for name in ("unknown_share", "outside_share")}
        beside = {"fitted_on_these_data": self.fitted, "fitted": msgspec.to_builtins(self.fitted_shares)}
        return {**msgspec.to_builtins(self.totals), **shares, **beside}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def kept_fields(rows: Sequence[Field], most: int) -> list[Field]:
    """At most so many rows, those with the most values, in the order of their part and name."""
    kept = sorted(rows, key=lambda row: (-(row.values + row.missing), row.part, row.name))[:most]
    order: tuple[Part, ...] = ("events", "attributes", "milestones")
    return sorted(kept, key=lambda row: (order.index(row.part), row.name))


def percent(share: float) -> str:
    """A share in words that tell little from none, and nearly all from all."""
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"
