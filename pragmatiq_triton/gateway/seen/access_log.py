"""The access log: a JSON line for each call, written by a thread of its own so that no call waits for a disk."""

import errno
import logging
import os
import queue
import random
import stat
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.seen.settings import OFF, OUTPUT, AccessLog

logger = logging.getLogger(__name__)

_WAITING_LINES = 100_000
_LOOK_LINES = 1_000
_LOOK_SECONDS = 1.0
"""Whichever comes first: how large the file is, and whether it is still the one of that name."""
_encode = msgspec.json.Encoder().encode


def line_of(call: Call, model_hash: str) -> bytes:
    """What is told of a call: who, what, how large, how long, by which model; sizes in bytes, times in seconds."""
    told: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": call.request_id,
        "caller": call.caller,
        "address": call.address,
        "protocol": call.protocol,
        "route": call.route,
        "status": call.status,
        "code": call.code,
        "model": call.model,
        "model_hash": model_hash if call.model else "",
        "records": call.records,
        "received_bytes": call.received_bytes,
        "sent_bytes": call.sent_bytes,
        "seconds": round(call.seconds, 6),
        "queue_seconds": round(call.queue_seconds, 6),
        "model_seconds": round(call.model_seconds, 6),
    }
    if call.stages:
        longest: dict[str, float] = {}
        for each in call.stages:
            longest[each.stage] = max(longest.get(each.stage, 0.0), round(each.seconds, 6))
        told["stage_seconds"] = longest
    if call.trace_id:
        told["trace_id"] = call.trace_id
    return bytes(_encode(told)) + b"\n"


class AccessLogFile:
    """Takes calls that have ended and writes their lines; what cannot be written is counted and said.

    Args:
        settings: where to, and how many.
        model_hash: the manifest's, which says which model answered.
        output: the descriptor that "-" stands for.
    """

    def __init__(self, settings: AccessLog, model_hash: str, output: int | None) -> None:
        self._settings = settings
        self._model_hash = model_hash
        self._file = None if settings.file == OUTPUT else Path(settings.file)
        self._descriptor = _opened(settings, output)
        self._lines: queue.Queue[bytes | None] = queue.Queue(_WAITING_LINES)
        self._is_failing = False
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    def __call__(self, call: Call) -> None:
        """Tell of ``call``, unless it is a good one that is not sampled, or somebody's look at the health."""
        if not call.code and (_is_look(call) or random.random() >= self._settings.sample):
            return
        try:
            self._lines.put_nowait(line_of(call, self._model_hash))
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what waits, for 5 seconds at most."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=1)
        self._thread.join(5)

    def _write(self) -> None:
        since_look = 0
        looked = monotonic()
        while (line := self._lines.get()) is not None:
            try:
                since_look += 1
                if self._file is not None and (since_look >= _LOOK_LINES or monotonic() - looked >= _LOOK_SECONDS):
                    since_look, looked = 0, monotonic()
                    self._look(self._file)
                _write_all(self._descriptor, line)
            except OSError as error:
                self.lost += 1
                since_look = _LOOK_LINES
                if not self._is_failing:
                    logger.error("access log: lines are lost: %s", error)
                self._is_failing = True
            else:
                if self._is_failing:
                    logger.warning("access log: is written again; %d lines were lost so far", self.lost)
                self._is_failing = False

    def _look(self, file: Path) -> None:
        """Begin a new file where the old one was moved away or is large enough."""
        ours = os.fstat(self._descriptor)
        is_there = False
        with suppress(FileNotFoundError):
            is_there = os.path.samestat(file.stat(), ours)
        if is_there and ours.st_size < self._settings.max_bytes:
            return
        if is_there:
            file.replace(file.with_name(f"{file.name}.1"))
        new = _open(file)
        os.close(self._descriptor)
        self._descriptor = new


def _is_look(call: Call) -> bool:
    return "health" in call.route.lower() or call.route in ("ServerLive", "ServerReady", "ModelReady")


def require_writable(settings: AccessLog, output: int | None) -> None:
    """:class:`ConfigError` unless the log could be written; ``output`` as of :class:`AccessLogFile`."""
    if settings.file not in ("", OFF) and (descriptor := _opened(settings, output)) != output:
        os.close(descriptor)


def _opened(settings: AccessLog, output: int | None) -> int:
    if settings.file == OUTPUT:
        if output is None:
            raise ConfigError('gateway.access_log.file: "-" is for a container; name a file here')
        return output
    try:
        return _open(Path(settings.file))
    except OSError as error:
        raise ConfigError(
            f"gateway.access_log.file: {settings.file}: {error.strerror}; expected a file in a folder that may be "
            f'written to, or "{OFF}"'
        ) from None


def _open(file: Path) -> int:
    """The descriptor; :class:`OSError` also for a pipe, which would hold the writer up until somebody reads."""
    # Without waiting: a pipe that nobody reads is opened for ever.
    descriptor = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a file")
    os.set_blocking(descriptor, True)
    return descriptor


def _write_all(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]
