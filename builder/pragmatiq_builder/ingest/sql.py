"""Pieces of SQL: names and texts in their quotes."""

from pathlib import Path


def ident(name: str) -> str:
    """``name`` as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """``value`` as a string literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet(file: Path) -> str:
    """The table in the parquet file ``file``."""
    return f"read_parquet({text(str(file))})"


def texts(values: list[str]) -> str:
    """``values`` as a list literal."""
    return "[" + ", ".join(map(text, values)) + "]"
