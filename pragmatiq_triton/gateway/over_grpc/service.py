"""The gRPC service: ``inference.GRPCInferenceService`` for the ensembles alone, and gRPC's own health check."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from pragmatiq_triton.gateway import facts
from pragmatiq_triton.gateway.call import Call, request_id
from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.errors import ModelError, RequestError, SlowCallerError
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.over_grpc.bounds import check_bounds, check_small
from pragmatiq_triton.gateway.over_grpc.messages import parse, read_inference, write_answer
from pragmatiq_triton.gateway.over_http.rest import version
from pragmatiq_triton.gateway.tls import names_in
from pragmatiq_triton.probe import SERVER

_SERVICE = "/inference.GRPCInferenceService/"
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse(status=SERVING)
_NOT_SERVING = b"\x08\x02"

_ASKED_BY_ANYBODY = ("ServerLive", "ServerReady", "Health/Check")
"""Whoever restarts a server need not be a caller. What they send says nothing, and is not read."""

Handler = Callable[[Call, bytes, Any, dict[str, Any]], Awaitable[bytes]]


def server_options(limits: Limits) -> list[tuple[str, int]]:
    """Bounds on connections and messages.

    Compressed messages are refused (UNIMPLEMENTED): gRPC inflates them without a bound, 64 MB to tens of gigabytes.
    """
    return [
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.max_header_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_header_bytes),
        ("grpc.max_concurrent_streams", 1024),
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_connection_idle_ms", int(limits.idle_seconds * 1000)),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", int(limits.header_seconds * 1000)),
    ]


class InferenceService(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers the methods that exist; all others are UNIMPLEMENTED."""

    def __init__(self, door: Door) -> None:
        self._door = door
        handlers: dict[str, Handler] = {
            "ModelInfer": self._infer,
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
        }
        self._methods = {_SERVICE + name: self._method(name, handler) for name, handler in handlers.items()}
        self._methods[_HEALTH] = self._method("Health/Check", self._check)

    def service(self, details: Any) -> Any:
        """The handler of a method, if there is one."""
        return self._methods.get(details.method)

    def _method(self, name: str, handler: Handler) -> Any:
        """A gRPC handler of bytes: who calls, what it sends, the handler, its answer or error, and who looks on.

        To gRPC a call's one message is a stream, because of a stream nothing is taken in but its window (64 KiB) until
        it is read: callers without a key cannot fill the memory.
        """
        door = self._door

        async def answer(messages: AsyncIterator[bytes], context: Any) -> bytes:
            metadata = dict(context.invocation_metadata())
            call = Call("grpc", name, request_id(metadata.get("x-request-id")))
            # As `ipv4:127.0.0.1:4711`.
            call.address = context.peer().partition(":")[2].rpartition(":")[0]
            call.traceparent = metadata.get("traceparent")
            body = b""
            try:
                if name not in _ASKED_BY_ANYBODY:
                    door.admit(call, metadata, names_in(context.auth_context()))
                    body = await _message(messages, door.limits.body_seconds)
                    call.received_bytes = len(body)
                if name != "ModelInfer":
                    check_small(body)
                answer = await handler(call, body, context, metadata)
            except asyncio.CancelledError:
                call.status, call.code = 499, "gone"
                door.ended(call)
                raise
            except RequestError as error:
                failure = error
            except Exception:
                failure = ModelError(f"the request failed here; its id is {call.request_id}")
                door.broke(call)
            else:
                call.sent_bytes = len(answer)
                context.set_trailing_metadata((("x-request-id", call.request_id), *door.identity_for(call)))
                door.ended(call)
                return answer
            call.failed(failure)
            door.ended(call)
            trailing = [("x-request-id", call.request_id), *door.identity_for(call)]
            if failure.retry_after is not None:
                trailing.append(("retry-after-ms", str(int(1000 * failure.retry_after))))
            context.set_trailing_metadata(tuple(trailing))
            context.set_code(getattr(grpc.StatusCode, failure.grpc_status))
            context.set_details(str(failure))
            return b""

        return grpc.stream_unary_rpc_method_handler(answer)

    async def _infer(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        check_bounds(body)
        request = parse(pb.ModelInferRequest, body)
        ensemble = self._door.ensemble(request.model_name, request.model_version)
        inference = read_inference(request)
        if inference.id and "x-request-id" not in metadata:
            call.request_id = request_id(inference.id)
        waits = [context.time_remaining(), inference.timeout and inference.timeout / 1e6]
        timeout = min((each for each in waits if each is not None), default=None)
        answer = await self._door.score(call, ensemble, inference.documents, inference.outputs, timeout)
        return write_answer(answer, inference, self._door.identity.parameters)

    async def _live(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        return _bytes(pb.ServerLiveResponse(live=self._door.health.is_alive))

    async def _ready(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        return _bytes(pb.ServerReadyResponse(ready=self._is_ready()))

    async def _model_ready(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        request = parse(pb.ModelReadyRequest, body)
        name = self._door.ensemble(request.name, request.version).name
        ready = self._door.health.is_model_ready(name) and not self._door.scoring.is_stopping
        return _bytes(pb.ModelReadyResponse(ready=ready))

    async def _server_metadata(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        return _bytes(pb.ServerMetadataResponse(name=SERVER, version=version(), extensions=facts.EXTENSIONS))

    async def _model_metadata(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        request = parse(pb.ModelMetadataRequest, body)
        found = facts.metadata(self._door.ensemble(request.name, request.version), self._door.identity)
        return _bytes(pb.ModelMetadataResponse(**found))

    async def _model_config(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        request = parse(pb.ModelConfigRequest, body)
        found = facts.config(self._door.ensemble(request.name, request.version), self._door.identity)
        return _bytes(pb.ModelConfigResponse(config=model_config_pb2.ModelConfig(**found)))

    async def _model_statistics(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        request = parse(pb.ModelStatisticsRequest, body)
        names = (
            [self._door.ensemble(request.name, request.version).name] if request.name else self._door.identity.ensembles
        )
        response = pb.ModelStatisticsResponse()
        for name in names:
            ParseDict(self._door.statistics.described(name), response.model_stats.add())
        return _bytes(response)

    async def _check(self, call: Call, body: bytes, context: Any, metadata: dict[str, Any]) -> bytes:
        return _SERVING if self._is_ready() else _NOT_SERVING

    def _is_ready(self) -> bool:
        return self._door.health.is_ready and not self._door.scoring.is_stopping


async def _message(messages: AsyncIterator[bytes], seconds: float) -> bytes:
    """The first message of a call, and empty bytes without one; :class:`SlowCallerError` if it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await anext(messages, b"")
    except TimeoutError:
        raise SlowCallerError from None


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())
