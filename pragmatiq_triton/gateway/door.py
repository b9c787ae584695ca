"""What every protocol's handlers work with, and what they do before and after a request is read."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from pragmatiq_triton.gateway.auth import Authentication
from pragmatiq_triton.gateway.auth.settings import Auth
from pragmatiq_triton.gateway.call import Call, Watcher
from pragmatiq_triton.gateway.caller_limits import CallerAccounts, CallerLimits
from pragmatiq_triton.gateway.errors import UnavailableError, UnknownRouteError
from pragmatiq_triton.gateway.health import Health
from pragmatiq_triton.gateway.identity import Ensemble, Identity
from pragmatiq_triton.gateway.inference import InferenceAnswer, InferenceRequest
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.outputs import outputs_of_models
from pragmatiq_triton.gateway.scoring import Scoring
from pragmatiq_triton.gateway.statistics import Statistics

logger = logging.getLogger(__name__)


class Deadline(NamedTuple):
    """A ``moment`` on the monotonic clock, ``seconds`` after a call began."""

    moment: float
    seconds: float


@dataclass(frozen=True)
class Door:
    """The served models, who may call them, and who looks on."""

    identity: Identity
    scoring: Scoring
    health: Health
    limits: Limits
    authentication: Authentication = field(default_factory=lambda: Authentication(Auth()))
    accounts: CallerAccounts = field(default_factory=lambda: CallerAccounts(CallerLimits()))
    statistics: Statistics = field(default_factory=Statistics)
    watchers: Sequence[Watcher] = ()

    def admit(self, call: Call, headers: Mapping[str, str], certificate_names: tuple[str, ...]) -> None:
        """Find out who calls, before anything of the request is read."""
        call.caller = self.authentication.caller_of(headers, certificate_names)
        call.is_admitted = True

    def identity_for(self, call: Call) -> tuple[tuple[str, str], ...]:
        """The model's names in headers and metadata; a caller who is not known learns nothing of it."""
        return self.identity.headers if call.is_admitted or self.authentication.is_open else ()

    def ensemble(self, name: str, version: str = "") -> Ensemble:
        """The ensemble of that name; :class:`UnknownRouteError` for all else, composing models among it."""
        found = self.identity.ensembles.get(name)
        if found is None or version not in ("", "1"):
            raise UnknownRouteError("no such model: expected one of " + ", ".join(self.identity.ensembles))
        return found

    def require_ready(self, ensemble: str | None = None) -> None:
        """Return if ``ensemble``, by default every one, would answer now; else :class:`UnavailableError` says why."""
        if self.scoring.is_stopping:
            raise UnavailableError("the server is stopping")
        if bad := [each for each in self.health.problems if ensemble in (None, each.ensemble)]:
            # Ensembles share models, so some say the same.
            raise UnavailableError("; ".join(dict.fromkeys(map(str, bad))))

    def require_alive(self) -> None:
        """Return unless nothing but a new start helps; else :class:`UnavailableError` says why."""
        if not self.health.is_alive:
            raise UnavailableError(self.health.deaths)

    async def score(
        self, call: Call, ensemble: Ensemble, documents: Sequence[bytes], outputs: Sequence[str], timeout: float | None
    ) -> InferenceAnswer:
        """The answer of the models to a call that is one request; ``timeout`` is the caller's, in seconds."""
        with self.counted(call, len(documents)):
            return await self.ask(call, ensemble, documents, outputs, self.deadline(timeout))

    def deadline(self, timeout: float | None) -> Deadline:
        """By when a call that begins now has to be answered; ``timeout`` is the caller's, in seconds."""
        seconds = self.limits.request_seconds if timeout is None else min(timeout, self.limits.request_seconds)
        return Deadline(monotonic() + seconds, seconds)

    @contextmanager
    def counted(self, call: Call, n_records: int) -> Iterator[None]:
        """Count a call of ``n_records`` against its caller's limits until it is over.

        :class:`BusyError` where it is too much for this caller now.
        """
        call.records = n_records
        self.accounts.enter(call.caller, n_records)
        try:
            yield
        finally:
            self.accounts.leave(call.caller)

    async def ask(
        self, call: Call, ensemble: Ensemble, documents: Sequence[bytes], outputs: Sequence[str], deadline: Deadline
    ) -> InferenceAnswer:
        """The answer of the models to one request of a call that is :meth:`counted`."""
        request = InferenceRequest(
            ensemble=ensemble,
            documents=documents,
            outputs=outputs_of_models(outputs, ensemble),
            request_id=call.request_id,
            deadline=deadline.moment,
            seconds=deadline.seconds,
            caller=call.caller,
        )
        call.model = ensemble.name
        answer = await self.scoring.score(request)
        call.queue_seconds = max(call.queue_seconds, answer.queue_seconds)
        call.model_seconds = max(call.model_seconds, answer.model_seconds)
        call.stages += answer.stages
        return answer

    def broke(self, call: Call) -> None:
        """Log a fault of the gateway itself, from within its ``except``."""
        logger.exception("request %s to %s failed in the gateway", call.request_id, call.route)

    def ended(self, call: Call) -> None:
        """Tell those who look on."""
        call.seconds = monotonic() - call.started
        self.statistics.take(call)
        for watcher in self.watchers:
            watcher(call)
