"""Worker processes that do not run the caller's script again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

_MAIN = "__main__"


class WorkerContext(SpawnContext):
    """Fresh processes, as ``spawn`` makes them, but without the caller's ``__main__``.

    A script without ``if __name__ == "__main__":`` would otherwise start its work anew in each of them. So they can
    run nothing that the script itself defines.
    """

    class Process(SpawnProcess):
        """One of them."""

        @staticmethod
        def _Popen(process_obj: BaseProcess) -> Any:
            with _without_main():
                return SpawnProcess._Popen(process_obj)


@contextmanager
def _without_main() -> Iterator[None]:
    main = sys.modules[_MAIN]
    sys.modules[_MAIN] = ModuleType(_MAIN)
    try:
        yield
    finally:
        sys.modules[_MAIN] = main
