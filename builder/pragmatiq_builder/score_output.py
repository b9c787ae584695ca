"""Where the results of scoring go, so that a run that ends early can be taken up again."""

import base64
import errno
import fcntl
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pragmatiq_builder.score import LineAnswer
from pragmatiq_triton.errors import ConfigError, PragmatiqError


class ResultFiles:
    """An output with one JSON line per record, in order, and beside it the records that have no answer.

    A record without an answer is written to ``rejected`` first: the output's last whole line says how far both are.

    Args:
        out: the output; refused where it exists, unless ``resume``.
        rejected: where records without an answer are kept, each with its line, what was wrong, and itself.
        resume: go on after the output's last whole line; what a kill left of a line is taken away.

    Raises:
        ConfigError: an output that is there already, is being written, or is none of score's.
    """

    def __init__(self, out: Path, rejected: Path, resume: bool) -> None:
        if out.absolute() == rejected.absolute():
            raise ConfigError("--rejected: expected another file than --out")
        for path in (out, rejected):
            if path.exists() and not path.is_file():
                raise ConfigError(f"{path}: expected a file that can be cut and added to")
            if not resume and (path.is_symlink() or (path.exists() and path.stat().st_size)):
                raise ConfigError(f"{path}: exists already; --resume goes on with it, or name another file")
        self.out = out
        self.rejected = rejected
        self.done = 0
        """The last line that is done."""
        self.last_user: str | None = None
        self.repaired = False
        self.counts: Counter[str] = Counter()
        """Answered, refused and failed records in the output."""
        self._out = _open(out)
        try:
            self._rejected = _open(rejected)
            self._find_end()
        except BaseException:
            os.close(self._out)
            raise

    def write(self, answers: Sequence[LineAnswer]) -> None:
        """Add results, in the order of their lines."""
        lost = [answer for answer in answers if answer.answer is None]
        self._append(self._rejected, self.rejected, [_rejected_entry(answer) for answer in lost])
        self._append(self._out, self.out, [answer.as_dict() for answer in answers])
        self.counts.update(answer.kind for answer in answers)
        if answers:
            self.done = answers[-1].line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file, path in ((self._out, self.out), (self._rejected, self.rejected)):
            if os.fstat(file).st_size == 0:
                path.unlink(missing_ok=True)
            os.close(file)

    def _append(self, file: int, path: Path, entries: list[dict[str, Any]]) -> None:
        data = memoryview("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode("utf-8"))
        try:
            while data:
                data = data[os.write(file, data) :]
        except OSError as error:
            room = "make room and " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            problem = (
                f"{path}: {error.strerror}; up to line {self.done:,} all is kept: {room}run it again with --resume"
            )
            raise PragmatiqError(problem) from None

    def _find_end(self) -> None:
        """Cut both files after the last line that is done in both."""
        end = 0
        last: dict[str, Any] | None = None
        with self.out.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    end += len(line)
                    last_line = line
                    self.counts[_kind(line)] += 1
                else:
                    self.repaired = True
        if end:
            last = _entry(last_line)
            if last is None:
                raise ConfigError(
                    f"{self.out}: its last line is none that score writes: --resume needs an output of score"
                )
            self.done, self.last_user = last["line"], str(last.get("user_id"))
        keep = 0
        with self.rejected.open("rb") as lines:
            for line in lines:
                entry = _entry(line) if line.endswith(b"\n") else None
                if entry is None or entry["line"] > self.done:
                    self.repaired = True
                    break
                keep += len(line)
        os.ftruncate(self._out, end)
        os.ftruncate(self._rejected, keep)


def _open(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise ConfigError(f"{path}: another score is writing it") from None
    return file


def _kind(line: bytes) -> str:
    # Quotes within a string are escaped, so no value can look like this.
    return next(
        (kind for kind in ("refused", "failed") if f', "kind": "{kind}", "error": '.encode() in line), "answered"
    )


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("line"), int) else None


def _rejected_entry(answer: LineAnswer) -> dict[str, Any]:
    entry = answer.as_dict()
    if answer.raw is None:
        return {**entry, "record": None}
    try:
        return {**entry, "record": answer.raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {**entry, "record": None, "record_base64": base64.b64encode(answer.raw).decode("ascii")}
