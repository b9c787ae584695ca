"""Ending long work at a moment of its choosing when a signal asks for it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Within the block SIGINT, SIGTERM and SIGHUP only ask: work looks at ``asked`` between two steps and then ends.

    However often they come, nothing is cut in two. A hangup that is ignored, as under nohup, stays ignored. Outside the
    main thread, which alone gets signals, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._earlier[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def obey(self) -> None:
        """After the block: end as the signal would have ended the work."""
        if self.asked in (signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(self.asked)
        raise KeyboardInterrupt

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number)
