"""The ``tritonserver`` flags that hold wherever our model repositories are served (Triton's `tritonserver --help`)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

POLICY = (
    "--model-control-mode=none",
    "--disable-auto-complete-config",
    "--exit-on-error=true",
    "--strict-readiness=true",
)
"""Nobody loads or changes models over the network, configs are taken as they are written, and a server of which one
model does not load does not start."""

API_KEY_HEADER = "x-api-key"
CLOSED_APIS = ("shared-memory", "model-config", "model-repository", "statistics", "trace", "logging")
"""All but health, metadata and inference."""


PING_MILLISECONDS = 5_000
"""Between two pings of a gRPC caller that waits: Triton's own five minutes hang up on a call of more than two minutes
whose client pings every 30 seconds, as ours does."""


def restricted_flags(key: str, extra: Sequence[str] = (), left_open: Collection[str] = ()) -> list[str]:
    """Flags that close :data:`CLOSED_APIS`, but for those ``left_open``, to who does not send ``key``.

    Of the two flags one that ``extra`` has itself is left out.
    """
    closed = ",".join(api for api in CLOSED_APIS if api not in left_open)
    return [
        f"{flag}={closed}:{API_KEY_HEADER}={key}"
        for flag in ("--http-restricted-api", "--grpc-restricted-protocol")
        if closed and not any(word.partition("=")[0] == flag for word in extra)
    ]


def server_flags(
    repository: Path,
    backends: Path,
    *,
    shared_memory_prefix: str,
    drain_seconds: int,
    addresses: Mapping[str, tuple[str, int]],
) -> list[str]:
    """Flags for one server over ``repository`` with the Python backend under ``backends``.

    Latencies are given as summaries too: a percentile cannot be had from Triton's counters.

    Args:
        shared_memory_prefix: what the names of its models' regions in /dev/shm begin with.
        drain_seconds: how long requests under way have to end once the server is told to stop.
        addresses: address and port of each of the services ``http``, ``grpc`` and ``metrics``.
    """
    return [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix}",
        *POLICY,
        f"--exit-timeout-secs={drain_seconds}",
        f"--grpc-http2-min-recv-ping-interval-without-data={PING_MILLISECONDS}",
        "--metrics-config=summary_latencies=true",
        *(f"--{service}-address={host}" for service, (host, _) in addresses.items()),
        *(f"--{service}-port={port}" for service, (_, port) in addresses.items()),
    ]
