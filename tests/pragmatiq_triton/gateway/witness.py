"""Stands between the gateway and Triton and looks whether every message that the gateway sends is as it should be."""

import json
import re
import socket
import struct
import threading
from contextlib import suppress

LINE = re.compile(rb"(?:POST /v2/models/[A-Za-z0-9_.-]+(?:/versions/1)?/infer) HTTP/1\.1")
OUTPUTS = {"scores", "embedding"}
PARAMETERS = {"deadline", "ticket", "canary"}


class Witness:
    """Listens on ``address``, passes on to Triton at ``to``; ``problems`` are what was wrong with messages."""

    def __init__(self, to: str) -> None:
        host, _, port = to.partition(":")
        self._to = (host, int(port))
        self.problems: list[str] = []
        self.seen = 0
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                triton = socket.create_connection(self._to)
                threading.Thread(target=self._watch, args=(caller, triton), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(triton, caller), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _watch(self, caller: socket.socket, triton: socket.socket) -> None:
        waiting = b""
        with suppress(OSError):
            while data := caller.recv(1 << 16):
                triton.sendall(data)
                waiting = self._read(waiting + data)
        with suppress(OSError):
            triton.shutdown(socket.SHUT_RDWR)

    def _read(self, data: bytes) -> bytes:
        """Look at whole messages and keep the rest."""
        while True:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                return data
            lines = head.split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
            size = int(headers[b"content-length"])
            if len(rest) < size:
                return data
            self.seen += 1
            try:
                check(lines[0], headers, rest[:size])
            except Exception as error:
                self.problems.append(f"{error!r}: {data[:200]!r}")
            data = rest[size:]


def check(line: bytes, headers: dict[bytes, bytes], body: bytes) -> None:
    assert LINE.fullmatch(line), line
    assert set(headers) <= {b"host", b"content-length", b"inference-header-content-length", b"content-type"}, headers
    size = int(headers[b"inference-header-content-length"])
    head, binary = json.loads(body[:size]), body[size:]
    assert set(head) <= {"id", "inputs", "outputs", "parameters"}, head
    assert set(head["parameters"]) <= PARAMETERS
    [tensor] = head["inputs"]
    assert (tensor["name"], tensor["datatype"]) == ("record", "BYTES")
    n_users, width = tensor["shape"]
    assert width == 1
    assert 1 <= n_users <= 64
    assert tensor["parameters"] == {"binary_data_size": len(binary)}
    at = n_documents = 0
    while at < len(binary):
        at += 4 + struct.unpack_from("<I", binary, at)[0]
        n_documents += 1
    assert (at, n_documents) == (len(binary), n_users)
    assert {output["name"] for output in head["outputs"]} <= OUTPUTS
    assert all(output["parameters"] == {"binary_data": True} for output in head["outputs"]), head["outputs"]
