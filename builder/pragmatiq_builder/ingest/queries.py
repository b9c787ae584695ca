"""Queries that a signal can stop, that tell how far they are, and whose errors are one line."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pragmatiq_builder.progress import Progress
from pragmatiq_triton.errors import DataError

if TYPE_CHECKING:
    import duckdb

Answer = TypeVar("Answer")
_SECONDS_PER_TICK = 0.5
PERCENT = 100
"""Steps of a query of which nobody knows the rows before."""


class Steps(NamedTuple):
    """Who hears how far a query is, in how many steps."""

    progress: Progress
    total: int


def run(
    connection: "duckdb.DuckDBPyConnection", sql: str, where: str, steps: Steps | None = None
) -> "duckdb.DuckDBPyConnection":
    """Execute; what DuckDB says of data and of SQL that a user wrote is one line, :class:`DataError`.

    A full disk is the OSError that it would be elsewhere.
    """
    import duckdb

    told = 0

    def tell(done: int) -> None:
        nonlocal told
        if steps is not None and done > told:
            steps.progress.advance(done - told)
            told = done

    def tick() -> None:
        # Negative while DuckDB does not know.
        tell(int(max(connection.query_progress(), 0.0) / 100 * steps.total) if steps else 0)

    try:
        answer = stoppable(lambda: connection.execute(sql), connection.interrupt, tick)
    except duckdb.OutOfMemoryException as error:
        raise DataError(f"{where}: more memory is needed than --memory allows: {first_line(error)}") from None
    except duckdb.Error as error:
        if "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise DataError(f"{where}: {first_line(error)}") from None
    tell(steps.total if steps else 0)
    return answer


def stoppable(
    call: Callable[[], Answer], cancel: Callable[[], None], tick: Callable[[], None] = lambda: None
) -> Answer:
    """What ``call`` returns; a signal that raises within it calls ``cancel``, waits for its end, and is raised on.

    The call runs in a thread of its own, for Python handles signals in the main thread alone, and not before a call
    into a library returns. DuckDB looks for signals itself where the main thread executes; it then hides what a
    handler raised, and some of its queries never return. ``tick`` is called every half a second until the end.
    """
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(call)
        try:
            while True:
                try:
                    return answer.result(_SECONDS_PER_TICK)
                except TimeoutError:
                    if answer.done():
                        return answer.result()
                    tick()
        finally:
            if not answer.done():
                cancel()


def first_line(error: BaseException) -> str:
    """What a library says, in short."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__
