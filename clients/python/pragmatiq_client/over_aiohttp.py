"""HTTP for asyncio, through aiohttp."""

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any

from pragmatiq_client.address import TLS, Address
from pragmatiq_client.errors import DeadlineExceededError, ProtocolError
from pragmatiq_client.kserve import (
    HttpAnswer,
    config_path,
    infer_body,
    infer_path,
    read_config,
    read_infer,
    read_ready,
    ready_path,
)
from pragmatiq_client.over_http import NOT_HTTP, HttpTransport
from pragmatiq_client.transport import Asyncio, PerLoop
from pragmatiq_client.wire import Request, Tensors


class AioHttp(HttpTransport, Asyncio):
    """One session for all tasks of an event loop, with as many connections as it has calls."""

    def __init__(self, address: Address, tls: TLS | None, use_proxy: bool) -> None:
        super().__init__(address, tls, use_proxy)
        try:
            self._aiohttp = importlib.import_module("aiohttp")
        except ImportError as error:
            raise ImportError(
                'AsyncScoringClient with protocol "http" needs one more package: pip install aiohttp'
            ) from error
        self._sessions: PerLoop[Any] = PerLoop(self._open)
        self._options: dict[str, Any] = {"allow_redirects": False}
        if self.proxy is not None:
            self._options["proxy"] = self.proxy.url if "://" in self.proxy.url else f"http://{self.proxy.url}"
        if self.tls is not None:
            self._options |= {"ssl": self.context, "server_hostname": self.tls.server_name}
        self._base = f"http{'s' if address.secure else ''}://{address.netloc}{address.path}"

    async def infer(self, request: Request, timeout: float) -> Tensors:
        body, headers = infer_body(request)
        answer = await self._send("POST", infer_path(request.model), {**request.headers, **headers}, body, timeout)
        return read_infer(answer, request)

    async def is_ready(self, model: str | None, headers: Mapping[str, str], timeout: float) -> bool:
        return read_ready(await self._send("GET", ready_path(model), headers, None, timeout))

    async def config(self, model: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
        return read_config(await self._send("GET", config_path(model), headers, None, timeout))

    async def close(self) -> None:
        await _close(self._sessions.here().retire())

    def _open(self) -> Any:
        return self._aiohttp.ClientSession(
            connector=self._aiohttp.TCPConnector(limit=0),
            timeout=self._aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            cookie_jar=self._aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"accept-encoding": "identity"},
        )

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, timeout: float
    ) -> HttpAnswer:
        session = self._sessions.here()
        lease = session.take()
        try:
            async with asyncio.timeout(timeout):
                sent = lease.connection.request(
                    method, self._url(path), data=body, headers=dict(headers), **self._options
                )
                async with sent as response:
                    found = {name.lower(): value for name, value in response.headers.items()}
                    answer = HttpAnswer(response.status, found, await response.read())
            self.answered = True
            return answer
        except TimeoutError as error:
            # The other connections of the session may have gone dark with this one.
            await _close(session.retire(lease))
            raise DeadlineExceededError(f"no answer within {timeout:g} s") from error
        except self._aiohttp.ClientHttpProxyError as error:
            raise self.unavailable(f"HTTP {error.status} from a proxy: {error.message}") from error
        except self._aiohttp.ClientResponseError as error:
            text = f"expected an HTTP answer: {error.message}"
            raise ProtocolError(" ".join(text.split())[:200], likely_cause=NOT_HTTP) from error
        except (OSError, self._aiohttp.ClientError) as error:
            raise self.failed(error) from error
        finally:
            await _close(session.give_back(lease))

    def _url(self, path: str) -> Any:
        # The path is quoted already.
        return importlib.import_module("yarl").URL(self._base + path, encoded=True)


async def _close(session: Any) -> None:
    if session is not None:
        await session.close()
