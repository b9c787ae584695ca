"""The table of fields and its warnings, as commands show them."""

from collections.abc import Sequence

from builder.cli.console import stderr, stdout
from builder.dataset.field_table import Field, FieldTable, percent

MOST_ROWS = 60
"""Fields that are printed, those with the most values; ``--json`` has more."""

FILE_WIDTH = 160
NAME_CHARACTERS = 40
HEADER = ("field", "of", "kind", "values", "missing", "distinct", "numbers", "[UNK]", "cut")
WORDS = 3
"""Columns that stand on the left."""


def show_fields(table: FieldTable, as_json: bool) -> None:
    """Print the table for people, and in any case its warnings on standard error."""
    if not as_json:
        shown = table.first(MOST_ROWS)
        width = stdout.width if stdout.is_terminal else FILE_WIDTH
        for line in ("Fields", *_lines(shown, width)):
            stdout.print(line, soft_wrap=True)
        if left_out := len(table.fields) - len(shown) + table.left_out:
            stdout.print(f"{left_out:,} further fields, with fewer values, are not shown")
    for warning in table.warnings:
        stderr.print(f"warning: {warning}", style="yellow")


def _lines(fields: Sequence[Field], width: int) -> list[str]:
    """The table in plain columns, each as wide as its widest cell; examples take what is left of ``width``."""
    rows = [(*HEADER, "examples"), *((*_cells(field), ", ".join(field.examples)) for field in fields)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for *cells, examples in rows:
        words = [cell.ljust(width) for cell, width in zip(cells[:WORDS], widths[:WORDS], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[WORDS:], widths[WORDS:], strict=True)]
        line = "  ".join([*words, *numbers])
        lines.append(f"{line}  {examples[: max(width - len(line) - 2, 0)]}".rstrip())
    return lines


def _cells(field: Field) -> tuple[str, ...]:
    name = field.name if len(field.name) <= NAME_CHARACTERS else field.name[:NAME_CHARACTERS] + "..."
    return (
        repr(name)[1:-1],
        field.part,
        field.kind,
        f"{field.values:,}",
        percent(field.missing_share),
        f"{field.distinct:,}{'+' if field.distinct_at_least else ''}",
        percent(field.number_share),
        percent(field.unknown_share),
        f"{field.cut_tokens:,}",
    )
