"""Pieces of SQL: names and texts in their quotes."""


def ident(name: str) -> str:
    """``name`` as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """``value`` as a string literal."""
    return "'" + value.replace("'", "''") + "'"


def texts(values: list[str]) -> str:
    """``values`` as a list literal."""
    return "[" + ", ".join(map(text, values)) + "]"
