"""Health checks' requests (:mod:`pragmatiq_triton.probe`), which are answered as any other but counted apart.

Of our own metrics a canary moves ``pragmatiq_requests_total{outcome="canary"}`` alone, because it brings no events;
the events of one that did would be counted. Triton's ``nv_inference_*`` count canaries among all requests.
"""

import json
from typing import Any

from pragmatiq_triton.probe import CANARY


def is_canary(request: Any) -> bool:
    """Whether the parameters of Triton's ``request`` say ``"canary": true``; all else that may be there is ignored."""
    try:
        parameters = request.parameters()
        return CANARY in parameters and json.loads(parameters).get(CANARY) is True
    except (ValueError, AttributeError, RecursionError):
        # Triton hands on what a caller sent over HTTP, UTF-8 or not.
        return False
