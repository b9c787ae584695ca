"""The stages of a repository, loaded as its server would load them, and asked one after the other."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, RecordError
from pragmatiq_triton.manifest import read_manifest
from pragmatiq_triton.model_config import config_parameters
from pragmatiq_triton.operator_settings import changed, read_model_settings, read_settings_file
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.parameters import (
    Parameters,
    ScorerParameters,
    TextEmbedderParameters,
    TokenizerParameters,
    read_parameters,
)
from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.serving.stage import Answer, Stage, Tensors
from pragmatiq_triton.serving.tokenizing import TokenizerStage, load_tokenizer
from pragmatiq_triton.tensors import EMBEDDING, RECORD, SCORES
from pragmatiq_triton.text_encoders.trust import require_trusted_repository

VERSION = "1"
_TOKENIZER, _TEXT_EMBEDDER, _SCORER, _ENSEMBLE = "tokenizer", "text_embedder", "scorer", "scoring"
_CACHES = ("record_cache_bytes", "text_cache_bytes", "event_cache_bytes")


class Answered(NamedTuple):
    """What one model makes of a customer: ``scores`` float32 [n_tasks] and ``embedding`` float32 [dim]."""

    scores: Float32
    embedding: Float32


class InProcessModels:
    """A repository's models, which answer as its server does, to rounding (1e-6).

    ``tasks`` holds the tasks of each model by the name that callers of the server use (``scoring``, and
    ``scoring_<task>`` for adapters beside other heads), in the order of the scores. ``settings`` are those of an
    operator on which answers depend.
    """

    def __init__(
        self,
        repository: Path,
        *,
        threads: int | None = None,
        processes: int = 1,
        trusted: bool | None = None,
        settings_file: Path | None = None,
    ) -> None:
        """Load the models of ``repository``.

        Args:
            repository: a folder that ``pragmatiq export`` wrote.
            threads: to compute with; None: as the repository says, which is one per core unless it was set.
            processes: how many such processes share the memory that the repository lets its caches have.
            trusted: whether code may run that the repository names; None: as PRAGMATIQ_TRUST_REMOTE_CODE says.
            settings_file: an operator's settings, over which variables (PRAGMATIQ_SCORER_MAX_EVENTS) win.

        Raises:
            ArtifactError: no repository of this version, or a damaged one.
            ConfigError: settings that do not exist, or code that was not allowed to run.
            MissingDependencyError: a package that its models need is not installed.
        """
        self.manifest = read_manifest(repository)
        self.tasks = {model: list(tasks) for model, tasks in self.manifest.tasks.items()}
        require_trusted_repository(repository, trusted)
        laid = changed(
            read_model_settings(repository, read_settings_file(settings_file), os.environ, str(settings_file))
        )

        def parameters(model: str, kind: type[Parameters]) -> dict[str, str]:
            found = _parameters(repository / model) | laid.get(model, {})
            its = read_parameters(kind, found)
            shared = {name: str(getattr(its, name) // processes) for name in _CACHES if hasattr(its, name)}
            own = {} if threads is None or not hasattr(its, "threads") else {"threads": str(threads)}
            return found | shared | own

        # The fingerprints' secret is this process's own: nothing of it is kept.
        tokenizer = load_tokenizer(
            repository / _TOKENIZER / VERSION, parameters(_TOKENIZER, TokenizerParameters), secrets=None
        )
        self.times = tokenizer.times
        self.settings = {
            f"{model}.{name}": value
            for model, its in laid.items()
            for name, value in its.items()
            if name not in (*_CACHES, "threads", "instances")
        }
        self._tokenizer = TokenizerStage(tokenizer)
        self._embedder: Stage | None = None
        if (repository / _TEXT_EMBEDDER).is_dir():
            folder = repository / _TEXT_EMBEDDER / VERSION
            self._embedder = TextEmbedderStage.load(folder, parameters(_TEXT_EMBEDDER, TextEmbedderParameters), trusted)
        self._scorers = {}
        for model, tasks in self.tasks.items():
            scorer = _SCORER + model.removeprefix(_ENSEMBLE)
            its = parameters(scorer, ScorerParameters) | {"tasks": json.dumps(tasks)}
            self._scorers[model] = ScorerStage.load(repository / scorer / VERSION, its, keeps_snapshot=False)

    def answers(self, records: Sequence[bytes]) -> list[dict[str, Answered] | Exception]:
        """What each model says of each record (UTF-8 JSON), or why the record has no answer.

        A :class:`~pragmatiq_triton.errors.RecordError` is the record's fault; its path begins with ``$``.
        """
        found: list[dict[str, Answered] | Exception] = [{} for _ in records]
        requests = [{RECORD: np.array([[raw]], np.object_)} for raw in records]
        tokenized = self._tokenizer(requests)
        open_rows = _sort_out(range(len(records)), tokenized, found)
        if self._embedder is not None:
            with_vectors = self._embedder([tensors for _, tensors in open_rows])
            tensors_of = dict(open_rows)
            open_rows = [
                (row, tensors_of[row] | vectors)
                for row, vectors in _sort_out([row for row, _ in open_rows], with_vectors, found)
            ]
        for model, scorer in self._scorers.items():
            answers = scorer([tensors for _, tensors in open_rows])
            for row, tensors in _sort_out([row for row, _ in open_rows], answers, found):
                said = found[row]
                if not isinstance(said, Exception):
                    said[model] = Answered(tensors[SCORES][0], tensors[EMBEDDING][0])
        return found

    def close(self) -> None:
        """Let go of the threads."""
        for stage in (self._tokenizer, *([self._embedder] if self._embedder else []), *self._scorers.values()):
            stage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sort_out(
    rows: Sequence[int], answers: Sequence[Answer], found: list[dict[str, Answered] | Exception]
) -> list[tuple[int, Tensors]]:
    """The rows that were answered, with their tensors; what went wrong with the others goes to ``found``."""
    answered = []
    for row, answer in zip(rows, answers, strict=True):
        if isinstance(answer, RecordError):
            # A request holds one record here, so that its number says nothing.
            found[row] = RecordError(answer.path.removeprefix("row 0: "), answer.problem)
        elif isinstance(answer, Exception):
            found[row] = answer
        else:
            answered.append((row, answer))
    return answered


def _parameters(folder: Path) -> dict[str, str]:
    path = folder / "config.pbtxt"
    try:
        return config_parameters(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: expected a model's config: {error}; export the run again") from None
