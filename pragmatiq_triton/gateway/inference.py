"""What a caller asks for, and what it gets, whatever the protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from pragmatiq_triton.gateway.identity import Ensemble
from pragmatiq_triton.gateway.triton.messages import Output
from pragmatiq_triton.stage_times import StageTime


@dataclass(slots=True)
class InferenceRequest:
    """Records, each a JSON document in UTF-8, for one ensemble.

    ``request_id`` is the caller's, or ours. ``deadline`` is the moment (``time.monotonic()``) after which nobody waits
    for the answer, ``seconds`` after its call began. ``caller`` is the name that limits and log know the caller by.
    """

    ensemble: Ensemble
    documents: Sequence[bytes]
    outputs: tuple[str, ...]
    request_id: str
    deadline: float
    seconds: float
    caller: str = "anonymous"
    started: float = field(default_factory=monotonic)

    @property
    def n_bytes(self) -> int:
        """What the records take."""
        return sum(map(len, self.documents))


@dataclass(slots=True)
class InferenceAnswer:
    """The outputs that were asked of the models, by name: FP32 [users, width]; and how long it took, in seconds.

    ``stages`` are the models' own times.
    """

    request: InferenceRequest
    outputs: Mapping[str, Output]
    queue_seconds: float = 0.0
    model_seconds: float = 0.0
    stages: Sequence[StageTime] = ()
