"""``pragmatiq serve``: one embedded server from its start to its end, as signals ask for it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pragmatiq_builder.state_folder import state_folder
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.exposure import require_direct_exposure
from pragmatiq_triton.gateway.policy import describe_callers, read_policy
from pragmatiq_triton.gateway.seen.settings import OFF
from pragmatiq_triton.model_folders import passed_over
from pragmatiq_triton.operator_settings import (
    GATEWAY_SECTION,
    changed,
    lines,
    read_model_settings,
    read_settings_file,
    unread_variables,
)
from pragmatiq_triton.server import ScoringServer, TritonServer, find_server_environment
from pragmatiq_triton.server.gateway_process import GatewayError
from pragmatiq_triton.server.log import end_of
from pragmatiq_triton.server.watch import watch
from pragmatiq_triton.stop_signals import StopSignals
from pragmatiq_triton.verification import verify

SKIP = "--skip-verification"
NO_GATEWAY = "--no-gateway"


class Serving:
    """A server that is started once and ends once; it lives from :meth:`start` to :meth:`until_the_end`.

    ``say`` is given what the operator has to know; ``verified`` False serves a repository whatever its manifest says;
    ``gateway`` False has callers reach Triton itself; ``settings_file`` is an operator's; ``settings`` are
    :class:`ScoringServer`'s, or without a gateway :class:`TritonServer`'s.
    """

    def __init__(
        self,
        repository: Path,
        signals: StopSignals,
        *,
        say: Callable[[str], None],
        host: str = "127.0.0.1",
        server_env: Path | None = None,
        verified: bool = True,
        gateway: bool = True,
        settings_file: Path | None = None,
        http_port: int = 8000,
        log_file: Path | None = None,
        **settings: Any,
    ) -> None:
        self._signals = signals
        self._say = say
        self._verified = verified
        environment = find_server_environment(server_env)
        # A server on any free port has no name by which its logs could be found again.
        folder = state_folder() if http_port else None
        if log_file is None and folder:
            log_file = folder / f"server-{http_port}.log"
        self._access_log = OFF
        parts = read_settings_file(settings_file)
        of_models = read_model_settings(repository, parts, os.environ, str(settings_file))
        others = [f"passed over in the repository: {name}" for name in passed_over(repository)]
        self._of_operator = [*others, *lines(of_models), *unread_variables(of_models, os.environ)]
        if gateway:
            file = str(folder / f"access-{http_port}.jsonl") if folder else OFF
            section = parts.get(GATEWAY_SECTION)
            policy = read_policy(section, os.environ, str(settings_file)).with_access_log(file)
            self._access_log = policy.access_log.file
            settings["policy"] = policy
        else:
            require_direct_exposure(host, environment.tritonserver, NO_GATEWAY)
        kind = ScoringServer if gateway else TritonServer
        self._server = kind(
            repository,
            host=host,
            http_port=http_port,
            log_file=log_file,
            environment=environment,
            open_apis=(),
            model_settings=changed(of_models),
            **settings,
        )

    def start(self) -> dict[str, str]:
        """The URLs of the server once it is ready; none where it is to stop before.

        :class:`ArtifactError` where the repository is not what its manifest says, if that is to be verified.
        """
        for line in self._of_operator:
            self._say(line)
        if self._verified:
            found = verify(self._server.repository, SKIP, say=self._say, stopping=self._signals.is_asked)
            if found:
                self._say(str(found))
        else:
            self._say("the repository is served as it is: not verified")
        if self._signals.asked:
            return {}
        self._say("loading models ...")
        try:
            self._server.start(self._signals.is_asked)
        except ServerError:
            if self._signals.asked:
                return {}
            raise
        if isinstance(self._server, ScoringServer):
            self._say(f"callers: {describe_callers(self._server.policy)}; access log: {self._access_log}")
        self._say(f"ready; stop with Ctrl-C; the server's log: {self._server.log_path}")
        return {"http": self._server.http_url, "grpc": self._server.grpc_url, "metrics": self._server.metrics_url}

    def until_the_end(self) -> bool:
        """Wait until the server is asked to stop, and stop it; False where it was asked to do so at once.

        :class:`ServerError` where it ended by itself, has to be given up, or gave up calls that were under way.
        """
        problem: ServerError | None = None
        try:
            if not self._signals.asked:
                self._watch()
            self._say("stopping: calls under way are finished; once more ends it at once")
        except ServerError as error:
            problem = error
        finally:
            in_order = self._server.stop(at_once=self._signals.is_at_once)
        if problem:
            raise ServerError(f"{problem}{self._said_by_gateway(problem)}") from problem
        if self._signals.at_once:
            self._say("ended at once: calls under way were given up")
            return False
        if not in_order:
            raise ServerError("calls under way did not end in time and were given up")
        return True

    def _watch(self) -> None:
        """Return once the server is to stop; :class:`ServerError` where it has ended or has to be given up."""
        try:
            code = watch(self._server, self._signals.is_asked)
        except ServerError as error:
            # The command's last line says it too, but calls under way end first.
            self._say(f"stopping: {error}")
            raise
        if code is not None:
            words = f"; its last words:\n{self._server.last_words}" if self._server.last_words else ""
            raise ServerError(f"Triton ended by itself with {end_of(code)}{words}")

    def _said_by_gateway(self, problem: ServerError) -> str:
        if not isinstance(problem, GatewayError) or not isinstance(self._server, ScoringServer):
            return ""
        return f"; its last words:\n{self._server.gateway_words}" if self._server.gateway_words else ""
