"""The ways to fit a task head, by name: all that other rooms have to know of one.

A new method is an entry here and its fit in :mod:`pragmatiq_builder.finetune.fitting`.
"""

from dataclasses import dataclass
from typing import Literal

MethodName = Literal["probe", "hybrid", "lora"]


@dataclass(frozen=True, slots=True)
class HeadMethod:
    """What a method does.

    Attributes:
        summary: a sentence for help texts.
        adapts_network: whether it changes the network for its task, which then needs a scorer of its own.
        reads_features: whether it reads the features of a history, and those of a bank's own.
        settings: the settings of fine-tuning that it reads and another method may not.
    """

    summary: str
    adapts_network: bool = False
    reads_features: bool = False
    settings: tuple[str, ...] = ()


METHODS: dict[MethodName, HeadMethod] = {
    "probe": HeadMethod("a classifier on the frozen network, many tasks for one forward", settings=("classifier",)),
    "hybrid": HeadMethod(
        "beside it features of the same history (counts, gaps, numbers, words, profile)", reads_features=True
    ),
    "lora": HeadMethod(
        "adapters that change the network for this task alone, and cost a model of their own",
        adapts_network=True,
        settings=("lora",),
    ),
}


def methods_that(read: str) -> str:
    """The names of the methods that read the setting ``read``, for an error."""
    return " or ".join(name for name, method in METHODS.items() if read in method.settings)
