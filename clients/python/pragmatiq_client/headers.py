"""What goes out beside a request: headers (metadata over gRPC) and the request id."""

import re
import uuid
from collections.abc import Mapping

ROUTING_HEADER = "x-user-id"
REQUEST_ID_HEADER = "x-request-id"

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
# Triton writes the id in brackets before its messages.
_REQUEST_ID = re.compile(r"[!-Z^-~]{1,200}")
# They belong to the connection, to the body, or to gRPC itself.
_RESERVED = {
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "inference-header-content-length",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


def check_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers with lower-case names, as both protocols can carry them.

    Raises:
        ValueError: a name or value that cannot be sent; no message repeats a value, which may be a secret.
    """
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        lower = name.lower() if isinstance(name, str) else ""
        if not _NAME.fullmatch(lower) or lower.startswith("grpc-") or lower.endswith("-bin") or lower in _RESERVED:
            problem = "letters, digits, '-', '_' and '.', and none of the connection's, the body's or gRPC's own"
            raise ValueError(f"headers: expected a name of {problem}, got {name!r}")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ValueError(f"headers: {name}: expected a value of printable ASCII, with no space at either end")
        if lower in checked:
            raise ValueError(f"headers: {lower} is there twice")
        checked[lower] = value
    return checked


def call_headers(
    always: Mapping[str, str], headers: Mapping[str, str] | None, routing_key: str | None, request_id: str | None
) -> tuple[dict[str, str], str]:
    """The headers of one call, the request id among them, and that id: the caller's, or a new random one.

    Raises:
        ValueError: a header, routing key or id that cannot be carried over both protocols as it is.
    """
    merged = {**always, **check_headers(headers)}
    if routing_key is not None:
        if not isinstance(routing_key, str) or not _VALUE.fullmatch(routing_key):
            raise ValueError(
                f"routing_key: expected printable ASCII, with no space at either end, got {routing_key!r}: "
                'send a hash of it, as hmac.new(secret, key.encode(), "sha256").hexdigest()'
            )
        merged[ROUTING_HEADER] = routing_key
    if request_id is None:
        request_id = merged.get(REQUEST_ID_HEADER) or uuid.uuid4().hex
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        problem = "1 to 200 printable ASCII characters without space, brackets and backslash"
        raise ValueError(f"request_id: expected {problem}, got {request_id!r:.220}")
    merged[REQUEST_ID_HEADER] = request_id
    return merged, request_id
