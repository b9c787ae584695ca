"""Whether the models answer: a canary goes through every ensemble, again and again."""

import asyncio
from collections.abc import Iterable
from time import monotonic

from pragmatiq_triton.gateway.errors import RequestError, UnavailableError
from pragmatiq_triton.gateway.identity import Ensemble
from pragmatiq_triton.gateway.triton.messages import EMBEDDING, infer_request, read_infer
from pragmatiq_triton.gateway.triton.pool import Pool

PERIOD_SECONDS = 2.0
ANSWER_SECONDS = 30.0
_CANARY = b'{"events": []}'


class Health:
    """What the last canaries said; ready means that every ensemble answered its last one.

    A model's dead process stays ready in Triton for good. A slow answer is no death: an ensemble stays ready while its
    canary is under way, up to ``ANSWER_SECONDS``.
    """

    def __init__(self, pool: Pool, ensembles: Iterable[Ensemble]) -> None:
        self._pool = pool
        self._ensembles = tuple(ensembles)
        self.problems: dict[str, str] = {each.name: "no canary has come back yet" for each in self._ensembles}

    @property
    def is_ready(self) -> bool:
        """Whether every ensemble answers."""
        return not self.problems

    def is_model_ready(self, name: str) -> bool:
        """Whether this ensemble answers."""
        return name not in self.problems

    async def watch(self) -> None:
        """Send canaries until cancelled."""
        while True:
            await asyncio.gather(*(self._ask(each) for each in self._ensembles))
            await asyncio.sleep(PERIOD_SECONDS)

    async def _ask(self, ensemble: Ensemble) -> None:
        deadline = monotonic() + ANSWER_SECONDS
        parameters = {"canary": True, "deadline": int(deadline * 1e6)}
        message = infer_request(ensemble.name, [_CANARY], [EMBEDDING], parameters)
        try:
            read_infer(await self._pool.ask(message, deadline))
        except TimeoutError:
            self.problems[ensemble.name] = f"no answer in {ANSWER_SECONDS:g} s"
        except ConnectionError:
            self.problems[ensemble.name] = "Triton cannot be reached"
        except (RequestError, UnavailableError) as error:
            self.problems[ensemble.name] = str(error)
        else:
            self.problems.pop(ensemble.name, None)
