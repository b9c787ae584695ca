"""tritonclient's four clients (gRPC or HTTP, blocking or asyncio) behind one face; each imported when asked for."""

import asyncio
import importlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.client import HTTPException
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped, unused-ignore]

from pragmatiq_client.errors import DeadlineExceededError, ServerUnavailableError, from_status

# Messages of any size, and a server that comes back is found within a second (gRPC's own pause grows to minutes).
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Transport(ABC):
    """One tritonclient client; its calls raise ScoringErrors. A blocking one never suspends."""

    package: ClassVar[str]
    client_options: ClassVar[dict[str, Any]]
    config_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, url: str) -> None:
        self._url = url
        self._module = _load(self.package)

    @cached_property
    def client(self) -> Any:
        """Made at the first call, because an asyncio client belongs to the event loop that runs then."""
        return self._module.InferenceServerClient(self._url, **self.client_options)

    def bytes_input(self, name: str, rows: npt.NDArray[np.object_]) -> Any:
        """An input tensor of type BYTES with the shape of ``rows``."""
        tensor = self._module.InferInput(name, list(rows.shape), "BYTES")
        tensor.set_data_from_numpy(rows)
        return tensor

    def requested_output(self, name: str) -> Any:
        """An output that the answer has to hold."""
        return self._module.InferRequestedOutput(name)

    async def config(self, model: str, *, timeout: float) -> dict[str, Any]:
        """The model's config in Triton's JSON form."""
        found = await self.call("get_model_config", model, timeout=timeout, **self.config_options)
        config: dict[str, Any] = found.get("config", found)
        return config

    @abstractmethod
    async def call(self, method: str, *arguments: Any, timeout: float, **options: Any) -> Any:
        """Call the client's ``method``; DeadlineExceededError after ``timeout`` seconds."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Wait before a retry."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""


class _Blocking(Transport):
    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def close(self) -> None:
        client = self.__dict__.pop("client", None)
        if client is not None:
            client.close()


class _Asyncio(Transport):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        client = self.__dict__.pop("client", None)
        if client is not None:
            await client.close()


class Grpc(_Blocking):
    package = "tritonclient.grpc"
    client_options: ClassVar = {"channel_args": _CHANNEL}
    config_options: ClassVar = {"as_json": True}

    async def call(self, method: str, *arguments: Any, timeout: float, **options: Any) -> Any:
        with _scoring_errors():
            return getattr(self.client, method)(*arguments, client_timeout=timeout, **options)


class AioGrpc(_Asyncio):
    package = "tritonclient.grpc.aio"
    client_options: ClassVar = {"channel_args": _CHANNEL}
    config_options: ClassVar = {"as_json": True}

    async def call(self, method: str, *arguments: Any, timeout: float, **options: Any) -> Any:
        with _scoring_errors():
            return await getattr(self.client, method)(*arguments, client_timeout=timeout, **options)


class Http(_Blocking):
    """Its sockets are gevent's, so gevent's timer bounds the whole call, not each read."""

    package = "tritonclient.http"
    client_options: ClassVar = {"connection_timeout": None, "network_timeout": None}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._gevent = importlib.import_module("gevent")

    async def call(self, method: str, *arguments: Any, timeout: float, **options: Any) -> Any:
        timer = self._gevent.Timeout(timeout)
        try:
            with _scoring_errors(OSError, HTTPException), timer:
                return getattr(self.client, method)(*arguments, **options)
        except self._gevent.Timeout as expired:
            if expired is not timer:
                raise
            await self.close()  # the answer may still arrive on that connection
            raise DeadlineExceededError(f"no answer within {timeout:g} s") from None


class AioHttp(_Asyncio):
    package = "tritonclient.http.aio"
    client_options: ClassVar = {"conn_timeout": None}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._connection_error = importlib.import_module("aiohttp").ClientError

    async def call(self, method: str, *arguments: Any, timeout: float, **options: Any) -> Any:
        try:
            async with asyncio.timeout(timeout):
                with _scoring_errors(OSError, self._connection_error):
                    return await getattr(self.client, method)(*arguments, **options)
        except TimeoutError as error:
            raise DeadlineExceededError(f"no answer within {timeout:g} s") from error


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # tritonclient turns a missing package into a RuntimeError
        extra = package.split(".")[1]
        raise ImportError(f'protocol "{extra}" needs more packages: pip install "tritonclient[{extra}]"') from error


@contextmanager
def _scoring_errors(*connection_errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except InferenceServerException as error:
        raise from_status(error.status(), error.message()) from error
    except connection_errors as error:
        raise ServerUnavailableError(f"{type(error).__name__}: {error}") from error
