"""What can go wrong with a call, the same classes over both protocols."""

import re
from typing import Self

_RECORD_PROBLEM = re.compile(r"(?P<stage>\w+): row (?P<row>\d+): (?P<path>\$.*?): (?P<message>.*)", re.DOTALL)
_MISFIT = re.compile(r"This (API|protocol) is restricted|unexpected inference output")


class ScoringError(Exception):
    """Base of every error that a call raises on purpose; ``str()`` is the server's whole message."""


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

    def moved(self, offset: int) -> "InvalidRecordError":
        """The same error for a record that is ``offset`` rows further down in the call than in its request."""
        if self.row is None or offset == 0:
            return self
        row = self.row + offset
        text = f"{self} (row {row} of the call)"
        return InvalidRecordError(text, stage=self.stage, row=row, path=self.path, message=self.message)


class DeadlineExceededError(ScoringError):
    """The call's time budget ran out; whether the server did the work is not known."""


class ServerUnavailableError(ScoringError):
    """No server there, the connection was lost, or the server is too busy or not ready; retried within the budget."""


class ModelFaultError(ScoringError):
    """The server failed on a request that it accepted: an exception in a model, or a dead model process."""


class ProtocolError(ScoringError):
    """Server and client do not fit: no such model or call, no access, or an answer of an unexpected shape."""


_BY_STATUS: dict[str, type[ScoringError]] = {
    "StatusCode.INVALID_ARGUMENT": InvalidRecordError,
    "400": InvalidRecordError,
    "StatusCode.DEADLINE_EXCEEDED": DeadlineExceededError,
    "408": DeadlineExceededError,
    "504": DeadlineExceededError,
    "StatusCode.UNAVAILABLE": ServerUnavailableError,
    "502": ServerUnavailableError,
    "503": ServerUnavailableError,
    "StatusCode.NOT_FOUND": ProtocolError,
    "404": ProtocolError,
    "StatusCode.UNIMPLEMENTED": ProtocolError,
    "501": ProtocolError,
    "StatusCode.PERMISSION_DENIED": ProtocolError,
    "403": ProtocolError,
    "StatusCode.UNAUTHENTICATED": ProtocolError,
    "401": ProtocolError,
}


def from_status(status: str | None, text: str) -> ScoringError:
    """The error for the status of a tritonclient exception: ``StatusCode.NAME`` over gRPC, ``400`` over HTTP.

    None is an error of tritonclient's own, such as an answer that it cannot read. A restricted call is
    ``UNAVAILABLE`` over gRPC but 403 over HTTP, and a model without one of the outputs answers as to a bad record;
    their texts tell.
    """
    if status is None or _MISFIT.match(text):
        return ProtocolError(text)
    kind = _BY_STATUS.get(status, ModelFaultError)
    return InvalidRecordError.parse(text) if kind is InvalidRecordError else kind(text)
