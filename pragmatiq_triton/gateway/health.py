"""Whether the models answer: a canary goes through every ensemble, again and again."""

import asyncio
from collections.abc import Iterable
from math import isfinite
from time import monotonic

from pragmatiq_triton.gateway.errors import RequestError
from pragmatiq_triton.gateway.identity import Ensemble
from pragmatiq_triton.gateway.triton.messages import EMBEDDING, infer_request, read_infer
from pragmatiq_triton.gateway.triton.pool import Pool
from pragmatiq_triton.probe import State, Verdict, dead_process

PERIOD_SECONDS = 2.0
ANSWER_SECONDS = 30.0
_CANARY = b'{"events": []}'


class Health:
    """What the last canaries said; ready means that every ensemble answered its last one.

    A model's dead process stays ready in Triton for good; here it is neither ready nor alive. A slow answer is no
    death: an ensemble stays ready while its canary is under way, up to ``ANSWER_SECONDS``.
    """

    def __init__(self, pool: Pool, ensembles: Iterable[Ensemble]) -> None:
        self._pool = pool
        self._ensembles = tuple(ensembles)
        self._dead: set[str] = set()
        self.rounds = 0
        self.verdicts = {
            each.name: Verdict(each.name, 0.0, State.UNREACHABLE, each.name, "no canary has come back yet")
            for each in self._ensembles
        }

    @property
    def problems(self) -> list[Verdict]:
        """What is wrong; the verdicts name the model where it is known."""
        return [each for each in self.verdicts.values() if each.state is not State.HEALTHY]

    @property
    def deaths(self) -> str:
        """Which models' processes have died, and how."""
        return "; ".join(sorted(self._dead))

    @property
    def is_ready(self) -> bool:
        """Whether every ensemble answers."""
        return not self.problems

    @property
    def is_alive(self) -> bool:
        """Whether no model's process is known to be dead; once one is, only a new start of the server helps."""
        return not self._dead

    def is_model_ready(self, name: str) -> bool:
        """Whether this ensemble answers."""
        return self.verdicts[name].state is State.HEALTHY

    async def watch(self) -> None:
        """Send canaries until cancelled."""
        while True:
            await asyncio.gather(*(self._ask(each.name) for each in self._ensembles))
            self.rounds += 1
            await asyncio.sleep(PERIOD_SECONDS)

    async def _ask(self, ensemble: str) -> None:
        began = monotonic()
        state, where, problem = await self._answer(ensemble, began + ANSWER_SECONDS)
        self.verdicts[ensemble] = Verdict(ensemble, 1000 * (monotonic() - began), state, where, problem)
        if state is State.DEAD:
            self._dead.add(f"{where}: {problem}")

    async def _answer(self, ensemble: str, deadline: float) -> tuple[State, str, str]:
        parameters = {"canary": True, "deadline": int(deadline * 1e6)}
        message = infer_request(ensemble, [_CANARY], [EMBEDDING], parameters)
        try:
            embedding = read_infer(await self._pool.ask(message, deadline))[EMBEDDING].data.cast("f")
        except TimeoutError:
            return State.SILENT, ensemble, f"no answer in {ANSWER_SECONDS:g} s"
        except ConnectionError:
            return State.UNREACHABLE, ensemble, "Triton cannot be reached"
        except RequestError as error:
            dead = dead_process(str(error))
            return (State.DEAD, *dead) if dead else (State.FAILED, ensemble, str(error))
        except (KeyError, TypeError) as error:
            return State.FAILED, ensemble, f"an answer that is none: {error}"
        if len(embedding) == 0 or not all(map(isfinite, embedding)):
            return State.FAILED, ensemble, "the embedding is not finite"
        return State.HEALTHY, ensemble, ""
