"""What can go wrong with a call, the same classes over both protocols.

::

    Exception
    └── ScoringError               text, likely_cause, url, request_id
        ├── InvalidRecordError     the record is at fault: mend it       (+ stage, row, path, message)
        ├── DeadlineExceededError  the call's time is over
        ├── ServerUnavailableError no server, a busy one, a restarting one, a lost connection: retried, in vain
        ├── ModelFaultError        the model failed on a request that it accepted
        └── ProtocolError          client and server do not fit: wrong port, certificate, access, model, answer
"""

import re
from typing import Self

_RECORD_PROBLEM = re.compile(r"(?P<stage>\w+): row (?P<row>\d+): (?P<path>\$.*?): (?P<message>.*)", re.DOTALL)


class ScoringError(Exception):
    """Base of every error that a call raises on purpose.

    Attributes:
        text: the server's whole message, or the client's own.
        likely_cause: what the client makes of it, where it can tell; None otherwise.
        url: the server that was asked; None for an error that no server took part in.
        request_id: the call's request id, as the server's log and the header ``x-request-id`` have it.

    Example:
        >>> try:
        ...     client.score_one(record)
        ... except ScoringError as error:
        ...     log.warning("not scored: %s", error, extra={"request_id": error.request_id})
    """

    url: str | None = None
    request_id: str | None = None

    def __init__(self, text: str, *, likely_cause: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.likely_cause = likely_cause

    def at(self, url: str | None, request_id: str | None) -> Self:
        """The same error, with the call that it belongs to; what it knows already stays."""
        self.url = self.url or url
        self.request_id = self.request_id or request_id
        return self

    def __str__(self) -> str:
        cause = f"; likely cause: {self.likely_cause}" if self.likely_cause else ""
        where = [self.url] if self.url else []
        if self.request_id and self.request_id not in self.text:
            where.append(f"request id {self.request_id}")
        return self.text + cause + (f" ({', '.join(where)})" if where else "")


class InvalidRecordError(ScoringError):
    """A record that cannot be scored as it is; sending it again gives the same answer.

    ``stage`` (the model that refused it, ``client`` when it was never sent), ``row`` (index among the records of the
    call), ``path`` (where in the record, as ``$.events[0].ts``) and ``message`` (expected and got) are taken from the
    server's text; where it does not tell, the first three are None and ``message`` is the whole text.
    """

    def __init__(
        self, text: str, *, stage: str | None = None, row: int | None = None, path: str | None = None, message: str = ""
    ) -> None:
        super().__init__(text)
        self.stage = stage
        self.row = row
        self.path = path
        self.message = message or text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the server's text, whatever Triton puts in front of the stage's own."""
        found = _RECORD_PROBLEM.search(text)
        if found is None:
            return cls(text)
        stage, row, path, message = found.group("stage", "row", "path", "message")
        return cls(text, stage=stage, row=int(row), path=path, message=message)

    def for_row(self, row: int) -> "InvalidRecordError":
        """The same error for the record that stands at ``row`` in the call, wherever it stood in its request."""
        if self.row is None or self.row == row:
            return self
        text = f"{self.text} (row {row} of the call)"
        moved = InvalidRecordError(text, stage=self.stage, row=row, path=self.path, message=self.message)
        moved.__cause__ = self.__cause__
        return moved.at(self.url, self.request_id)

    def __str__(self) -> str:
        return self.text


class DeadlineExceededError(ScoringError):
    """The call's time budget ran out; whether the server did the work is not known."""


class ServerUnavailableError(ScoringError):
    """No server there, the connection was lost, or the server is too busy, not ready, or about to restart.

    A request that ends so is sent again until the call's time is over; this is the last attempt's error.
    """


class ModelFaultError(ScoringError):
    """The server failed on a request that it accepted: an exception in a model."""


class ProtocolError(ScoringError):
    """Server and client do not fit: no such model or call, no access, another protocol's port, an unreadable answer."""
