"""What whoever started the gateway may ask of it: how the models are, and on which ports it listens.

Over a pair of sockets that both hold: neither ports nor keys nor certificates stand between the two, and each sees the
other's end.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import msgspec

from pragmatiq_triton.probe import State, Verdict

QUESTION = b"?"
MOST_BYTES = 1 << 20


class Report(msgspec.Struct, frozen=True):
    """An answer: ``ports`` of HTTP, gRPC and metrics; ``rounds`` of canaries so far, and what the last one said."""

    ports: tuple[int, int, int]
    rounds: int
    verdicts: tuple[Verdict, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether every ensemble answered its last canary."""
        return all(verdict.state is State.HEALTHY for verdict in self.verdicts)


def answer_owner(descriptor: int, report: Callable[[], Report], gone: Callable[[], None]) -> None:
    """Answer each question with a ``report``, and call ``gone`` once the owner has ended."""
    loop = asyncio.get_running_loop()
    link = socket.socket(fileno=descriptor)
    link.setblocking(False)

    def asked() -> None:
        try:
            question = link.recv(len(QUESTION))
        except BlockingIOError:
            return
        except OSError:
            question = b""
        if not question:
            loop.remove_reader(link)
            gone()
            return
        with suppress(OSError):
            link.send(msgspec.json.encode(report()))

    loop.add_reader(link, asked)
