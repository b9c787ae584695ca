"""Questions about a table, with the guess as the default."""

from collections.abc import Callable
from typing import cast, get_args

from pragmatiq_builder.ingest.guess import Guess, Kind
from pragmatiq_builder.ingest.settings import UNKNOWN

Ask = Callable[[str, str, list[str]], str]
"""Asks a question with a default and what may be answered; returns the answer."""


def ask_kind_and_user(guess: Guess, ask: Ask) -> None:
    """What its rows are, and whose."""
    guess.kind = cast(Kind, ask(f"{guess.facts.pattern}: what is a row?", guess.kind, list(get_args(Kind))))
    guess.user = _column(guess, ask, "customer", guess.user)


def ask_time_and_label(guess: Guess, ask: Ask) -> None:
    """Which column is the moment, and of labels, which is the label."""
    if guess.kind != "profiles" or guess.time:
        guess.time = _column(guess, ask, "moment", guess.time)
    guess.label = _column(guess, ask, "label", guess.label) if guess.kind == "labels" else None


def _column(guess: Guess, ask: Ask, what: str, guessed: str | None) -> str | None:
    names = [column.name for column in guess.facts.columns]
    answer = ask(f"{guess.facts.pattern}: which column is the {what}?", guessed or UNKNOWN, names)
    return None if answer == UNKNOWN else answer
