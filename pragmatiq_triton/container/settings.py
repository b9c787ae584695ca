"""What an operator may set, by environment variables, and the ``tritonserver`` command that comes of it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.server_flags import restricted_flags, server_flags

REPOSITORY = Path("/models")
TRITON = Path("/opt/tritonserver")
TRITONSERVER = TRITON / "bin" / "tritonserver"
API_KEY_FILE = Path("/run/secrets/pragmatiq_api_key")
DRAIN_SECONDS = 30
HTTP_INPUT_BYTES = 64 * 1024 * 1024
SKIP_VERIFICATION = "PRAGMATIQ_SKIP_VERIFICATION"

_PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}


@dataclass(frozen=True, slots=True)
class Settings:
    """The container's settings.

    ``PRAGMATIQ_MODEL_REPOSITORY``: the model repository (/models). ``PRAGMATIQ_API_KEY_FILE``: a file with the key of
    the restricted APIs, which are all but health, metadata and inference (/run/secrets/pragmatiq_api_key); where it
    does not exist nobody can call them. ``PRAGMATIQ_ADDRESS`` and ``PRAGMATIQ_METRICS_ADDRESS``: IPv4 addresses that
    HTTP and gRPC, and that the metrics, listen on (0.0.0.0). ``PRAGMATIQ_DRAIN_SECONDS``: how long requests under way
    have to end after SIGTERM (30); give the container a longer stop timeout than that.
    ``PRAGMATIQ_HTTP_INPUT_BYTES``: the largest HTTP body (64 MiB), where the server has a limit to set.
    ``PRAGMATIQ_SKIP_VERIFICATION``: 1 serves the repository whatever its manifest says (0).
    ``PRAGMATIQ_TRUST_REMOTE_CODE``: 1 lets code run that came with the repository; without it such a one is refused.
    """

    repository: Path = REPOSITORY
    api_key: str = ""
    address: str = "0.0.0.0"
    metrics_address: str = "0.0.0.0"
    drain_seconds: int = DRAIN_SECONDS
    http_input_bytes: int = HTTP_INPUT_BYTES
    skip_verification: bool = False

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Settings":
        """The settings in ``variables``; :class:`ConfigError` where one cannot be used."""
        return cls(
            repository=Path(variables.get("PRAGMATIQ_MODEL_REPOSITORY") or REPOSITORY),
            api_key=_api_key(variables),
            address=variables.get("PRAGMATIQ_ADDRESS") or "0.0.0.0",
            metrics_address=variables.get("PRAGMATIQ_METRICS_ADDRESS") or "0.0.0.0",
            drain_seconds=_whole_number(variables, "PRAGMATIQ_DRAIN_SECONDS", DRAIN_SECONDS),
            http_input_bytes=_whole_number(variables, "PRAGMATIQ_HTTP_INPUT_BYTES", HTTP_INPUT_BYTES),
            skip_verification=_yes_or_no(variables, SKIP_VERIFICATION),
        )

    def command(
        self, known_flags: str, extra: Sequence[str] = (), shared_memory_prefix: str = "pragmatiq-"
    ) -> list[str]:
        """The ``tritonserver`` command; ``known_flags`` is its ``--help``, ``extra`` comes last and so wins."""
        hosts = {"http": self.address, "grpc": self.address, "metrics": self.metrics_address}
        limit = [f"--http-max-input-size={self.http_input_bytes}"] if "--http-max-input-size" in known_flags else []
        return [
            str(TRITONSERVER),
            *server_flags(
                self.repository,
                TRITON / "backends",
                shared_memory_prefix=shared_memory_prefix,
                drain_seconds=self.drain_seconds,
                addresses={service: (host, _PORTS[service]) for service, host in hosts.items()},
            ),
            *restricted_flags(self.api_key, extra),
            *limit,
            *extra,
        ]


def _api_key(variables: Mapping[str, str]) -> str:
    named = variables.get("PRAGMATIQ_API_KEY_FILE")
    path = Path(named or API_KEY_FILE)
    if not named and not path.exists():
        return secrets.token_urlsafe(32)
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"PRAGMATIQ_API_KEY_FILE: {path} cannot be read: {error}") from None
    if not key or not key.isascii() or not key.isprintable() or any(character in key for character in ' ,:="'):
        raise ConfigError(f"{path}: expected a key of printable ASCII without spaces , : = and quotes")
    return key


def _yes_or_no(variables: Mapping[str, str], name: str) -> bool:
    value = variables.get(name) or "0"
    if value not in ("0", "1"):
        raise ConfigError(f"{name}: expected 1 or 0, got {value!r}")
    return value == "1"


def _whole_number(variables: Mapping[str, str], name: str, default: int) -> int:
    value = variables.get(name) or str(default)
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"{name}: expected a whole number of at least 1, got {value!r}")
    return int(value)
