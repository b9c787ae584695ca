"""Which models a run becomes: one scorer for the heads on the plain network, one for each set of adapters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from pragmatiq_builder.heads.saved import SavedHead
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.tokenizer import Tokenizer, Vocabulary
from pragmatiq_triton.tokenizer.features import FeatureLevel, HistoryFeatures
from pragmatiq_triton.tokenizer.own_features import PREFIX, OwnFeatures

SCORER = "scorer"
ENSEMBLE = "scoring"


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """An ensemble that callers call, and the scorer at its end; tokenizer and text embedder are everyone's."""

    ensemble: str
    scorer: str
    heads: tuple[SavedHead, ...]

    @property
    def tasks(self) -> list[str]:
        """In the order of the scores."""
        return [saved.head.task for saved in self.heads]

    @property
    def adapted(self) -> SavedHead | None:
        """The head whose adapters change the scorer's network; it is the only one then."""
        return next((saved for saved in self.heads if saved.head.adapts_network), None)

    @property
    def max_events(self) -> int:
        """The newest events that the scorer reads, 0 for all."""
        return int(self.adapted.head.info.get("max_events") or 0) if self.adapted else 0


def scoring_models(heads: Sequence[SavedHead]) -> list[ScoringModel]:
    """The models of a run with ``heads``, the one for callers without a wish first.

    A single head with adapters takes the place of the plain network. Beside others it becomes ``scorer_<task>`` and
    ``scoring_<task>``. Raises :class:`ArtifactError` where two such names differ in case only.
    """
    adapted = [saved for saved in heads if saved.head.adapts_network]
    if len(adapted) == len(heads) == 1:
        return [ScoringModel(ENSEMBLE, SCORER, tuple(heads))]
    _require_names_apart([saved.head.task for saved in adapted])
    plain = tuple(saved for saved in heads if not saved.head.adapts_network)
    return [
        ScoringModel(ENSEMBLE, SCORER, plain),
        *(ScoringModel(f"{ENSEMBLE}_{saved.head.task}", f"{SCORER}_{saved.head.task}", (saved,)) for saved in adapted),
    ]


def tokenizer_of(heads: Sequence[SavedHead], vocabulary: Vocabulary) -> Tokenizer:
    """With the least features that ``heads`` need: of the history, and of the bank's own.

    Where even all features of a history lack some, they are all computed.
    """
    needed = {name for saved in heads for name in saved.head.feature_names}
    levels = [HistoryFeatures.of(vocabulary, level) for level in get_args(FeatureLevel)]
    own = {name for name in needed - set(levels[-1].names) if name.startswith(PREFIX)}
    features = next((each for each in levels if needed - own <= set(each.names)), levels[-1])
    return Tokenizer(vocabulary, features.level, OwnFeatures(sorted(name.removeprefix(PREFIX) for name in own)))


def require_fitted_to(heads: Sequence[SavedHead], tokenizer_hash: str, weights_hash: str) -> None:
    """Raise :class:`ArtifactError` for a head that was fitted on another tokenizer's or network's vectors."""
    for saved in heads:
        for name, expected in (("tokenizer_hash", tokenizer_hash), ("weights_hash", weights_hash)):
            found = saved.head.info.get(name, expected)
            if found != expected:
                raise ArtifactError(
                    f"head {saved.head.task}: fitted with {name} {found}, this run has {expected}; "
                    "fine-tune the task again"
                )


def _require_names_apart(tasks: Sequence[str]) -> None:
    """A repository is copied to disks and buckets of all kinds, and some take two such folders for one."""
    by_folded: dict[str, str] = {}
    for task in tasks:
        other = by_folded.setdefault(task.casefold(), task)
        if other != task:
            raise ArtifactError(
                f"tasks {other} and {task}: their models' names differ in case only, which not every file system "
                "tells apart; rename one of the tasks"
            )
