"""Why a request gets no scores.

- :class:`RequestError`: base of all; has the HTTP status, the gRPC status and a code for programs
    - :class:`MalformedError`: cannot be read, or asks for what does not exist
    - :class:`TooLargeError`: over a limit in bytes
    - :class:`RefusedRecordError`: a record that the model refused
    - :class:`UnauthenticatedError`, :class:`ForbiddenError`: a caller who is not known, or may not
    - :class:`UnknownRouteError`, :class:`UnsupportedError`: nothing is there; nothing does that
    - :class:`SlowCallerError`: the request took too long to arrive
    - :class:`BusyError`: too much at once, of this caller or of all; try again after ``retry_after`` seconds
    - :class:`DeadlineError`: no answer in the time that the caller or the gateway allows
    - :class:`UnavailableError`: the models cannot be reached, or are about to stop
    - :class:`ModelError`: a fault of ours
"""

from pragmatiq_triton.errors import PragmatiqError


class RequestError(PragmatiqError):
    """A request without scores; its message is for the caller and holds nothing of the machine."""

    status: int = 500
    grpc_status: str = "INTERNAL"
    code: str = "internal"
    retry_after: float | None = None


class MalformedError(RequestError):
    """A request that cannot be read, or asks for what does not exist."""

    status = 400
    grpc_status = "INVALID_ARGUMENT"
    code = "malformed"


class TooLargeError(MalformedError):
    """A body, a message or its headers over a limit."""

    status = 413
    code = "too_large"


class RefusedRecordError(MalformedError):
    """A record that breaks the contract; the message says where and what was expected."""

    code = "refused_record"


class UnauthenticatedError(RequestError):
    """A caller who did not say who it is, or not in a way that holds."""

    status = 401
    grpc_status = "UNAUTHENTICATED"
    code = "unauthenticated"


class ForbiddenError(RequestError):
    """A known caller who may not ask for this."""

    status = 403
    grpc_status = "PERMISSION_DENIED"
    code = "forbidden"


class UnknownRouteError(RequestError):
    """A path, a method or a model that does not exist here."""

    status = 404
    grpc_status = "NOT_FOUND"
    code = "not_found"


class WrongMethodError(UnknownRouteError):
    """A path that exists, asked in another way."""

    status = 405
    code = "wrong_method"


class UnsupportedError(RequestError):
    """Something of the protocol that is not done here."""

    status = 501
    grpc_status = "UNIMPLEMENTED"
    code = "unsupported"


class SlowCallerError(RequestError):
    """A request that did not arrive in time."""

    status = 408
    grpc_status = "DEADLINE_EXCEEDED"
    code = "slow_caller"

    def __init__(self) -> None:
        super().__init__("the request did not arrive in time")


class BusyError(RequestError):
    """More at once than there is room for: of all callers, or of this one."""

    status = 429
    grpc_status = "RESOURCE_EXHAUSTED"
    code = "busy"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(RequestError):
    """No answer in time."""

    status = 504
    grpc_status = "DEADLINE_EXCEEDED"
    code = "deadline_exceeded"


class UnavailableError(RequestError):
    """No model to ask: starting, stopping, or dead."""

    status = 503
    grpc_status = "UNAVAILABLE"
    code = "unavailable"


class ModelError(RequestError):
    """The models failed at a request that was in order."""
