"""``pragmatiq serve``: one embedded server from its start to its end, as signals ask for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pragmatiq_triton.embedded import TritonServer, find_server_environment
from pragmatiq_triton.embedded.log import end_of
from pragmatiq_triton.embedded.watch import watch
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.stop_signals import StopSignals
from pragmatiq_triton.verification import verify

SKIP = "--skip-verification"
_STOP_SECONDS = 30.0


class Serving:
    """A server that is started once and ends once; it lives from :meth:`start` to :meth:`until_the_end`.

    ``say`` is given what the operator has to know; ``verified`` False serves a repository whatever its manifest says;
    ``settings`` are :class:`TritonServer`'s.
    """

    def __init__(
        self,
        repository: Path,
        signals: StopSignals,
        *,
        say: Callable[[str], None],
        server_env: Path | None = None,
        verified: bool = True,
        **settings: Any,
    ) -> None:
        self._signals = signals
        self._say = say
        self._verified = verified
        environment = find_server_environment(server_env)
        self._server = TritonServer(repository, environment=environment, open_apis=(), **settings)

    def start(self) -> dict[str, str]:
        """The URLs of the server once it is ready; none where it is to stop before.

        :class:`ArtifactError` where the repository is not what its manifest says, if that is to be verified.
        """
        if self._verified:
            found = verify(self._server.repository, SKIP, say=self._say, stopping=self._signals.is_asked)
            for line in found.lines() if found else []:
                self._say(line)
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
        self._say(f"ready; stop with Ctrl-C; the server's log: {self._server.log_path}")
        return {"http": self._server.http_url, "grpc": self._server.grpc_url, "metrics": self._server.metrics_url}

    def until_the_end(self) -> bool:
        """Wait until the server is asked to stop, and stop it; False where it was asked to do so at once.

        :class:`ServerError` where it ended by itself, or has to be given up.
        """
        try:
            code = watch(self._server, self._signals.is_asked) if not self._signals.asked else None
            if code is not None:
                words = f"; its last words:\n{self._server.last_words}" if self._server.last_words else ""
                raise ServerError(f"the server ended by itself with {end_of(code)}{words}")
            self._say("stopping: requests under way are finished; once more ends it at once")
        finally:
            by_itself = self._server.stop(_STOP_SECONDS, self._signals.is_at_once)
        if self._signals.at_once:
            self._say("ended at once: requests under way were given up")
            return False
        if not by_itself:
            raise ServerError(f"the server did not stop within {_STOP_SECONDS:g} s and was killed")
        return True
