"""The ``tritonserver`` flags that hold wherever our model repositories are served (Triton's `tritonserver --help`)."""

from collections.abc import Mapping
from pathlib import Path

POLICY = (
    "--model-control-mode=none",
    "--disable-auto-complete-config",
    "--exit-on-error=true",
    "--strict-readiness=true",
)
"""Nobody loads or changes models over the network, configs are taken as they are written, and a server of which one
model does not load does not start."""


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
        "--metrics-config=summary_latencies=true",
        *(f"--{service}-address={host}" for service, (host, _) in addresses.items()),
        *(f"--{service}-port={port}" for service, (_, port) in addresses.items()),
    ]
