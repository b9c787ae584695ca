"""``python -m pragmatiq_triton.container [TRITONSERVER-FLAGS]``: serve the model repository until SIGTERM.

Callers reach the gateway; Triton is behind it, on loopback.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pragmatiq_triton.cache.fingerprints import secret
from pragmatiq_triton.cache.folder import cache_folder
from pragmatiq_triton.container.settings import (
    API_KEY_FILE,
    GATEWAY,
    LOOPBACK,
    SKIP_VERIFICATION,
    TRITONSERVER,
    Settings,
)
from pragmatiq_triton.container.supervisor import supervise
from pragmatiq_triton.errors import PragmatiqError
from pragmatiq_triton.exposure import require_direct_exposure
from pragmatiq_triton.gateway.identity import read_identity
from pragmatiq_triton.keeper.remains import claim, new_server_id, remove, remove_of_dead_servers
from pragmatiq_triton.model_folders import model_names, passed_over
from pragmatiq_triton.operator_settings import (
    SETTINGS_VARIABLE,
    changed,
    lines,
    read_model_settings,
    read_settings_file,
    unread_variables,
)
from pragmatiq_triton.repository_view import view_of
from pragmatiq_triton.server.gateway_process import require_gateway, require_policy
from pragmatiq_triton.server.kept import unable
from pragmatiq_triton.server.layout import make_folder
from pragmatiq_triton.server.ports import reserve_ports
from pragmatiq_triton.stop_signals import StopSignals
from pragmatiq_triton.text_encoders.trust import require_trusted_repository
from pragmatiq_triton.verification import verify

_WANTED_BYTES = 512 * 1024 * 1024


def serve(extra: Sequence[str]) -> None:
    """Check what can be checked without the server, then run it."""
    settings = Settings.read(os.environ)
    model_names(settings.repository)
    if settings.gateway:
        read_identity(settings.repository)
        require_gateway()
        require_policy(settings.policy, sys.stdout.fileno())
        if os.environ.get("PRAGMATIQ_API_KEY_FILE") or API_KEY_FILE.exists():
            _say("note: the API key has no use behind the gateway: nobody reaches Triton's restricted APIs")
    else:
        for address in (settings.address, settings.metrics_address):
            require_direct_exposure(address, TRITONSERVER, f"{GATEWAY}=0")
    file = os.environ.get(SETTINGS_VARIABLE)
    parts = read_settings_file(Path(file) if file else None)
    of_models = read_model_settings(settings.repository, parts, os.environ, file or SETTINGS_VARIABLE)
    for name in passed_over(settings.repository):
        _say(f"passed over in the repository: {name}")
    for line in [*lines(of_models), *unread_variables(of_models, os.environ)]:
        _say(line)
    secret(cache_folder())
    require_trusted_repository(settings.repository, None)
    if (size := _shared_memory_bytes()) < _WANTED_BYTES:
        _say(f"warning: /dev/shm has {size >> 20} MiB, and requests pass through it: give it 1 GiB (--shm-size=1g)")
    with StopSignals() as signals:
        if settings.skip_verification:
            _say(f"{settings.repository} is served as it is: not verified")
        elif found := verify(settings.repository, f"{SKIP_VERIFICATION}=1", say=_say, stopping=signals.is_asked):
            _say(str(found))
        if signals.asked:
            return
    # A volume for /dev/shm outlives a container that was killed.
    remove_of_dead_servers()
    server_id = new_server_id()
    folder = make_folder()
    try:
        lock = claim(server_id, folder)
    except OSError as error:
        raise unable("/dev/shm cannot be used", error) from error
    try:
        usage = subprocess.run([TRITONSERVER, "--help"], capture_output=True, encoding="utf-8", check=False)
        linked = replace(settings, repository=view_of(settings.repository, folder, changed(of_models)))
        ports = reserve_ports(LOOPBACK, (0, 0, 0)) if settings.gateway else None
        gateway = (settings.gateway_settings(ports, folder, linked.repository), server_id) if ports else None
        command = linked.command(usage.stdout + usage.stderr, extra, f"{server_id}-", ports)
        supervise(command, settings.drain_seconds, folder, gateway, _say)
    finally:
        remove(server_id, folder)
        os.close(lock)


def _say(line: str) -> None:
    with suppress(OSError):
        print(line, flush=True)


def _shared_memory_bytes() -> int:
    size = os.statvfs("/dev/shm")
    return size.f_frsize * size.f_blocks


def main() -> int:
    """The process' exit code; the reason of a failure is the last that is written."""
    try:
        serve(sys.argv[1:])
    except PragmatiqError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
