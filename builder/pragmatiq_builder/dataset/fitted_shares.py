"""The shares of unknown values in the data that a tokenizer was fitted on, to hold those of new data against."""

from dataclasses import dataclass
from pathlib import Path

from pragmatiq_builder.dataset.columns import Part
from pragmatiq_builder.dataset.field_table import FieldTable, FittedShares

NOTABLE_FACTOR = 2
NOTABLE_SHARE = 0.01
NOTABLE_VALUES = 10


@dataclass(frozen=True, slots=True)
class Fitted:
    """``of`` a field, by its part and name, and of ``all`` values; a field that is not listed has none."""

    of: dict[tuple[Part, str], FittedShares]
    all: FittedShares


def fitted_shares(tokenizer_dir: Path) -> Fitted | None:
    """What lies beside ``tokenizer_dir`` in the data set or run that it belongs to; None if nothing there tells.

    New data that were tokenized by the same tokenizer carry the shares on. Raises
    :class:`~pragmatiq_triton.errors.ArtifactError` for a damaged table.
    """
    folder = tokenizer_dir.resolve()
    table = FieldTable.load(folder.parent) if folder.name == "tokenizer" else None
    if table is None or table.totals is None:
        return None
    if table.fitted:
        shares = {
            (field.part, field.name): FittedShares(field.unknown_share, field.outside_share) for field in table.fields
        }
        return Fitted(shares, FittedShares(table.totals.unknown_share, table.totals.outside_share))
    if table.fitted_shares is None:
        return None
    return Fitted(
        {(field.part, field.name): field.fitted for field in table.fields if field.fitted}, table.fitted_shares
    )


def is_notable(count: int, share: float, fitted: float) -> bool:
    """Whether a share is notably higher than it was: at least ten values, over twice the share and 1 % of all."""
    return count >= NOTABLE_VALUES and share > NOTABLE_FACTOR * fitted + NOTABLE_SHARE
