"""gRPC, blocking and asyncio, through tritonclient."""

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped, unused-ignore]

from pragmatiq_client.address import TLS, Address
from pragmatiq_client.causes import from_status
from pragmatiq_client.errors import DeadlineExceededError, ProtocolError, ScoringError, ServerUnavailableError
from pragmatiq_client.transport import Asyncio, Blocking, PerLoop, Shared, Transport
from pragmatiq_client.wire import Request, Tensors

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within a second (gRPC's own pause grows to minutes).
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A new channel is a new connection, not the old one found again.
    ("grpc.use_local_subchannel_pool", 1),
    # A call on a connection that went dark notices. Triton hangs up on callers that ping more often than it was told to
    # allow: our servers take one ping in 5 s, others cut a call of two minutes off.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


_CUT_OFF = re.compile(r"Socket closed|reset by peer|recvmsg|Unwrap failed|End of TCP stream|handshake", re.IGNORECASE)


class _Grpc(Transport):
    package: str

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        super().__init__(address, tls, use_proxy)
        self._module = _load(self.package)
        self._options = [*_OPTIONS, ("grpc.enable_http_proxy", int(self.proxy is not None))]
        self._credentials: Any = None
        if self.tls is not None:
            self.tls.context()  # names a file that is not as it should be, which gRPC does not
            key, chain = self.tls.identity()
            grpc = importlib.import_module("grpc")
            self._credentials = grpc.ssl_channel_credentials(self.tls.authorities(), key, chain)
            if self.tls.server_name is not None:
                self._options.append(("grpc.ssl_target_name_override", self.tls.server_name))

    def _connect(self) -> Any:
        return self._module.InferenceServerClient(
            self.address.netloc, creds=self._credentials, channel_args=self._options
        )

    def _inference(self, request: Request) -> dict[str, Any]:
        """The arguments of tritonclient's ``infer``."""
        rows = np.empty((len(request.documents), 1), np.object_)
        rows[:, 0] = request.documents
        tensor = self._module.InferInput("record", list(rows.shape), "BYTES")
        tensor.set_data_from_numpy(rows)
        return {
            "model_name": request.model,
            "inputs": [tensor],
            "request_id": request.request_id,
            # tritonclient adds to the headers that it is given.
            "headers": dict(request.headers),
        }

    @contextmanager
    def _scoring_errors(self, timeout: float) -> Iterator[None]:
        try:
            yield
            self.answered = True
        except InferenceServerException as error:
            raise self._explained(from_status(error.status(), error.message() or ""), timeout) from error

    def _explained(self, error: ScoringError, timeout: float) -> ScoringError:
        if isinstance(error, DeadlineExceededError) and error.text == "Deadline Exceeded":
            return DeadlineExceededError(f"no answer within {timeout:g} s")
        if not isinstance(error, ServerUnavailableError) or error.likely_cause:
            return error
        connecting = "failed to connect to all addresses" in error.text
        if connecting and _CUT_OFF.search(error.text):
            return self.unavailable(error.text, self.cut_off_cause)
        if connecting and "Connection refused" in error.text:
            return self.unavailable(error.text, "no server listens there (yet)")
        if "DNS resolution failed" in error.text or "Name resolution" in error.text:
            return self.unavailable(error.text, f"the name {self.address.host!r} is not known here")
        return self.unavailable(error.text) if connecting or self.proxy else error


class Grpc(_Grpc, Blocking):
    """One channel for all threads."""

    package = "tritonclient.grpc"

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        super().__init__(address, tls, use_proxy)
        self._channel: Shared[Any] = Shared(self._connect)

    async def infer(self, request: Request, timeout: float) -> Tensors:
        return _checked(self._call("infer", timeout, **self._inference(request)), request)

    async def is_ready(self, model: str | None, headers: Mapping[str, str], timeout: float) -> bool:
        method, arguments = ("is_server_ready", ()) if model is None else ("is_model_ready", (model,))
        return bool(self._call(method, timeout, *arguments, headers=dict(headers)))

    async def config(self, model: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        return _config(self._call("get_model_config", timeout, model, headers=dict(headers), as_json=True))

    async def close(self) -> None:
        _close(self._channel.retire())

    def _call(self, method: str, timeout: float, *arguments: Any, **options: Any) -> Any:
        lease = self._channel.take()
        try:
            with self._scoring_errors(timeout):
                return getattr(lease.connection, method)(*arguments, client_timeout=timeout, **options)
        except DeadlineExceededError:
            # The server may be slow, or the connection dark: the next call does not wait to learn which.
            _close(self._channel.retire(lease))
            raise
        finally:
            _close(self._channel.give_back(lease))


class AioGrpc(_Grpc, Asyncio):
    """One channel for all tasks of an event loop."""

    package = "tritonclient.grpc.aio"

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        super().__init__(address, tls, use_proxy)
        self._channels: PerLoop[Any] = PerLoop(self._connect)

    async def infer(self, request: Request, timeout: float) -> Tensors:
        return _checked(await self._call("infer", timeout, **self._inference(request)), request)

    async def is_ready(self, model: str | None, headers: Mapping[str, str], timeout: float) -> bool:
        method, arguments = ("is_server_ready", ()) if model is None else ("is_model_ready", (model,))
        return bool(await self._call(method, timeout, *arguments, headers=dict(headers)))

    async def config(self, model: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        return _config(await self._call("get_model_config", timeout, model, headers=dict(headers), as_json=True))

    async def close(self) -> None:
        await _aclose(self._channels.here().retire())

    async def _call(self, method: str, timeout: float, *arguments: Any, **options: Any) -> Any:
        channel = self._channels.here()
        lease = channel.take()
        try:
            with self._scoring_errors(timeout):
                return await getattr(lease.connection, method)(*arguments, client_timeout=timeout, **options)
        except DeadlineExceededError:
            await _aclose(channel.retire(lease))
            raise
        finally:
            await _aclose(channel.give_back(lease))


def _checked(result: Any, request: Request) -> Tensors:
    answered = result.get_response().id
    if answered and answered != request.request_id:
        raise ProtocolError(f"the answer is another request's ({answered})")
    tensors: Tensors = result
    return tensors


def _config(found: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = found.get("config", found)
    return config


def _close(client: Any) -> None:
    if client is not None:
        client.close()


async def _aclose(client: Any) -> None:
    if client is not None:
        await client.close()


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # tritonclient turns a missing package into a RuntimeError
        raise ImportError('protocol "grpc" needs more packages: pip install "tritonclient[grpc]"') from error
