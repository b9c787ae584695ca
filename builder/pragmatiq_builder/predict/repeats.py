"""Customers who have several rows in an output, counted in bounded memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

MEMORY = "256MB"
"""What counting takes at most; what does not fit is sorted on the disk, beside the output."""


def repeats_of(out: Path, memory: str = MEMORY) -> int:
    """Rows of the parquet file ``out`` whose ``user_id`` an earlier row has; rows without one are not counted."""
    import duckdb

    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as work:
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "temp_directory": work,
            "threads": 1,
            "preserve_insertion_order": False,
        }
        with duckdb.connect(config=options) as connection:
            row = connection.execute(
                "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM read_parquet(?) WHERE user_id <> '' "
                "GROUP BY user_id)",
                [str(out)],
            ).fetchone()
    assert row
    return int(row[0])
