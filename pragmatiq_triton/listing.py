"""Lists in messages: bounded, with the number of what is not named."""

from collections.abc import Sequence


def listed(items: Sequence[str], most: int = 8) -> str:
    """The first items, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def one_line(text: str) -> str:
    """``text`` without what would break a line, a comment or a terminal: runs of spaces and controls become a space."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
