"""What a request says beside its tensors: whether it is a health check, and how long somebody waits for its answer.

Of our own metrics a canary (:mod:`pragmatiq_triton.probe`) moves ``pragmatiq_requests_total{outcome="canary"}`` alone,
because it brings no events; the events of one that did would be counted. Triton's ``nv_inference_*`` count canaries
among all requests.
"""

import json
import math
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pragmatiq_triton.errors import GivenUpError
from pragmatiq_triton.given_up import DEADLINE_PASSED, GivenUp
from pragmatiq_triton.probe import CANARY

_NOBODY = GivenUp(None)
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one request; ``deadline`` is a moment of ``time.monotonic()``, ``ticket`` its number on ``given_up``."""

    is_canary: bool = False
    ticket: int = 0
    deadline: float = math.inf
    given_up: GivenUp = _NOBODY

    def ended(self) -> GivenUpError | None:
        """Why nobody waits for the answer any more; None while somebody does."""
        if self.ticket in self.given_up:
            return GivenUpError("the caller has given up")
        if monotonic() >= self.deadline:
            return GivenUpError(DEADLINE_PASSED)
        return None


WAITED_FOR = Terms()
"""A request whose answer somebody waits for, however long it takes."""


def read_terms(request: Any, given_up: GivenUp) -> Terms:
    """What the parameters of Triton's ``request`` say; all else that may be there is ignored."""
    try:
        found = json.loads(request.parameters())
        ticket, deadline = found.get("ticket"), found.get("deadline")
        return Terms(
            is_canary=found.get(CANARY) is True,
            ticket=ticket if type(ticket) is int and 0 < ticket < _LARGEST else 0,
            deadline=deadline / 1e6 if type(deadline) is int and 0 < deadline < _LARGEST else math.inf,
            given_up=given_up,
        )
    except (ValueError, AttributeError, RecursionError):
        # Triton hands on what a caller sent over HTTP, UTF-8 or not.
        return WAITED_FOR
