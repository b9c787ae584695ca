"""From a book of customers to a parquet file of their scores, in as many processes as there are cores."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pragmatiq_builder.locking import FolderLock
from pragmatiq_builder.predict.parts import PART_REQUESTS, Parts, schema_of
from pragmatiq_builder.predict.repeats import repeats_of
from pragmatiq_builder.predict.requests import Moments, Request, Shard, own_features_of, read_requests
from pragmatiq_builder.predict.work import AT_ONCE, Done, Workers
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.raw.parts import table_hash
from pragmatiq_triton.cpus import usable_cpus
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.manifest import FILE, file_hash


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was written: ``rows`` to ``out``; the ``refused``, each with its reason, to ``rejected`` if there are any.

    ``customers_without_moment``: customers of the data of whom the table of moments has no row; 0 without a table, and
    of what was read in the last call alone. ``rows_without_features``: likewise, rows that the file of features lacks.
    ``notes`` are sentences about what was scored or refused with a doubt.
    """

    out: Path
    rejected: Path | None
    rows: int
    refused: int
    customers_without_moment: int
    rows_without_features: int
    tasks: list[str]
    processes: int
    notes: list[str]


def predict(
    data: Path,
    repository: Path,
    out: Path,
    *,
    at: Path | None = None,
    features: Path | None = None,
    embeddings: bool = False,
    shard: Shard = Shard(),
    rejected: Path | None = None,
    resume: bool = False,
    processes: int | None = None,
    trusted: bool | None = None,
    settings_file: Path | None = None,
    progress: Progress = Silent(),
) -> Predicted:
    """Write scores, and if asked for embeddings, of the customers of ``data`` to the parquet file ``out``.

    The numbers are those that a server of ``repository`` gives for the same records, to 1e-6. Until the end all is kept
    in parts beside ``out``; after an end of whatever kind ``resume`` goes on with them.

    Args:
        data: a raw data folder, or a file with one JSON record per line, plain or gzip.
        repository: what ``pragmatiq export`` wrote.
        out: the file to write; columns as :func:`~pragmatiq_builder.predict.parts.schema_of` says.
        at: a table with ``user_id`` and ``eval_ts`` (the history strictly before that moment) or ``ts`` (the event of
            that moment and what is strictly before it), a row of the output for each of its rows; a column ``label``
            is not read. Without it each customer is judged as of now.
        features: a parquet file of features of the bank's own, with ``user_id``, with ``at`` also the rows' moments,
            and a column of numbers for each; records of a file bring theirs themselves.
        embeddings: whether each model's embedding is a column.
        shard: which of how many parts of the customers.
        rejected: where refused rows go; by default ``OUT.rejected``.
        resume: go on with parts of the same prediction; one that is complete is left as it is, and a note says so.
        processes: by default one per core.
        trusted: whether code may run that the repository names; None: as the environment says.
        settings_file: an operator's, as the server's.
        progress: hears of rows.

    Raises:
        ConfigError: an output that is there, or parts of another prediction.
        DataError: data that cannot be read at all; a record that breaks the contract is refused, and counted.
        ArtifactError: no repository of this version, or a damaged one.
    """
    if not data.exists():
        raise DataError(f"{data}: no such file or folder; expected a raw data folder or a file of records")
    rejected = rejected or out.with_name(f"{out.name}.rejected")
    workers = Workers(repository, processes or usable_cpus(), trusted, settings_file, embeddings)
    models = workers.load()
    tasks, dim, times = models.tasks, models.manifest.dim, models.times
    moments = Moments(at, times) if at else None
    time = moments.time if moments else ""
    own = own_features_of(features, data, moments, times)
    schema = schema_of(tasks, dim, embeddings, time)
    job = {
        "repository": file_hash(repository / FILE),
        "data": _state(data),
        "moments": table_hash(at) if at else None,
        "features": table_hash(features) if features else None,
        "embeddings": embeddings,
        "shard": [shard.number, shard.count],
        "part_requests": PART_REQUESTS,
        "rejected": str(rejected.absolute()),
        "settings": models.settings,
    }
    parts = Parts(out, rejected, job, resume)
    all_tasks = [task for names in tasks.values() for task in names]
    if parts.complete:
        models.close()
        note = f"{out}: complete already; nothing was left to do"
        return Predicted(
            out, rejected if parts.refused else None, parts.rows, parts.refused, 0, 0, all_tasks, 0, [note]
        )
    with FolderLock.of(parts.folder, "prediction", out):
        try:
            if parts.count:
                progress.say(f"{parts.folder}: going on after {parts.rows:,} rows and {parts.refused:,} refused")
            progress.stage("Predicting", moments.count if moments and shard.count == 1 else None)
            requests = read_requests(data, moments, shard, times, own)
            progress.advance(_steps(islice(requests, parts.count * PART_REQUESTS), moments))
            with closing(workers.run(models, _chunks(requests, AT_ONCE))) as results:
                told = _telling(results, moments, progress)
                while part := list(islice(told, PART_REQUESTS // AT_ONCE)):
                    parts.write(part, schema, tasks, time)
            if not parts.rows + parts.refused and shard.count == 1:
                raise DataError(f"{data}: no customers; expected a record, or a row in events or profiles")
            parts.finish(schema)
        except BaseException:
            parts.remove_if_empty()
            raise
    return Predicted(
        out,
        rejected if parts.refused else None,
        parts.rows,
        parts.refused,
        moments.customers_without if moments else 0,
        own.lacking if own else 0,
        all_tasks,
        workers.processes,
        moments.notes() if moments else _again(out) if data.is_file() else [],
    )


def _again(out: Path) -> list[str]:
    """A note if customers have several rows: a file of records may hold one more than once."""
    n = repeats_of(out)
    if not n:
        return []
    return [f"{out}: {n:,} rows are of customers who have an earlier row: the file has several records of them"]


def _chunks(requests: Iterable[Request], size: int) -> Iterator[list[Request]]:
    rest = iter(requests)
    while chunk := list(islice(rest, size)):
        yield chunk


def _steps(requests: Iterable[Request], moments: Moments | None) -> int:
    """How many steps of the progress they are: with moments, records that are refused as a whole are of no row."""
    return sum(1 for request in requests if moments is None or request.row >= 0)


def _telling(results: Iterable[Done], moments: Moments | None, progress: Progress) -> Iterator[Done]:
    """The same, told of as they come."""
    refused = 0
    for done in results:
        refused += len(done.problems)
        progress.advance(_steps(done.requests, moments), f"{refused:,} refused" if refused else "")
        yield done


def _state(data: Path) -> list[Any]:
    """What tells data from other data, or from an older state, without reading it all."""
    files = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
    return [[str(path.relative_to(data)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
