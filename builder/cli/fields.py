"""The table of fields and its warnings, as commands show them."""

from builder.cli.aligned import print_aligned
from builder.cli.console import stderr, stdout
from builder.dataset.field_table import Field, FieldTable, percent

MOST_ROWS = 60
"""Fields that are printed, those with the most values; ``--json`` has more."""

NAME_CHARACTERS = 40
HEADER = ("field", "of", "kind", "values", "missing", "distinct", "numbers", "[UNK]", "cut")
WORDS = 3
"""Columns that stand on the left."""


def show_fields(table: FieldTable, as_json: bool) -> None:
    """Print the table for people, and in any case its warnings on standard error."""
    if not as_json:
        shown = table.first(MOST_ROWS)
        stdout.print("Fields")
        rows = [(*HEADER, "examples"), *((*_cells(field), ", ".join(field.examples)) for field in shown)]
        print_aligned(rows, WORDS)
        if left_out := len(table.fields) - len(shown) + table.left_out:
            stdout.print(f"{left_out:,} further fields, with fewer values, are not shown")
    for warning in table.warnings:
        stderr.print(f"warning: {warning}", style="yellow")


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
