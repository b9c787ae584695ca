"""TERM, INT and HUP as what they ask for: to stop, and the second time to stop at once."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_SAME_WISH_SECONDS = 0.3


class StopSignals:
    """While it is entered, the signals set ``asked`` (and ``number``) and, once more, ``at_once``. Nothing is raised.

    They count wherever the process was started: a shell's background jobs inherit SIGINT as ignored, others a mask
    that blocks signals. Only SIGHUP stays ignored where it was: that is what ``nohup`` asks for. Signals within 0.3
    seconds are one wish: a terminal that closes sends HUP twice. Main thread only.
    """

    def __init__(self) -> None:
        # Plain attributes: a handler may come in the midst of whatever lock the main thread holds.
        self.asked = False
        self.at_once = False
        self.number = 0
        self._first = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None: it was not Python that had set it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def is_asked(self) -> bool:
        """Whether to stop."""
        return self.asked

    def is_at_once(self) -> bool:
        """Whether to stop without waiting for anything."""
        return self.at_once

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self._first, self.number = now, number
        elif now - self._first > _SAME_WISH_SECONDS:
            self.at_once = True
        self.asked = True
