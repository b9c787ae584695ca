"""What the four transports (gRPC or HTTP, blocking or asyncio) have in common."""

import asyncio
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from pragmatiq_client.address import TLS, Address, find_proxy
from pragmatiq_client.errors import ServerUnavailableError
from pragmatiq_client.wire import Request, Tensors

C = TypeVar("C")


class Transport(ABC):
    """The way to one server; its calls raise ScoringErrors. A blocking one never suspends."""

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        self.address = address
        self.tls = (tls or TLS()) if address.secure else None
        self.proxy = find_proxy(address) if use_proxy else None
        self.answered = False
        """Whether this server has ever answered; if so, a connection that ends means a restart, not a wrong port."""

    @abstractmethod
    async def infer(self, request: Request, timeout: float) -> Tensors:
        """Send one inference; DeadlineExceededError after ``timeout`` seconds."""

    @abstractmethod
    async def is_ready(self, model: str | None, headers: Mapping[str, str], timeout: float) -> bool:
        """Whether the server, or one of its models, says that it is ready."""

    @abstractmethod
    async def config(self, model: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        """The model's config in Triton's JSON form."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait before a retry."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""

    def unavailable(self, text: str, cause: str | None = None) -> ServerUnavailableError:
        """The error of a connection that failed; a proxy of the environment is named."""
        return ServerUnavailableError(text, likely_cause=self.proxy.cause if self.proxy else cause)

    @property
    def cut_off_cause(self) -> str | None:
        """Why a server may end a connection without an answer."""
        if self.answered:
            return None
        if self.address.secure:
            return (
                "the server ended the connection before any answer, as a port without TLS does, or one that asks for "
                "another client certificate than tls=TLS(certificate=..., key=...) gave it"
            )
        return (
            f"the server ended the connection before any answer, as a port that expects TLS does ("
            f"{self.address.protocol}s://), or one of another protocol (Triton's are usually 8000 for HTTP, 8001 for "
            "gRPC, 8002 for metrics)"
        )


class Blocking(Transport):
    """Waits by sleeping."""

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Asyncio(Transport):
    """Lets other tasks run while it waits."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Lease(Generic[C]):
    """A connection (or a set of them) and how many calls are using it."""

    def __init__(self, connection: C) -> None:
        self.connection = connection
        self.users = 0
        self.retired = False


class Shared(Generic[C]):
    """One connection for many calls at once, made when it is first needed and replaced once it is retired.

    A retired one takes no new calls and is closed when its last call has ended, so that a call that runs out of time
    does not break those beside it. A forked process makes its own and leaves its parent's alone.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._current: Lease[C] | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._inherited: list[Lease[C] | None] = []

    def take(self) -> Lease[C]:
        """The connection to use; to be given back."""
        if self._pid != os.getpid():
            # The lock may be held by a thread that the fork did not take along.
            self._lock, self._pid = threading.Lock(), os.getpid()
            self._inherited.append(self._current)
            self._current = None
        with self._lock:
            if self._current is None:
                self._current = Lease(self._make())
            self._current.users += 1
            return self._current

    def give_back(self, lease: Lease[C]) -> C | None:
        """End a use; what is returned has to be closed."""
        with self._lock:
            lease.users -= 1
            return lease.connection if lease.retired and lease.users == 0 else None

    def retire(self, lease: Lease[C] | None = None) -> C | None:
        """Take no new calls on this connection, or the current one; what is returned has to be closed."""
        with self._lock:
            lease = lease or self._current
            if lease is None or lease.retired:
                return None
            if lease is self._current:
                self._current = None
            lease.retired = True
            return lease.connection if lease.users == 0 else None


class PerLoop(Generic[C]):
    """A :class:`Shared` for each event loop, because what asyncio opens belongs to the loop that it was opened in."""

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Shared[C]] = weakref.WeakKeyDictionary()

    def here(self) -> Shared[C]:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        return self._shared.setdefault(loop, Shared(self._make))
