"""The four clients as one, so that each test runs on all of them."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from pragmatiq_client import AsyncScoringClient, ScoringClient
from pragmatiq_triton.server import TritonServer


class Client:
    """A client whose calls block, whichever kind it is, so each test runs on all four."""

    def __init__(self, kind: type[ScoringClient | AsyncScoringClient], protocol: str) -> None:
        self.kind, self.protocol = kind, protocol
        self.loop = asyncio.new_event_loop()
        self.opened: list[ScoringClient | AsyncScoringClient] = []

    def connect(self, server: TritonServer | str, **options: Any) -> "Client":
        if isinstance(server, TritonServer):
            server = server.grpc_url if self.protocol == "grpc" else server.http_url
        self.opened.append(self.kind(server, **{"protocol": self.protocol, **options}))
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._finish(getattr(self.opened[-1], name)(*arguments, **options))

    def _finish(self, result: Any) -> Any:
        return self.loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def close_all(self) -> None:
        for client in self.opened:
            self._finish(client.close())

    def address(self, server: TritonServer) -> str:
        """``host:port`` of the server's service for this client's protocol."""
        return server.grpc_url if self.protocol == "grpc" else server.http_url
