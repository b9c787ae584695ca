"""What an operator sets of access log and traces."""

import msgspec

OFF = "off"
OUTPUT = "-"
"""The standard output of the container."""


class AccessLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One JSON line for each call.

    ``file``: where to; "-" is the standard output of the container, "off" is none, and empty leaves it to whoever
    starts the gateway. ``max_bytes``: beyond it the file becomes ``FILE.1``, and the one before is gone; move files
    away, or raise it, to keep more. ``sample``: the share of good calls that is told; failed ones always are.
    """

    file: str = ""
    max_bytes: int = 256 * 1024 * 1024
    sample: float = 1.0

    def __post_init__(self) -> None:
        _require_share("access_log", self.sample)
        if self.max_bytes < 4096:
            raise ValueError(f"access_log.max_bytes: expected at least 4096, got {self.max_bytes}")


class Traces(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry traces over OTLP (HTTP, protobuf).

    ``endpoint``: the collector's URL with its path, such as ``http://collector:4318/v1/traces``; empty: none. Headers
    and certificates are OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_HEADERS``, ``…_CERTIFICATE``), as are the
    service's name and attributes (``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``). ``sample``: the share of calls
    that is traced where the caller did not decide; one that says so in ``traceparent`` is obeyed.
    """

    endpoint: str = ""
    sample: float = 0.01

    def __post_init__(self) -> None:
        _require_share("traces", self.sample)
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"traces.endpoint: expected http:// or https://, got {self.endpoint}")


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}.sample: expected a share from 0 to 1, got {value:g}")
