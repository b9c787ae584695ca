"""``ingest init``: the settings of tables that nobody described yet, each guess with a comment."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from pragmatiq_builder.ingest.asking import Ask
from pragmatiq_builder.ingest.database import connected
from pragmatiq_builder.ingest.facts import ColumnFacts, TableFacts, table_facts, with_orders
from pragmatiq_builder.ingest.guess import Guess
from pragmatiq_builder.ingest.matching import share_at_events
from pragmatiq_builder.ingest.roles import guess_roles
from pragmatiq_builder.ingest.settings import ALL, UNKNOWN, Limits
from pragmatiq_builder.ingest.tables import Opener
from pragmatiq_builder.ingest.values import is_text
from pragmatiq_builder.ingest.words import LABEL_TABLES, words_of
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.writing import write_file
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.listing import listed, one_line

if TYPE_CHECKING:
    import duckdb

_HEAD = """\
# Guesses of pragmatiq ingest init. Read each comment and change what is wrong; lines that say CHECK could not be told
# from the tables. Then: pragmatiq ingest {name} --out raw
"""
_WIDTH = 120


def draft_settings(
    tables: list[str],
    out: Path,
    *,
    zone: str | None = None,
    overwrite: bool = False,
    ask: Ask | None = None,
    progress: Progress = Silent(),
) -> list[Guess]:
    """Look at ``tables`` (files, folders of parts, patterns) and write the YAML file ``out`` with what they seem to be.

    Args:
        tables: relative to the folder where the command runs.
        out: the file; tables are named in it relative to its folder if they lie below that.
        zone: of times that say none.
        overwrite: whether a file that is there is replaced.
        ask: asked about each table, with the guess as the default.
        progress: hears of tables.

    Raises:
        ConfigError: a file that is there, a table that is not, or no table with events.
        DataError: a table that cannot be read.
    """
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise ConfigError(f"{out}: exists already; --overwrite replaces it, --out FILE keeps both")
    with _opener() as (connection, opener):
        facts = []
        progress.stage("Looking at tables", len(tables))
        for number, pattern in enumerate(tables):
            facts.append(table_facts(connection, opener, pattern, number))
            progress.advance(1, pattern)
        guesses = guess_roles(with_orders(connection, facts), partial(share_at_events, connection), ask)
    if not any(guess.kind == "events" for guess in guesses):
        found = "; ".join(
            f"{guess.facts.pattern} has {guess.facts.rows:,} rows, customer {guess.user or 'in no column'}, moment "
            f"{guess.time or 'in no column'}, columns {listed([column.name for column in guess.facts.columns], 6)}"
            for guess in guesses
        )
        raise ConfigError(
            "no table looks like events (a customer with several rows, each with a moment): "
            f"{one_line(found)}; name one that has them, answer with --ask, or write {out} yourself (csv: {{skip: N}} "
            "passes over lines above the header)"
        )
    write_file(out, _text(guesses, out, zone).encode("utf-8"))
    return guesses


@contextmanager
def _opener() -> Iterator[tuple["duckdb.DuckDBPyConnection", Opener]]:
    with TemporaryDirectory(prefix="pragmatiq-ingest-") as folder:
        work = Path(folder)
        (work / "utf8").mkdir()
        # Which rows a sample has depends on how many threads draw it.
        with connected(work, memory=None, threads=1) as connection:
            yield connection, Opener(connection, Path.cwd(), work / "utf8")


def _text(guesses: list[Guess], out: Path, zone: str | None) -> str:
    lines = [_HEAD.format(name=out.name), "events:"]
    base = out.absolute().parent
    for guess in guesses:
        if guess.kind == "events":
            lines += _entry(guess, base, _events(guess, zone), "  - ")
    for guess in [guess for guess in guesses if guess.kind == "profiles"][:1]:
        lines += ["", "profiles:", *_entry(guess, base, _profiles(guess, zone), "  ")]
    for guess in [guess for guess in guesses if guess.kind == "profiles"][1:]:
        # There is one table of profiles; a second may be joined.
        lines.append(f"# {guess.facts.pattern} looks like profiles too: add its columns to those above by join:")
    labels = [guess for guess in guesses if guess.kind == "labels"]
    if labels:
        lines += ["", "labels:"]
    for task, guess in _tasks(labels).items():
        lines += [f"  {_quoted(task)}:", *_entry(guess, base, _labels(guess, zone), "    ")]
    lines += [
        "",
        _commented(f"limits: {{{_limits()}}}", "shares over which nothing is written"),
    ]
    return "\n".join(lines) + "\n"


def _tasks(labels: list[Guess]) -> dict[str, Guess]:
    """By the name of the label's column, or of the file where that says no more than label."""
    found: dict[str, Guess] = {}
    for guess in labels:
        is_sure = sum(column.is_binary for column in guess.facts.columns) <= 1
        says_it = guess.label and is_sure and not words_of(guess.label) <= LABEL_TABLES | {"y", "flag", "value"}
        task = str(guess.label) if says_it else guess.name
        found[task if task not in found else f"{task}_{len(found)}"] = guess
    return found


def _entry(guess: Guess, base: Path, body: list[str], indent: str) -> list[str]:
    facts = guess.facts
    notes = ", ".join([f"{facts.rows:,} rows", f"{len(facts.columns)} columns", *facts.scan.notes])
    known = facts.scan.columns
    user = guess.user if guess.user in known else UNKNOWN
    why = guess.user_why if user != UNKNOWN else "CHECK: no column looks like the customer"
    table = Path(facts.pattern).absolute()
    shown = table.relative_to(base).as_posix() if table.is_relative_to(base) else table.as_posix()
    lines = [
        _commented(f"table: {_quoted(shown)}", notes),
        *([_commented(f"csv: {{skip: {facts.skip}}}", "lines above the names of the columns")] if facts.skip else []),
        _commented(f"user: {_user(facts, user)}", why),
        *body,
        *(f"# left out: {_quoted(name)}, {reason}" for name, reason in guess.left_out.items()),
    ]
    inner = " " * len(indent)
    return [f"{indent if at == 0 else inner}{line}" for at, line in enumerate(lines)]


def _user(facts: TableFacts, name: str) -> str:
    if name == UNKNOWN:
        return f'"{UNKNOWN}"'
    column = facts.column(name)
    if column.kind == "VARCHAR" and column.examples and all(value.strip().endswith(".0") for value in column.examples):
        return f"{{column: {_quoted(name)}, whole_number: true}}"
    return _quoted(name)


def _events(guess: Guess, zone: str | None) -> list[str]:
    source = f"source: {_quoted(guess.name)}"
    lines = [_commented(source, "from the name of the file")]
    if guess.source:
        kinds = guess.facts.column(guess.source)
        lines = [_commented(f"source: {{column: {_quoted(guess.source)}}}", f"such as {_shown(kinds)}")]
    lines += _time(guess, "time", guess.time, zone)
    if guess.event_id:
        lines.append(_commented(f"event_id: {_quoted(guess.event_id)}", "differs in every row"))
    return [*lines, *_values(guess, "fields")]


def _profiles(guess: Guess, zone: str | None) -> list[str]:
    lines = _time(guess, "as_of", guess.time, zone) if guess.time else []
    if not guess.time:
        lines.append("# as_of: of which moment the table is; without it that of the newest event")
    if guess.other_times or guess.milestones:
        lines.append("lifelong:")
        for name in guess.milestones:
            lines.append(f'  "{ALL}": {_quoted(name)}')
        for name in guess.other_times:
            lines += ["  " + line for line in _time(guess, _quoted(name), name, zone)]
    return [*lines, *_values(guess, "attributes")]


def _labels(guess: Guess, zone: str | None) -> list[str]:
    if guess.at_event:
        lines = _time(guess, "event_time", guess.time, zone, "the moments are those of events")
    else:
        lines = _time(guess, "at", guess.time, zone)
    if guess.event_id and guess.at_event:
        lines.append(f"event_id: {_quoted(guess.event_id)}")
    label = guess.label if guess.label in guess.facts.scan.columns else None
    if label is None:
        return [*lines, _commented(f'label: "{UNKNOWN}"', "CHECK: no column has two values")]
    column = guess.facts.column(label)
    others = [each.name for each in guess.facts.columns if each.is_binary and each.name != label]
    note = f"values {', '.join(column.values)}" + (f"; as well: {', '.join(others)}" if others else "")
    if column.is_binary:
        return [*lines, _commented(f"label: {_quoted(label)}", note)]
    setting = f"label: {{column: {_quoted(label)}, positive: [{json.dumps(UNKNOWN)}]}}"
    return [*lines, _commented(setting, f"CHECK: which mean 1, the others 0? {note}")]


def _time(guess: Guess, key: str, name: str | None, zone: str | None, why: str = "") -> list[str]:
    """The setting of a column of moments, with ``why`` or what its values tell as the comment."""
    if name is None or name not in guess.facts.scan.columns:
        return [_commented(f'{key}: "{UNKNOWN}"', "CHECK: no column looks like the moment")]
    column = guess.facts.column(name)
    settings, checks = {"column": _quoted(name)}, list[str]()
    if column.time_problem:
        checks.append("# CHECK: may be day and month (dmy) or month and day (mdy), and no value tells")
        note = f"such as {_shown(column)}"
        settings["format"] = "dmy"
    else:
        shown = 10 if column.has_days_only else 19
        note = f"{column.first[:shown]} to {column.last[:shown]}"
        note = f"as {column.time_from}; {note}" if column.time_from else note
        settings |= column.time.setting if column.time else {}
    is_local = column.time_problem or (column.time is not None and "as UTC" in column.time.found)
    if is_local and zone:
        settings["zone"] = zone
    elif is_local and not column.has_days_only:
        checks.append(f"# CHECK: {name} says no zone, and is read as UTC; or add zone: Europe/London")
    if list(settings) == ["column"]:
        return [*checks, _commented(f"{key}: {settings['column']}", why or note)]
    inner = ", ".join(f"{each}: {value if each != 'format' else _quoted(value)}" for each, value in settings.items())
    return [*checks, _commented(f"{key}: {{{inner}}}", why or note)]


def _values(guess: Guess, key: str) -> list[str]:
    if not guess.fields:
        return [f"{key}: {{}}"]
    lines = [f"{key}:"]
    for name in guess.fields:
        column = guess.facts.column(name)
        if column.is_nested:
            lines.append(_commented(f'  "{ALL}": {_quoted(name)}', "every entry"))
            continue
        value = _quoted(name)
        if column.number is not None and column.number.decimal is not None:
            marks = f"decimal: {json.dumps(column.number.decimal)}"
            marks += f", thousands: {json.dumps(column.number.thousands)}" if column.number.thousands else ""
            value = f"{{column: {value}, {marks}}}"
        lines.append(_commented(f"  {_quoted(name)}: {value}", _what(column, guess.facts.rows)))
    return lines


def _what(column: ColumnFacts, rows: int) -> str:
    missing = f", {1 - column.filled / rows:.0%} missing" if column.filled < rows else ""
    if column.number is not None:
        return f"numbers, {column.least:g} to {column.most:g}{missing}"
    kind = "text" if is_text(column.distinct, column.filled) else "category"
    return f"{kind}, {column.distinct:,} distinct{missing}: {_shown(column)}"


def _limits() -> str:
    return ", ".join(f"{name}: {value:g}" for name, value in msgspec.structs.asdict(Limits()).items())


def _shown(column: ColumnFacts) -> str:
    return ", ".join(value[:24] for value in column.examples)


def _quoted(name: str) -> str:
    """A name as YAML: bare if it cannot be taken for anything else."""
    plain = name.replace("_", "").isalnum() and name.isascii() and not name[:1].isdigit()
    words = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    if (plain or _is_plain_path(name)) and name.lower() not in words:
        return name
    return json.dumps(name, ensure_ascii=False)


def _is_plain_path(name: str) -> bool:
    return (
        bool(name) and name[0].isalpha() and all(each.isalnum() or each in "_./-" for each in name) and name.isascii()
    )


def _commented(line: str, comment: str) -> str:
    flat = one_line(comment)
    if not flat:
        return line
    room = max(_WIDTH - len(line) - 4, 20)
    return f"{line}  # {flat if len(flat) <= room or 'CHECK' in flat else flat[: room - 3] + '...'}"
