"""What an operator may set, by environment variables, and the commands and settings that come of it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.policy import GatewayPolicy, check_policy, read_policy_file
from pragmatiq_triton.gateway.settings import GatewaySettings, Triton
from pragmatiq_triton.operator_settings import SETTINGS_VARIABLE
from pragmatiq_triton.server.flags import restricted_flags, server_flags

REPOSITORY = Path("/models")
TRITON = Path("/opt/tritonserver")
TRITONSERVER = TRITON / "bin" / "tritonserver"
API_KEY_FILE = Path("/run/secrets/pragmatiq_api_key")
DRAIN_SECONDS = 30
HTTP_INPUT_BYTES = 64 * 1024 * 1024
SKIP_VERIFICATION = "PRAGMATIQ_SKIP_VERIFICATION"
GATEWAY = "PRAGMATIQ_GATEWAY"
LOOPBACK = "127.0.0.1"

_INPUT_BYTES = "PRAGMATIQ_HTTP_INPUT_BYTES"
# What the gateway writes around records that it passes on.
_OVERHEAD_BYTES = 1024 * 1024

_PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
# Where Triton listens is the gateway's to know; other doors than these would go around it.
_OF_GATEWAY = (
    "--http-",
    "--grpc-",
    "--metrics-address",
    "--metrics-port",
    "--allow-http",
    "--allow-grpc",
    "--allow-metrics",
    "--allow-sagemaker",
    "--allow-vertex-ai",
    "--sagemaker-",
    "--vertex-ai-",
    "--reuse-http-port",
    "--reuse-grpc-port",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The container's settings.

    ``PRAGMATIQ_MODEL_REPOSITORY``: the model repository (/models). ``PRAGMATIQ_ADDRESS`` and
    ``PRAGMATIQ_METRICS_ADDRESS``: IPv4 addresses that HTTP and gRPC, and that the metrics, listen on (0.0.0.0).
    ``PRAGMATIQ_DRAIN_SECONDS``: how long calls under way have to end after SIGTERM (30); give the container a stop
    timeout that is 15 seconds longer. ``PRAGMATIQ_SETTINGS``: a settings.yaml, whose ``gateway`` says who may call,
    over what, and how much (:mod:`pragmatiq_triton.gateway.policy`), and which sets parameters of the models
    (:mod:`pragmatiq_triton.operator_settings`); variables ``PRAGMATIQ_GATEWAY_…`` and ``PRAGMATIQ_MODEL_…`` win
    over it. ``PRAGMATIQ_SKIP_VERIFICATION``: 1 serves the repository whatever its manifest says (0).
    ``PRAGMATIQ_TRUST_REMOTE_CODE``: 1 lets code run that came with the repository; without it such a one is refused.

    ``PRAGMATIQ_GATEWAY``: 0 has callers reach Triton itself (1). Then ``PRAGMATIQ_API_KEY_FILE`` is a file with the key
    of its restricted APIs, which are all but health, metadata and inference (/run/secrets/pragmatiq_api_key); where it
    does not exist nobody can call them. ``PRAGMATIQ_HTTP_INPUT_BYTES`` is its largest HTTP body (64 MiB), where the
    server has a limit to set.
    """

    repository: Path = REPOSITORY
    api_key: str = ""
    address: str = "0.0.0.0"
    metrics_address: str = "0.0.0.0"
    drain_seconds: int = DRAIN_SECONDS
    http_input_bytes: int = HTTP_INPUT_BYTES
    skip_verification: bool = False
    gateway: bool = True
    policy: GatewayPolicy = field(default_factory=GatewayPolicy)

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Settings":
        """The settings in ``variables``; :class:`ConfigError` where one cannot be used."""
        gateway = _yes_or_no(variables, GATEWAY, default="1")
        if gateway and variables.get(_INPUT_BYTES):
            raise ConfigError(
                f"{_INPUT_BYTES} is for a Triton without gateway: say PRAGMATIQ_GATEWAY_LIMITS_MAX_BODY_BYTES"
            )
        address = variables.get("PRAGMATIQ_ADDRESS") or "0.0.0.0"
        policy = GatewayPolicy()
        if gateway:
            file = variables.get(SETTINGS_VARIABLE)
            policy = read_policy_file(Path(file) if file else None, variables).with_access_log("-")
            check_policy(policy, address)
        return cls(
            repository=Path(variables.get("PRAGMATIQ_MODEL_REPOSITORY") or REPOSITORY),
            api_key=secrets.token_urlsafe(32) if gateway else _api_key(variables),
            address=address,
            metrics_address=variables.get("PRAGMATIQ_METRICS_ADDRESS") or "0.0.0.0",
            drain_seconds=_whole_number(variables, "PRAGMATIQ_DRAIN_SECONDS", DRAIN_SECONDS),
            http_input_bytes=(
                policy.limits.max_body_bytes + _OVERHEAD_BYTES
                if gateway
                else _whole_number(variables, _INPUT_BYTES, HTTP_INPUT_BYTES)
            ),
            skip_verification=_yes_or_no(variables, SKIP_VERIFICATION, default="0"),
            gateway=gateway,
            policy=policy,
        )

    def command(
        self,
        known_flags: str,
        extra: Sequence[str] = (),
        shared_memory_prefix: str = "pragmatiq-",
        ports: Sequence[int] | None = None,
    ) -> list[str]:
        """The ``tritonserver`` command; ``known_flags`` is its ``--help``, ``extra`` comes last and so wins.

        ``ports`` are those of HTTP, gRPC and metrics on loopback, behind a gateway; without them callers reach it.

        Raises:
            ConfigError: behind a gateway ``extra`` sets where Triton listens.
        """
        if ports is None:
            hosts = {"http": self.address, "grpc": self.address, "metrics": self.metrics_address}
            addresses = {service: (host, _PORTS[service]) for service, host in hosts.items()}
        else:
            _require_ours(extra)
            addresses = {service: (LOOPBACK, port) for service, port in zip(_PORTS, ports, strict=True)}
        limit = [f"--http-max-input-size={self.http_input_bytes}"] if "--http-max-input-size" in known_flags else []
        return [
            str(TRITONSERVER),
            *server_flags(
                self.repository,
                TRITON / "backends",
                shared_memory_prefix=shared_memory_prefix,
                drain_seconds=self.drain_seconds,
                addresses=addresses,
            ),
            *restricted_flags(self.api_key, extra),
            *limit,
            *extra,
        ]

    def gateway_settings(self, ports: Sequence[int], boards: Path, served: Path) -> GatewaySettings:
        """What the gateway is told.

        Triton's ``ports`` on loopback, the folder of the ``boards``, and the repository as Triton sees it (``served``).
        """
        return GatewaySettings(
            repository=str(self.repository),
            served=str(served),
            triton=Triton(f"{LOOPBACK}:{ports[0]}", f"{LOOPBACK}:{ports[2]}", str(boards)),
            host=self.address,
            http_port=_PORTS["http"],
            grpc_port=_PORTS["grpc"],
            metrics_port=_PORTS["metrics"],
            metrics_host=self.metrics_address,
            drain_seconds=self.drain_seconds,
            policy=self.policy,
        )


def _require_ours(extra: Sequence[str]) -> None:
    for word in extra:
        name = word.partition("=")[0]
        # Triton takes a flag's beginning for the flag.
        if any(name.startswith(flag) or (name.startswith("--") and flag.startswith(name)) for flag in _OF_GATEWAY):
            raise ConfigError(
                f"{name}: Triton stands behind the gateway, which says where it listens; {GATEWAY}=0 leaves it out"
            )


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


def _yes_or_no(variables: Mapping[str, str], name: str, default: str) -> bool:
    value = variables.get(name) or default
    if value not in ("0", "1"):
        raise ConfigError(f"{name}: expected 1 or 0, got {value!r}")
    return value == "1"


def _whole_number(variables: Mapping[str, str], name: str, default: int) -> int:
    value = variables.get(name) or str(default)
    if not value.isdecimal() or int(value) < 1:
        raise ConfigError(f"{name}: expected a whole number of at least 1, got {value!r}")
    return int(value)
