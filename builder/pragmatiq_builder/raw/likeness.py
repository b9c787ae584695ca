"""Ids that would be known if they were written alike: with leading zeros, a ``.0``, spaces or capitals."""

from collections.abc import Callable, Collection, Iterable, Mapping

_WAYS: Mapping[str, Callable[[str], str]] = {
    "leading zeros": lambda name: name.lstrip("0") or "0",
    'a ".0" at the end': lambda name: name.removesuffix(".0"),
    "spaces around them": str.strip,
    "capital letters": str.casefold,
}


def likeness(unknown: Collection[str], known: Iterable[str]) -> str:
    """In what alone ``unknown`` ids differ from ``known`` ones, as ``; ...`` behind a sentence; "" if in nothing.

    Example:
        >>> likeness(["7", "8", "x"], ["0007", "0008"])
        "; 2 of 3 differ from known ones in leading zeros alone, such as '7' and '0007': write both alike"
    """
    if not unknown:
        return ""
    known = sorted(known, reverse=True)
    best, told = 0, ""
    for what, way in {**_WAYS, 'leading zeros, ".0", spaces or capital letters': plainest}.items():
        written = {way(name): name for name in known}
        found = [(name, written[way(name)]) for name in unknown if way(name) in written]
        if len(found) > best:
            best = len(found)
            ours, theirs = min(found)
            told = (
                f"; {best:,} of {len(unknown):,} differ from known ones in {what} alone, such as {ours!r} and "
                f"{theirs!r}: write both alike"
            )
    return told


def plainest(name: str) -> str:
    """The id without all in which two spellings of it may differ."""
    for way in ("spaces around them", "capital letters", 'a ".0" at the end', "leading zeros"):
        name = _WAYS[way](name)
    return name
