"""What may stand between client and server: a proxy that adds TLS or goes dark, and a server that answers oddly."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress


class Forwarder:
    """Forwards TCP connections to ``target`` (``host:port``), ending TLS where a context is given."""

    def __init__(self, target: str, context: ssl.SSLContext | None = None) -> None:
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.context = context
        self.accepted = 0
        self._dark = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def go_dark(self) -> None:
        """Connections that are open now swallow what they get, without a FIN; new ones work."""
        self._dark.set()
        self._dark = threading.Event()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(near, self._dark), daemon=True).start()

    def _serve(self, near: socket.socket, dark: threading.Event) -> None:
        self._sockets.append(near)
        if self.context is not None:
            try:
                near = self.context.wrap_socket(near, server_side=True)
            except OSError:
                near.close()
                return
        far = socket.create_connection(self.target)
        self._sockets += [near, far]
        for here, there in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(here, there, dark), daemon=True).start()

    def _pump(self, here: socket.socket, there: socket.socket, dark: threading.Event) -> None:
        with suppress(OSError):
            while data := here.recv(1 << 16):
                if not dark.is_set():
                    there.sendall(data)
        if not dark.is_set():
            for end in (here, there):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()
        for each in self._sockets:
            with suppress(OSError):
                each.close()


@contextmanager
def forwarding(target: str, context: ssl.SSLContext | None = None) -> Iterator[Forwarder]:
    forwarder = Forwarder(target, context)
    try:
        yield forwarder
    finally:
        forwarder.close()


def read_request(connection: socket.socket) -> bytes:
    """One HTTP request, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(1 << 16)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@contextmanager
def answering(answer: Callable[[bytes], bytes | Iterable[bytes]]) -> Iterator[str]:
    """The address of a server that answers one request per connection, at once or part by part."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            made = answer(read_request(connection))
            for part in [made] if isinstance(made, bytes) else made:
                connection.sendall(part)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.close()


def http_answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; underscores in header names are hyphens."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""])
    return head.encode("latin-1") + body
