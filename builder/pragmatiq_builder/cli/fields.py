"""The table of fields and its warnings, as commands show them."""

from pragmatiq_builder.cli.aligned import print_aligned
from pragmatiq_builder.cli.console import stderr, stdout
from pragmatiq_builder.dataset.field_table import Field, FieldTable, UnknownTotals, percent

MOST_ROWS = 60
"""Fields that are printed, those with the most values; ``--json`` has more."""

NAME_CHARACTERS = 40
HEADER = ("field", "of", "kind", "values", "missing", "distinct", "numbers", "[UNK]", "cut")
UNKNOWN_HEADER = ("field", "of", "kind", "values", "[UNK]", "before", "outside", "before", "unseen values")
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
        if table.fitted is False and table.totals:
            _show_unknown(table, table.totals)
    for warning in table.warnings:
        stderr.print(f"warning: {warning}", style="yellow")


def _show_unknown(table: FieldTable, totals: UnknownTotals) -> None:
    """Print what of these data the tokenizer does not know, beside what it did not know of those it was fitted on."""
    before = table.fitted_shares

    def beside(share: float, fitted: float | None) -> str:
        return f"{percent(share)} (before: {'not known' if fitted is None else percent(fitted)})"

    stdout.print("Unknown to the tokenizer; before: in the data that it was fitted on")
    of_all = beside(totals.unknown_share, before.unknown if before else None)
    of_numbers = beside(totals.outside_share, before.outside if before else None)
    stdout.print(f"of {totals.values:,} values: {of_all}", soft_wrap=True)
    stdout.print(f"of {totals.numbers:,} numbers, outside the buckets: {of_numbers}", soft_wrap=True)
    stdout.print(f"events of unseen sources: {totals.unseen_sources:,}")
    stdout.print(f"fields of unseen names: {totals.unseen_fields:,}, with {totals.values_of_unseen_fields:,} values")
    fields = [field for field in table.fields if field.unknown or (field.outside and field.kind == "numeric")]
    fields.sort(key=lambda field: (-field.unknown_share, -field.outside_share, field.part, field.name))
    if fields:
        rows = [(*_unknown_cells(field), ", ".join(field.unseen)) for field in fields[:MOST_ROWS]]
        print_aligned([UNKNOWN_HEADER, *rows], WORDS)
    if left_out := len(fields[MOST_ROWS:]):
        stdout.print(f"{left_out:,} further fields, with smaller shares, are not shown")


def _unknown_cells(field: Field) -> tuple[str, ...]:
    is_numeric = field.kind == "numeric"
    return (
        _name(field),
        field.part,
        field.kind,
        f"{field.values:,}",
        percent(field.unknown_share),
        percent(field.fitted.unknown) if field.fitted else "-",
        percent(field.outside_share) if is_numeric else "-",
        percent(field.fitted.outside) if field.fitted and is_numeric else "-",
    )


def _name(field: Field) -> str:
    name = field.name if len(field.name) <= NAME_CHARACTERS else field.name[:NAME_CHARACTERS] + "..."
    return repr(name)[1:-1]


def _cells(field: Field) -> tuple[str, ...]:
    return (
        _name(field),
        field.part,
        field.kind,
        f"{field.values:,}",
        percent(field.missing_share),
        f"{field.distinct:,}{'+' if field.distinct_at_least else ''}",
        percent(field.number_share),
        percent(field.unknown_share),
        f"{field.cut_tokens:,}",
    )
