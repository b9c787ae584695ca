"""Which column is what: by its name, by what it holds, and by which other tables hold the same."""

import re
from collections.abc import Callable, Iterable

from pragmatiq_builder.ingest.asking import Ask, ask_kind_and_user, ask_time_and_label
from pragmatiq_builder.ingest.facts import ColumnFacts, TableFacts
from pragmatiq_builder.ingest.guess import Guess, Kind, name_of
from pragmatiq_builder.ingest.matching import Columns
from pragmatiq_builder.ingest.words import (
    AS_OF,
    CUSTOMER,
    CUSTOMER_TABLES,
    CUSTOMER_TOO,
    DECISION,
    EVENT_TIME,
    KEY,
    LABEL,
    LABEL_TABLES,
    OF_PEOPLE,
    PERSONAL,
    TIME,
    words_of,
)
from pragmatiq_triton.listing import listed

_PATTERNS = {
    "e-mail addresses": re.compile(r"[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}"),
    "IBANs": re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7} ?[A-Z0-9]{0,4}"),
    "phone numbers": re.compile(r"\+\d[\d ()/-]{7,}"),
}
_ROWS_PER_CUSTOMER = 1.05
"""Above so many a customer has several rows, as in events."""
_MOST_SNAPSHOTS = 3
"""Rows per customer below which a table of that name holds snapshots of customers."""
_MOST_CLASSES = 8
_WEAK = frozenset({"flag", "is", "response", "y"})
"""Words of a label that columns of events have too, where the values are not those of a label."""
_FEW = 20
"""Values and rows that say little, because they may agree by chance."""
_SAME = 0.5
"""Of the smaller column's values that another must have for both to name the same things."""


def guess_roles(
    tables: list[TableFacts], share_at_events: Callable[[Columns, Columns], float], ask: Ask | None = None
) -> list[Guess]:
    """A guess for each table; tables are looked at together, because a customer is what several of them share.

    Args:
        tables: what is known of them.
        share_at_events: of labels and events, as :func:`pragmatiq_builder.ingest.matching.share_at_events` counts it.
        ask: asked about each table, with the guess as the default; what depends on an answer is guessed after it.
    """
    guesses = [Guess(facts) for facts in tables]
    for guess in guesses:
        _guess_user(guess, tables)
        _guess_kind(guess)
    for guess in guesses:
        if ask is not None:
            ask_kind_and_user(guess, ask)
        _guess_time(guess)
        if ask is not None:
            ask_time_and_label(guess, ask)
        guess.other_times = [each.name for each in _moments(guess.facts, guess.user) if each.name != guess.time]
        _guess_rest(guess)
    for guess in guesses:
        guess.at_event = guess.kind == "labels" and _is_of_events(guess, guesses, share_at_events)
    return guesses


def _guess_user(guess: Guess, tables: list[TableFacts]) -> None:
    scored = []
    for column in guess.facts.columns:
        if column.is_nested or (column.time and column.kind != "VARCHAR" and not _is_key(column)) or not column.filled:
            continue
        words = words_of(column.name)
        by_name = 6 if words & CUSTOMER else 3 if words & CUSTOMER_TOO else 0
        by_name += 2 if words & KEY else 0
        shared = [
            (facts.pattern, other.name)
            for facts in tables
            if facts is not guess.facts
            for other in facts.columns
            if (min(column.distinct, other.distinct) > _FEW or by_name) and column.overlap(other) >= _SAME
        ]
        if not by_name and not shared:
            continue
        score = by_name + min(len({pattern for pattern, _ in shared}), 3) * 3
        score -= 6 if column.kind in ("FLOAT", "DOUBLE", "BOOLEAN") and "id" not in words else 0
        score -= 6 if column.distinct <= 2 and guess.facts.rows > _FEW else 0
        score -= 4 if column.filled < 0.5 * guess.facts.rows else 0
        score -= 3 if column.time and not words & CUSTOMER else 0
        scored.append((score, -guess.facts.columns.index(column), column, shared))
    if not scored:
        return
    best, _, column, shared = max(scored, key=lambda each: each[:2])
    if best <= 0:
        return
    guess.user = column.name
    also = sorted({name_of(pattern) for pattern, _ in shared})
    guess.user_why = f"about {column.distinct:,} distinct" + (f", also in {listed(also, 3)}" if also else "")


def _is_key(column: ColumnFacts) -> bool:
    return bool(words_of(column.name) & (CUSTOMER | CUSTOMER_TOO))


def _guess_kind(guess: Guess) -> None:
    facts = guess.facts
    binary = [column for column in facts.columns if column.is_binary and column.name != guess.user]
    binary = binary or [column for column in facts.columns if column.name != guess.user and _is_of_classes(column)]
    others = [column for column in facts.columns if column.name != guess.user and column not in binary]
    has_times = bool(_moments(facts, guess.user))
    named = words_of(facts.pattern)
    most_others = 2 if binary and binary[0].is_binary else int(bool(named & LABEL_TABLES))
    is_labels = binary and len(facts.columns) <= 7 and (
        named & LABEL_TABLES
        or any(words_of(column.name) & LABEL for column in binary)
    ) and sum(not _is_moment(column) for column in others) <= most_others  # fmt: skip
    if is_labels and not any(column.is_nested for column in facts.columns):
        guess.kind = "labels"
        guess.label = min(binary, key=lambda column: -_like_a_label(column)).name
        return
    per_customer = facts.rows / max(facts.column(guess.user).distinct, 1) if guess.user else 1.0
    is_named_so = bool(named & CUSTOMER_TABLES) and per_customer < _MOST_SNAPSHOTS
    is_of_customers = guess.user is not None and per_customer <= _ROWS_PER_CUSTOMER
    if is_named_so or is_of_customers or not has_times:
        guess.kind = "profiles"


def _is_of_classes(column: ColumnFacts) -> bool:
    """Whether it is named as a label is and has a few values, though not those of a label."""
    return (
        2 <= len(column.values) <= _MOST_CLASSES
        and bool(words_of(column.name) & LABEL - _WEAK)
        and not _is_moment(column)
    )


def _guess_time(guess: Guess) -> None:
    preferred = {"events": EVENT_TIME, "profiles": AS_OF, "labels": DECISION | EVENT_TIME}[guess.kind]
    times = _moments(guess.facts, guess.user)
    ranked = sorted(
        times,
        key=lambda column: (
            bool(words_of(column.name) & preferred),
            # Of several the one with a time of day, and that is there in most rows.
            not column.has_days_only,
            column.filled,
            -guess.facts.columns.index(column),
        ),
        reverse=True,
    )
    if guess.kind == "profiles":
        as_of = [column for column in ranked if words_of(column.name) & AS_OF or column.distinct == 1]
        guess.time = as_of[0].name if as_of else None
    elif ranked:
        guess.time = ranked[0].name


def _guess_rest(guess: Guess) -> None:
    rows = guess.facts.rows
    taken = {guess.user, guess.time, guess.label, *guess.other_times}
    for column in guess.facts.columns:
        words = words_of(column.name)
        if column.name in taken:
            continue
        if reason := _personal(column, guess.kind):
            guess.left_out[column.name] = reason
        elif guess.kind == "profiles" and column.is_milestones:
            guess.milestones.append(column.name)
        elif column.is_nested:
            guess.fields.append(column.name)
        elif column.filled == 0:
            guess.left_out[column.name] = "empty"
        elif guess.kind == "labels":
            guess.left_out[column.name] = "neither the customer, the moment nor the label"
            if words & KEY and column.distinct > 0.9 * rows:
                guess.event_id = column.name
        elif guess.kind == "events" and column.name.lower() == "source" and column.distinct <= 50:
            guess.source = column.name
        elif guess.kind == "events" and _names_rows(column, rows) and guess.event_id is None:
            guess.event_id = column.name
        elif column.distinct == 1 and rows > 1 and column.filled == rows:
            guess.left_out[column.name] = f"always {column.examples[0]!r}"
        elif _names_rows(column, rows):
            guess.left_out[column.name] = "differs in every row: a key"
        else:
            guess.fields.append(column.name)
    if guess.kind != "labels":
        guess.event_id = guess.event_id if guess.kind == "events" else None
    else:
        guess.left_out.pop(guess.event_id or "", None)
    if guess.kind == "events":
        for name in guess.other_times:
            guess.left_out[name] = "a further moment; as a field it would be a text"


def _names_rows(column: ColumnFacts, rows: int) -> bool:
    """Whether its values tell rows apart, as the number of a payment does."""
    return bool(
        words_of(column.name) & KEY
        and column.filled > 0.9 * rows
        and column.distinct >= 0.95 * rows
        and rows > _FEW
        and (column.number is None or column.kind != "DOUBLE")
    )


def _is_of_events(
    labels: Guess, guesses: Iterable[Guess], share_at_events: Callable[[Columns, Columns], float]
) -> bool:
    """Whether the ids of labels are those of events, or their moments are; days alone say nothing."""
    if labels.time is None or labels.user is None:
        return False
    events = [guess for guess in guesses if guess.kind == "events"]
    ids = labels.facts.column(labels.event_id) if labels.event_id else None
    if ids and any(ids.overlap(each.facts.column(each.event_id)) >= _SAME for each in events if each.event_id):
        return True
    return not labels.facts.column(labels.time).has_days_only and any(
        share_at_events((labels.facts, labels.user, labels.time), (each.facts, each.user, each.time)) >= _SAME
        for each in events
        if each.user and each.time
    )


def _moments(facts: TableFacts, user: str | None) -> list[ColumnFacts]:
    columns = [column for column in facts.columns if column.name != user and not column.is_binary]
    # Numbers that nothing but their size makes moments are some only where nothing else is.
    return [column for column in columns if _is_moment(column)] or [
        column
        for column in columns
        if column.time and column.first >= "1990" and column.last < "2040" and not words_of(column.name) & KEY
    ]


def _is_moment(column: ColumnFacts) -> bool:
    """Numbers are moments only if their name says so: an amount may look like one."""
    if column.time is None and not column.time_problem:
        return False
    if column.kind.startswith(("TIMESTAMP", "DATE")):
        return True
    is_numeric = column.number is not None
    return not is_numeric or bool(words_of(column.name) & (TIME | EVENT_TIME | AS_OF)) or column.name.endswith("_at")


def _personal(column: ColumnFacts, kind: Kind) -> str | None:
    words = words_of(column.name)
    if words & PERSONAL:
        return "looks like personal data, by its name"
    if "name" in words and (words - {"name"} <= OF_PEOPLE) and (kind == "profiles" or words != {"name"}):
        return "looks like the names of people"
    for what, pattern in _PATTERNS.items():
        if column.examples and all(pattern.fullmatch(value.strip()) for value in column.examples):
            return f"looks like {what}"
    digits = [re.sub(r"[ -]", "", value) for value in column.examples]
    if digits and all(len(value) in range(13, 20) and value.isdigit() and _luhn(value) for value in digits):
        return "looks like the numbers of cards"
    return None


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _like_a_label(column: ColumnFacts) -> int:
    words = words_of(column.name)
    return 3 * bool(words & {"label", "target"}) + len(words & LABEL)
