"""A model repository as an object: scores and embeddings of records, frames and tables, without a server."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from pragmatiq_builder.python_api.tables import customers_of, is_table
from pragmatiq_client.records import Record
from pragmatiq_client.values import UnreadableValueError, to_json
from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ConfigError, DataError, MissingDependencyError, RecordError
from pragmatiq_triton.in_process import Answered, InProcessModels

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 64

RecordLike = Record | Mapping[str, Any] | str | bytes
"""A record as the client takes it: typed, a mapping, or its JSON."""


def load(
    repository: str | os.PathLike[str],
    *,
    threads: int | None = None,
    trust_remote_code: bool | None = None,
    settings: str | os.PathLike[str] | None = None,
) -> "Model":
    """Load the models of a repository into this process.

    Args:
        repository: a folder that ``pragmatiq export`` wrote.
        threads: to compute with; None is one per core, or what the repository says.
        trust_remote_code: whether code may run that the repository names; None: as PRAGMATIQ_TRUST_REMOTE_CODE says.
        settings: an operator's ``settings.yaml``, if the server has one, so that the numbers are the same.

    Raises:
        ArtifactError: no repository of this version, or a damaged one.
        ConfigError: settings that do not exist, or code that was not allowed to run.
        MissingDependencyError: a package that its models need is not installed.

    Example:
        >>> import pragmatiq_triton as pt
        >>> model = pt.load(repository)
        >>> model.tasks
        ['amount', 'churn', 'loan']
        >>> fields = {"amount": "24.32", "merchant": "TESCO 338"}
        >>> record = {"user_id": "42", "events": [{"ts": 1738245371663128, "source": "transaction", "fields": fields}]}
        >>> [*model.score(record)]
        ['amount', 'churn', 'loan']
        >>> model.embed(record).shape
        (64,)
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads={threads}: expected at least 1")
    models = InProcessModels(
        Path(repository),
        threads=threads,
        trusted=trust_remote_code,
        settings_file=Path(settings) if settings is not None else None,
    )
    return Model(models, Path(repository))


class Model:
    """What :func:`load` gives. One thread at a time may call it."""

    def __init__(self, models: InProcessModels, repository: Path) -> None:
        self._models = models
        self._repository = repository

    @property
    def tasks(self) -> list[str]:
        """Names of all tasks, in the order of the scores."""
        return [task for tasks in self._models.tasks.values() for task in tasks]

    @property
    def info(self) -> dict[str, Any]:
        """Where the model comes from: repository, run, variant, hashes, size of the embedding, tasks of each model."""
        manifest = self._models.manifest
        return {
            "repository": str(self._repository),
            "run": manifest.run,
            "variant": manifest.variant,
            "precision": manifest.precision,
            "dim": manifest.dim,
            "tasks": self._models.tasks,
            "tokenizer_hash": manifest.tokenizer_hash,
            "weights_hash": manifest.weights_hash,
        }

    @overload
    def score(self, records: RecordLike) -> dict[str, float]: ...  # type: ignore[overload-overlap]
    @overload
    def score(self, records: Sequence[RecordLike]) -> list[dict[str, float]]: ...
    @overload
    def score(self, records: Any, *, profiles: Any = None) -> "pd.DataFrame": ...
    def score(self, records: Any, *, profiles: Any = None) -> Any:
        """Calibrated probabilities by task.

        Args:
            records: one record, a sequence of them, or a table (pandas, polars or Arrow) with a row for each event or
                each customer (docs/python-api.md).
            profiles: beside a table of events, a table with a row for each customer.

        Returns:
            For a record a dictionary by task; for a sequence a list of these; for a table a pandas frame with a column
            for each task and ``user_id`` as its index.

        Raises:
            DataError: a record that the server would refuse, by its number in ``records``; or a table without a column.
            MissingDependencyError: a table, where pandas is not installed.
        """
        if is_table(records):
            pandas = _pandas()
            customers = customers_of(records, profiles)
            answers = self._answers(customers.records, customers.told)
            rows = [_scores(self._models.tasks, answer) for answer in answers]
            return pandas.DataFrame(rows, columns=self.tasks, index=_index(pandas, customers.records))
        scores = [_scores(self._models.tasks, answer) for answer in self._answers(_sequence(records, profiles))]
        return scores[0] if _is_record(records) else scores

    @overload
    def embed(self, records: RecordLike | Sequence[RecordLike], *, model: str = "scoring") -> Float32: ...
    @overload
    def embed(self, records: Any, *, profiles: Any = None, model: str = "scoring") -> "pd.DataFrame": ...
    def embed(self, records: Any, *, profiles: Any = None, model: str = "scoring") -> Any:
        """The customers' embeddings.

        Args:
            records: as :meth:`score` takes them; ``profiles`` likewise.
            model: a task with adapters beside other heads has its own network, ``scoring_<task>``.

        Returns:
            Float32 [dim] for a record and [n, dim] for a sequence; for a table a pandas frame with the columns ``0``
            to ``dim - 1`` and ``user_id`` as its index.

        Raises:
            ConfigError: a model that the repository does not have. Else as :meth:`score`.
        """
        if model not in self._models.tasks:
            raise ConfigError(f"model={model!r}: no such model; expected one of {', '.join(self._models.tasks)}")
        if is_table(records):
            pandas = _pandas()
            customers = customers_of(records, profiles)
            vectors = self._embeddings(customers.records, model, customers.told)
            return pandas.DataFrame(vectors, index=_index(pandas, customers.records))
        vectors = self._embeddings(_sequence(records, profiles), model)
        return vectors[0] if _is_record(records) else vectors

    def close(self) -> None:
        """Let go of the model's threads; it cannot be asked any more."""
        self._models.close()

    def _embeddings(self, records: Sequence[RecordLike], model: str, told: "_Told | None" = None) -> Float32:
        vectors = np.empty((len(records), self._models.manifest.dim), np.float32)
        for row, answer in enumerate(self._answers(records, told)):
            vectors[row] = answer[model].embedding
        return vectors

    def _answers(self, records: Sequence[RecordLike], told: "_Told | None" = None) -> Iterator[dict[str, Answered]]:
        """What each record gets; ``told`` says of which one, in a table's words, something is wrong."""
        told = told or _told
        for start in range(0, len(records), _AT_ONCE):
            raws = [_raw(record, start + i, told) for i, record in enumerate(records[start : start + _AT_ONCE])]
            for i, answer in enumerate(self._models.answers(raws)):
                if isinstance(answer, RecordError):
                    raise DataError(told(start + i, str(answer))) from None
                if isinstance(answer, Exception):
                    raise answer
                yield answer


def _scores(tasks: Mapping[str, Sequence[str]], answer: Mapping[str, Answered]) -> dict[str, float]:
    named = (zip(names, answer[model].scores.tolist(), strict=True) for model, names in tasks.items())
    return {task: score for pairs in named for task, score in pairs}


def _is_record(records: Any) -> bool:
    return isinstance(records, Record | Mapping | str | bytes)


def _sequence(records: Any, profiles: Any) -> list[RecordLike]:
    if profiles is not None:
        raise DataError("profiles: goes with a table of events; a record holds its own attributes and lifelong")
    if _is_record(records):
        return [records]
    if not isinstance(records, Iterable):
        expected = "a record, a sequence of records, or a frame of pandas or polars or an Arrow table"
        raise DataError(f"records: expected {expected}, got {type(records).__name__}")
    return list(records)


_Told = Callable[[int, str], str]


def _told(number: int, problem: str) -> str:
    return f"record {number}: {problem}"


def _raw(record: RecordLike, number: int, told: _Told) -> bytes:
    if isinstance(record, bytes):
        return record
    try:
        return record.encode() if isinstance(record, str) else to_json(record)
    except (UnreadableValueError, UnicodeEncodeError) as error:
        raise DataError(told(number, str(error))) from None


def _index(pandas: Any, customers: Sequence[Mapping[str, Any]]) -> Any:
    return pandas.Index([customer.get("user_id", "") for customer in customers], name="user_id")


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ImportError:
        raise MissingDependencyError(
            "a table's answer is a pandas frame, and pandas is not installed; run: pip install pandas, or give a list "
            "of records"
        ) from None
