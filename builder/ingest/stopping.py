"""A call into a database's library that a signal can stop."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


def stoppable(call: Callable[[], Answer], cancel: Callable[[], None]) -> Answer:
    """What ``call`` returns; a signal that raises within it calls ``cancel``, waits for its end, and is raised on.

    The call runs in a thread of its own, for Python handles signals in the main thread alone, and not before a call
    into a library returns. DuckDB looks for signals itself where the main thread executes; it then hides what a
    handler raised, and some of its queries never return.
    """
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(call)
        try:
            return answer.result()
        finally:
            if not answer.done():
                cancel()
