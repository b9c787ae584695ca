"""Tables as plain columns, which stay readable in files and pipes."""

from collections.abc import Sequence

from pragmatiq_builder.cli.console import stdout
from pragmatiq_triton.listing import one_line

FILE_WIDTH = 160
"""Characters of a line where there is no terminal."""


def print_aligned(rows: Sequence[Sequence[str]], words: int) -> None:
    """Print ``rows``, the first of which is the header; ``words`` columns stand on the left, the others on the right.

    Each column is as wide as its widest cell; the last one takes what is left of the line.
    """
    rows = [[one_line(cell) for cell in row] for row in rows]
    full = stdout.width if stdout.is_terminal else FILE_WIDTH
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, last in rows:
        left = [cell.ljust(width) for cell, width in zip(cells[:words], widths[:words], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(cells[words:], widths[words:], strict=True)]
        line = "  ".join([*left, *right])
        stdout.print(f"{line}  {last[: max(full - len(line) - 2, 0)]}".rstrip(), soft_wrap=True)
