"""One call from its first byte to its answer: what log, metrics and traces tell of it."""

import itertools
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from pragmatiq_triton.gateway.errors import RequestError
from pragmatiq_triton.stage_times import StageTime

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_PROCESS = secrets.token_hex(8)
_NUMBERS = itertools.count()


@dataclass(slots=True)
class Call:
    """What is known of a call.

    ``route`` is a path's pattern or a gRPC method, never what a caller wrote. ``status`` is HTTP's; ``code`` says what
    went wrong, "" where nothing did. Sizes are bytes as received and sent, times are seconds; those of the queue and
    the models are the longest of the requests that the call was split into, whose ``stages`` are all here.
    ``address`` is the other end of the connection, a proxy's where one stands between.
    ``is_admitted``: whether it is known who calls, or nobody asks. ``traceparent`` is the caller's, ``trace_id`` that
    of the trace that tells of the call, if one does.
    """

    protocol: str
    route: str
    request_id: str
    caller: str = ""
    is_admitted: bool = False
    address: str = ""
    model: str = ""
    records: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    status: int = 200
    code: str = ""
    started: float = field(default_factory=monotonic)
    queue_seconds: float = 0.0
    model_seconds: float = 0.0
    seconds: float = 0.0
    stages: list[StageTime] = field(default_factory=list)
    traceparent: str | None = None
    trace_id: str = ""

    def failed(self, error: RequestError) -> None:
        """Take down what came instead of an answer."""
        self.status = error.status
        self.code = error.code


Watcher = Callable[[Call], None]
"""Called once a call has ended."""


def request_id(given: str | None) -> str:
    """The caller's request id if it is up to 128 printable ASCII characters without spaces, else one of ours."""
    return given if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_NUMBERS):016x}"
