"""Which error a status and its text stand for, and what likely causes it."""

import re

from pragmatiq_client.errors import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)

_BY_STATUS: dict[str, type[ScoringError]] = {
    "StatusCode.INVALID_ARGUMENT": InvalidRecordError,
    "400": InvalidRecordError,
    "StatusCode.DEADLINE_EXCEEDED": DeadlineExceededError,
    "408": DeadlineExceededError,
    "504": DeadlineExceededError,
    "StatusCode.UNAVAILABLE": ServerUnavailableError,
    "StatusCode.RESOURCE_EXHAUSTED": ServerUnavailableError,
    "StatusCode.ABORTED": ServerUnavailableError,
    "StatusCode.CANCELLED": ServerUnavailableError,
    "425": ServerUnavailableError,
    "429": ServerUnavailableError,
    "502": ServerUnavailableError,
    "503": ServerUnavailableError,
    "StatusCode.NOT_FOUND": ProtocolError,
    "StatusCode.UNIMPLEMENTED": ProtocolError,
    "501": ProtocolError,
    "505": ProtocolError,
    "StatusCode.PERMISSION_DENIED": ProtocolError,
    "StatusCode.UNAUTHENTICATED": ProtocolError,
}

_PREFIX = re.compile(r"(\[request id: [^\]]*\] )?(in ensemble '[^']*', )?(\[request id: [^\]]*\] )?")
_ROW = re.compile(r"\w+: row \d+: \$")
_MISFIT = re.compile(
    r"This (API|protocol) is restricted|unexpected inference output|failed to parse the request JSON"
    r"|Received message larger than max|received metadata size exceeds|Received http2 header with status: [34]"
    r"|Received http2 :status header with non-200 OK status: [34]"
    r"|Stream removed \(.*http2 header with status: [34]|.*invalid value for content-type|.*unexpected content-type"
    r"|.*Trying to connect an http1\.x server"
)
_CERTIFICATE = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|Hostname Verification|is not in peer certificate"
    r"|Hostname mismatch|unable to get (local )?issuer|self.signed certificate",
    re.IGNORECASE,
)
_CLIENT_CERTIFICATE = re.compile(
    r"CERTIFICATE_REQUIRED|certificate required|alert (unknown ca|bad certificate|handshake failure)"
    r"|ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|HANDSHAKE_FAILURE)",
    re.IGNORECASE,
)
_NO_TLS = re.compile(r"WRONG_VERSION_NUMBER|wrong version number|record layer failure|packet length too long", re.I)
# Triton while it stops, starts or unloads a model.
_RESTARTING = re.compile(
    r".*has no available versions|.*\bis not ready\b|.*\b(is|being|was) (un)?load(ing|ed)\b|[Ss]erver is stopping"
    r"|.*\bServer not ready\b|.*\bis shutting down"
)
_DEAD_PROCESS = re.compile(
    r"(Failed to process the request\(s\) for model instance '[^']*', message: )?"
    r"(Stub process|Stub is|The stub process|Failed to (initialize|restart) stub|failed to (send|receive) .*stub)"
)
_LOST = re.compile(
    r"(Received )?RST_STREAM|Stream removed|Socket closed|Connection reset|Connection aborted|Broken pipe|GOAWAY"
    r"|recvmsg|Cancelling all calls|Channel closed|Transport closed|End of TCP stream"
)
# Triton refuses a batch as a whole when one caller's BYTES tensor is malformed; this client's never is.
_ANOTHER_CALLER = re.compile(
    r".*(incomplete string|unexpected (number of )?(total )?(string|byte size|size)|string element|BYTES tensor"
    r"|expecting \d+ bytes|byte size .* does not match|malformed)"
)


def from_status(status: str | None, text: str) -> ScoringError:
    """The error for a status, ``StatusCode.NAME`` over gRPC and ``400`` over HTTP, and the server's text.

    None is an answer that cannot be read. The status alone does not tell: a restricted call is ``UNAVAILABLE`` over
    gRPC but 403 over HTTP, a restarting server says ``NOT_FOUND``, and a dead model process ``INTERNAL``.
    """
    said = text[_PREFIX.match(text).end() :]  # type: ignore[union-attr]  # every part of it is optional
    if status is None:
        return ProtocolError(text)
    kind = _kind(status)
    if kind is InvalidRecordError and _ROW.match(said):
        return InvalidRecordError.parse(text)
    if _MISFIT.match(said):
        cut = said.startswith("failed to parse the request JSON")
        cause = "a proxy on the way drops the header inference-header-content-length" if cut else None
        return ProtocolError(text, likely_cause=cause)
    if kind is ServerUnavailableError and (cause := tls_cause(text)):
        return ProtocolError(text, likely_cause=cause)
    if kind is DeadlineExceededError or kind is ServerUnavailableError:
        return kind(text)
    if _RESTARTING.match(said):
        return ServerUnavailableError(text, likely_cause="the server is starting, stopping or loading the model")
    if kind is InvalidRecordError:
        if _ANOTHER_CALLER.match(said):
            cause = "the server refused a whole batch because of another caller's malformed tensor"
            return ServerUnavailableError(text, likely_cause=cause)
        return InvalidRecordError.parse(text)
    if kind is ModelFaultError and _DEAD_PROCESS.match(said):
        return ServerUnavailableError(text, likely_cause="a model's process has died; the server has to be restarted")
    if kind is ModelFaultError and not status.isdigit() and _LOST.match(said):
        return ServerUnavailableError(text)
    return kind(text)


def _kind(status: str) -> type[ScoringError]:
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    # Whatever else a proxy says about the request itself, a redirection included, no second attempt mends.
    return ProtocolError if status.isdigit() and int(status) < 500 else ModelFaultError


def tls_cause(text: str) -> str | None:
    """What is wrong with the certificates, from the words of OpenSSL or BoringSSL; None for another matter."""
    if _CERTIFICATE.search(text):
        return (
            "the server's certificate is not signed by a known authority, or not for this host name: "
            "tls=TLS(ca=...) names the authority's file, server_name= the name in the certificate"
        )
    if _CLIENT_CERTIFICATE.search(text):
        return "the server asks for a client certificate that it knows: tls=TLS(certificate=..., key=...)"
    if _NO_TLS.search(text):
        return "the server does not speak TLS on this port: use http:// or grpc://, or another port"
    return None
