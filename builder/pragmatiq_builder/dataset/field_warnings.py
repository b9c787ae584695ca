"""What is odd about a data set's fields: near misses, and what was lost, a line each with the setting that mends it."""

import re
from collections.abc import Callable, Iterator, Sequence

from pragmatiq_builder.dataset.field_counts import FieldCounter, FieldCounters, most_frequent
from pragmatiq_builder.dataset.field_table import (
    MOST_FIELDS,
    FieldTable,
    FittedShares,
    UnknownTotals,
    kept_fields,
    percent,
)
from pragmatiq_builder.dataset.fit import NUMERIC_LEAST_VALUES, NUMERIC_SHARE
from pragmatiq_builder.dataset.fitted_shares import Fitted, is_notable
from pragmatiq_triton.listing import listed
from pragmatiq_triton.tokenizer.fields import SOURCE_KEY
from pragmatiq_triton.tokenizer.vocabulary import Vocabulary

NEAR_NUMERIC = 0.9
"""A field with at least this share of numbers, but too few to be numeric, is a near miss."""
UNKNOWN_BOUND = 0.1
"""A field with a larger share of values that are [UNK] is warned of where nothing says what the share was before."""
ENOUGH_VALUES = 100
"""For judging that every value is another one, or that all are of one width."""
IDENTIFIER_WIDTH = 4
"""Digits that all values of a field have, from which on they look like an identifier."""
ALL_DIFFERENT = 0.99
MOST_WARNINGS = 50
_IDENTIFIER = re.compile(
    r"(?:^|[^a-z])(?:id|ids|no|nr|num|number|account|acct|acc|iban|bban|pan|terminal|device|card|customer|client|msisdn"
    r"|phone|zip|zipcode|postcode|code|ref|reference)$"
)


def field_table(
    counters: FieldCounters,
    vocabulary: Vocabulary,
    *,
    fitted: bool,
    before: Fitted | None = None,
    reading: Sequence[str] = (),
) -> FieldTable:
    """The table of what was counted; ``fitted``: to these data, so that a field's kind can still be changed.

    ``before``: the shares in the data that the tokenizer was fitted on, if those are others and known; ``reading``:
    warnings of what was put up with on the way to the fields.
    """
    rows = [
        counter.row(kind_of(counter, vocabulary), before.of.get(field) if before else None)
        for field, counter in counters.counters.items()
    ]
    fields = kept_fields(rows, MOST_FIELDS)
    warnings = [*reading, *_warnings(counters, vocabulary, fitted, before)]
    if len(warnings) > MOST_WARNINGS:
        warnings = [*warnings[:MOST_WARNINGS], f"and {len(warnings) - MOST_WARNINGS} more warnings"]
    return FieldTable(
        fields=fields,
        left_out=len(rows) - len(fields),
        warnings=warnings,
        fitted=fitted,
        totals=_totals(counters, vocabulary),
        fitted_shares=before.all if before else None,
    )


def _totals(counters: FieldCounters, vocabulary: Vocabulary) -> UnknownTotals:
    read = [c for c in counters.counters.values() if kind_of(c, vocabulary) not in ("dropped", "missing")]
    known = [counter for counter in read if vocabulary.kind(counter.name)]
    strange = [counter for counter in read if not vocabulary.kind(counter.name)]
    source = counters.counters.get(("events", SOURCE_KEY))
    return UnknownTotals(
        values=sum(counter.values for counter in read),
        unseen_values=sum(counter.unknown for counter in known),
        unseen_sources=source.unknown if source else 0,
        unseen_fields=len(strange),
        values_of_unseen_fields=sum(counter.values for counter in strange),
        numbers=sum(counter.values for counter in known if vocabulary.kind(counter.name) == "numeric"),
        outside=sum(counter.outside for counter in known),
    )


def kind_of(counter: FieldCounter, vocabulary: Vocabulary) -> str:
    """How the field's values become tokens, or why they do not."""
    if vocabulary.rules and counter.name in vocabulary.rules.dropped:
        return "dropped"
    kind = vocabulary.kind(counter.name)
    return kind or ("unknown" if counter.values else "missing")


def _warnings(counters: FieldCounters, vocabulary: Vocabulary, fitted: bool, before: Fitted | None) -> Iterator[str]:
    read = [
        counter
        for _, counter in sorted(counters.counters.items())
        if kind_of(counter, vocabulary) not in ("dropped", "missing")
    ]
    yield from _limits(counters, vocabulary, read)
    if fitted:
        for counter in read:
            yield from _near_misses(counter, vocabulary)
        yield from _sizes(vocabulary, read)
    else:
        known = [counter for counter in read if vocabulary.kind(counter.name)]
        yield from unknown_fields(
            # What the shares were before says more than the one bound for all.
            [] if before else [(counter.name, counter.unknown, counter.values) for counter in known],
            [counter.name for counter in read if not vocabulary.kind(counter.name)],
        )
        if before:
            for counter in known:
                yield from _notably_more(counter, vocabulary, before.of.get((counter.part, counter.name)))
        else:
            yield (
                "how much was unknown in the data that the tokenizer was fitted on is not known, so nothing is "
                "compared: no fields.json of those data lies beside it; give --tokenizer-dir the folder `tokenizer` "
                "of the data set or of its run"
            )
        there = {counter.name for counter in read}
        if lacking := [name for name in vocabulary.state["field_kind"] if name not in there]:
            yield f"the tokenizer was fitted with fields that these data lack: {_names(sorted(lacking))}"
        if vocabulary.rules is None and (missing := sum(counter.missing for counter in read)):
            yield (
                f"{missing:,} values are missing (empty, nan, None, NULL ...), but this tokenizer is the upstream "
                "toolkit's or an older one and reads them as they are written: as tokens"
            )
    for _, counter in sorted(counters.counters.items()):
        if not counter.values and counter.missing and counter.name not in vocabulary.config.drop_fields:
            yield f"{_field(counter)}: all of its {counter.missing:,} values are missing, so it leaves no token"


def _notably_more(counter: FieldCounter, vocabulary: Vocabulary, listed_before: FittedShares | None) -> Iterator[str]:
    """Warnings of a field of which the tokenizer knows notably less than of the data that it was fitted on."""
    before = listed_before or FittedShares(0, 0)

    def was(share: float) -> str:
        fitted_on = "the data that it was fitted on"
        return f"{percent(share)} in {fitted_on}" if listed_before else f"the table of {fitted_on} does not list it"

    share = counter.unknown / max(counter.values, counter.unknown, 1)
    if is_notable(counter.unknown, share, before.unknown):
        examples = ", ".join(map(repr, most_frequent(counter.unseen or counter.odd)))
        yield (
            f"{_field(counter)}: {percent(share)} of its {counter.values:,} values are unknown to the tokenizer, such "
            f"as {examples} ({was(before.unknown)}); spell values as in training, or fit a new tokenizer"
        )
    edges, share = vocabulary.outer_edges(counter.name), counter.outside / max(counter.values, 1)
    if edges and is_notable(counter.outside, share, before.outside):
        yield (
            f"{_field(counter)}: {percent(share)} of its {counter.values:,} numbers lie outside the tokenizer's "
            f"buckets, below {edges[0]:g} or from {edges[1]:g} on ({was(before.outside)}); if the unit is still "
            "the same, fit a new tokenizer"
        )


def unknown_fields(known: Sequence[tuple[str, int, int]], strange: Sequence[str]) -> Iterator[str]:
    """Warnings of fields (name, unknown values, values) over ``UNKNOWN_BOUND``, and of those that fitting never saw."""
    if strange:
        yield (
            f"the tokenizer was fitted without these fields, so their values are [UNK]: {_names(sorted(set(strange)))}"
        )
    shares = [(unknown / max(values, unknown), name) for name, unknown, values in known if unknown]
    if over := sorted((each for each in shares if each[0] > UNKNOWN_BOUND), reverse=True):
        names = listed([f"{share:.1%} of {name!r}" for share, name in over])
        yield (
            f"more than {UNKNOWN_BOUND:.0%} of a field's values are [UNK] to the tokenizer: {names}; "
            "if these are data of the same kind, spell values as in training; if not, fit a tokenizer of their own"
        )


def _limits(counters: FieldCounters, vocabulary: Vocabulary, read: Sequence[FieldCounter]) -> Iterator[str]:
    config = vocabulary.config
    numbers = set(vocabulary.number_keys)
    for setting, most, n_cut, owners, of_events in (
        ("max_event_tokens", config.max_event_tokens, counters.cut_in_events, "events", True),
        ("max_profile_tokens", config.max_profile_tokens, counters.cut_profiles, "profiles", False),
    ):
        lost = {c.name: c.cut_tokens for c in read if c.cut_tokens and (c.part == "events") is of_events}
        if not lost:
            continue
        names = listed([f"{name!r} {lost[name]:,}" for name in sorted(lost, key=lambda name: (-lost[name], name))])
        cut_numbers = _names(sorted(numbers & lost.keys())) if of_events and numbers & lost.keys() else ""
        yield (
            f"{setting} = {most} cuts {n_cut:,} {owners}; tokens lost by field: {names}; "
            + (f"features lose the numbers of {cut_numbers} there too; " if cut_numbers else "")
            + f"raise {setting}, or leave fields out with drop_fields"
        )
    if counters.cut_events:
        yield (
            f"max_events_per_user = {config.max_events_per_user}: {counters.long_users:,} users have more events; the "
            f"oldest {counters.cut_events:,} are not seen by the network when it reads their whole histories"
        )


def _near_misses(counter: FieldCounter, vocabulary: Vocabulary) -> Iterator[str]:
    config, kind, name = vocabulary.config, vocabulary.kind(counter.name), _field(counter)
    share = counter.numbers / max(counter.values, 1)
    odd = ", ".join(map(repr, most_frequent(counter.odd)))
    forced = {*config.force_categorical, *config.force_numeric, *config.force_text}
    if counter.name in config.force_numeric and counter.unknown:
        yield f"{name}: {counter.unknown:,} of {counter.values:,} values are no numbers and become [UNK], such as {odd}"
    if counter.part == "milestones" or counter.name in forced or counter.values < NUMERIC_LEAST_VALUES:
        return
    if kind != "numeric" and NEAR_NUMERIC <= share < NUMERIC_SHARE and not _has_codes(counter):
        yield (
            f"{name}: {share:.1%} of its values are numbers, less than {NUMERIC_SHARE:.1%}, so it became {kind}; the "
            f"others are {odd}: clean them, add them to missing_values if they mean missing, or name the field in "
            "force_numeric, where they become [UNK]"
        )
    elif (
        kind != "numeric"
        and counter.separated
        and counter.numbers + counter.separated >= NUMERIC_SHARE * counter.values
    ):
        yield f"{name}: numbers with separators or units, such as {odd}, are words here; write plain numbers (1234.5)"
    if kind != "numeric" and counter.two_spellings:
        first, second = counter.two_spellings
        yield (
            f"{name}: '{first}' and '{second}' are one number, so one value; if they are names (versions), put a "
            "letter before them"
        )
    if reasons := _identifier_reasons(counter):
        looks = " and ".join(reasons)
        if kind == "numeric":
            yield (
                f"{name}: it became numeric, but {looks}; an identifier belongs into force_categorical (few values), "
                "force_text or drop_fields"
            )
        if counter.floats == counter.values:
            yield (
                f"{name}: {looks}, and all are written as floats, such as '{counter.example_float}', as pandas does "
                "beside a missing value; they are read without the '.0', but from 16 digits on a float has lost some: "
                "export the column as Int64 or as strings"
            )
    if counter.exponents:
        yield (
            f"{name}: {counter.exponents:,} long whole numbers are written with an exponent, such as "
            f"'{counter.example_exponent}', so digits may be lost; export the column as strings"
        )


def _has_codes(counter: FieldCounter) -> bool:
    """Whether some values are digits after a zero: such numbers are codes, and meant to be categories."""
    return any(value.isdecimal() and value.startswith("0") for value in counter.odd)


def _identifier_reasons(counter: FieldCounter) -> list[str]:
    """Why a field of whole numbers looks like an identifier."""
    if counter.decimals or counter.numbers < counter.values * NUMERIC_SHARE:
        return []
    reasons = []
    if _IDENTIFIER.search(_words(counter.name)):
        reasons.append("its name says that it is an identifier")
    if counter.values >= ENOUGH_VALUES:
        if counter.distinct >= ALL_DIFFERENT * counter.values:
            reasons.append("nearly every value is another whole number")
        if counter.shortest == counter.longest >= IDENTIFIER_WIDTH:
            reasons.append(f"all values have {counter.longest} digits")
    return reasons


def _sizes(vocabulary: Vocabulary, read: Sequence[FieldCounter]) -> Iterator[str]:
    config = vocabulary.config
    if over := sorted({counter.name for counter in read if counter.distinct > config.max_counter_distinct}):
        yield (
            f"max_counter_distinct = {config.max_counter_distinct:,}: more distinct values were met of {_names(over)}; "
            "those beyond it had no part in fitting; raise it, or drop_fields"
        )
    if vocabulary.size > config.target_vocab:
        ids: Callable[[str], int] = lambda name: len(vocabulary.state["cat_vocab"][name])  # noqa: E731
        names = listed([f"{name!r} {ids(name):,}" for name in sorted(vocabulary.state["cat_vocab"], key=ids)[::-1]])
        yield (
            f"target_vocab = {config.target_vocab:,}, but the vocabulary needs {vocabulary.size:,} ids; values with an "
            f"id of their own: {names}; lower categorical_threshold, or use force_text or drop_fields"
        )


def _words(name: str) -> str:
    """A field's name in lower case, its camel case parted."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _field(counter: FieldCounter) -> str:
    return f"field {counter.name!r}" if counter.part == "events" else f"{counter.part[:-1]} {counter.name!r}"


def _names(names: Sequence[str]) -> str:
    return listed([*map(repr, names)])
