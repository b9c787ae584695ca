"""Who looks on, as the policy says: metrics always, the access log and traces if they are on."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from pragmatiq_triton.errors import MissingDependencyError
from pragmatiq_triton.gateway.admission import Admission
from pragmatiq_triton.gateway.call import Watcher
from pragmatiq_triton.gateway.health import Health
from pragmatiq_triton.gateway.identity import Identity
from pragmatiq_triton.gateway.over_http.rest import version
from pragmatiq_triton.gateway.seen.access_log import AccessLogFile
from pragmatiq_triton.gateway.seen.metrics import GatewayMetrics
from pragmatiq_triton.gateway.seen.settings import OFF
from pragmatiq_triton.gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Watchers:
    """What is called with each call that has ended, in order."""

    metrics: GatewayMetrics
    watchers: tuple[Watcher, ...]
    ends: tuple[Callable[[], None], ...]

    def close(self) -> None:
        """Write and send what waits."""
        for end in self.ends:
            end()


def make_watchers(settings: GatewaySettings, identity: Identity, admission: Admission, health: Health) -> Watchers:
    """Those that ``settings`` ask for.

    Raises:
        ConfigError: the access log cannot be opened.
        MissingDependencyError: traces are on, and OpenTelemetry is not installed.
    """
    policy = settings.policy
    metrics = GatewayMetrics(identity, admission, health, version())
    watchers: list[Watcher] = [metrics]
    ends: list[Callable[[], None]] = []
    if policy.traces.endpoint:
        require_tracing()
        from pragmatiq_triton.gateway.seen.tracing import Tracing

        tracing = Tracing(policy.traces, identity, version())
        watchers.append(tracing)
        ends.append(tracing.close)
    if policy.access_log.file not in ("", OFF):
        # Behind the traces, whose id it tells.
        log = AccessLogFile(policy.access_log, identity.manifest_hash, settings.access_log_output)
        watchers.append(log)
        ends.append(log.close)
        metrics.count_lost(lambda: log.lost)
    return Watchers(metrics, tuple(watchers), tuple(ends))


def require_tracing() -> None:
    """:class:`MissingDependencyError`, which names what to install, where OpenTelemetry is not there."""
    try:
        import_module("pragmatiq_triton.gateway.seen.tracing")
    except ImportError as error:
        raise MissingDependencyError(
            f'gateway.traces: {error.name} is not installed: pip install "pragmatiq-triton[tracing]"'
        ) from None
