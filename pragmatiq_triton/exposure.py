"""Whether callers may reach Triton itself, without the gateway in front."""

import ipaddress
import re
from pathlib import Path

from pragmatiq_triton.errors import ConfigError

OLDEST = (2, 59)
"""Of 25.07. Before it a caller can crash the server or claim its memory with a few bytes of HTTP: CVE-2025-23310 and
CVE-2025-23311 (chunked bodies) among others."""


def require_direct_exposure(host: str, tritonserver: Path, how: str) -> None:
    """:class:`ConfigError` unless Triton may listen on ``host``: on loopback always, else if it is 2.59 or newer.

    ``how`` is the setting that asks for it, as the operator writes it.
    """
    if is_loopback(host):
        return
    version = triton_version(tritonserver)
    if version is None or version < OLDEST:
        found = f"this one is {version[0]}.{version[1]}" if version else "this one does not say what it is"
        raise ConfigError(
            f"{how}: callers may reach Triton itself on {host} from 2.59 (25.07) on alone, and {found}; leave the "
            "gateway in front, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether who listens on ``host`` is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def triton_version(tritonserver: Path) -> tuple[int, int] | None:
    """Version of the program as the file says that NVIDIA's image has beside it; None without one.

    Neither the program nor the wheel tells without loading models.
    """
    try:
        words = (tritonserver.parents[1] / "TRITON_VERSION").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.match(r"(\d+)\.(\d+)", words)
    return (int(found[1]), int(found[2])) if found else None
