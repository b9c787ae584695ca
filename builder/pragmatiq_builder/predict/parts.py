"""Parts of an output, each whole or not there, so that a killed prediction goes on where it ended."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.predict.work import Done
from pragmatiq_builder.writing import whole_file, write_errors, write_file
from pragmatiq_triton.errors import ArtifactError, ConfigError

PART_REQUESTS = 1024
"""Requests of a part; what a kill costs."""

_JOB = "job.json"
_WHOLE = b"pragmatiq.prediction"
"""In the output's metadata: of which job it is, and how many rows were refused."""
_ROW, _USER = "row", "user_id"


class Parts:
    """The folder ``OUT.parts`` beside an output, with what was predicted so far.

    ``job`` says of what the parts are; those of another are not gone on with.
    """

    def __init__(self, out: Path, rejected: Path, job: dict[str, Any], resume: bool) -> None:
        """Begin, or find what is there.

        Raises :class:`ConfigError` where there is an output already, or parts that are not resumed or of another job;
        :class:`ArtifactError` for damaged ones.
        """
        self.out, self.rejected = out, rejected
        self.folder = out.with_name(f"{out.name}.parts")
        self.count = self.rows = self.refused = 0
        self.complete = False
        """Whether the output is there already, whole and of this job; asked for with ``resume`` alone."""
        self._hashes = {name: _hash(value) for name, value in job.items()}
        if out.absolute() == rejected.absolute():
            raise ConfigError("--rejected: expected another file than --out")
        there = self.folder / _JOB
        if not there.exists():
            if resume and self._find_whole():
                return
            for path in (out, rejected):
                if path.exists() or path.is_symlink():
                    raise ConfigError(f"{path}: exists already; name another file, or remove it first")
            with write_errors(rejected):
                rejected.parent.mkdir(parents=True, exist_ok=True)
            with write_errors(out):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_file(there, json.dumps(job, indent=1).encode())
            return
        if not resume:
            raise ConfigError(f"{self.folder}: an earlier prediction was not ended; --resume goes on with it")
        try:
            self._find(json.loads(there.read_bytes()), job)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ArtifactError(
                f"{self.folder}: what an earlier prediction left is damaged ({str(error).splitlines()[0]:.200}); "
                "remove the folder, and begin again without --resume"
            ) from None

    def write(self, done: Sequence[Done], schema: pa.Schema, tasks: dict[str, list[str]], time: str) -> None:
        """Write one part; its rejects come first, so that rows that are there have theirs."""
        rejects = [
            {"place": each.requests[row].place, "user_id": each.requests[row].user_id, "error": problem,
             "record": each.requests[row].raw.decode("utf-8", "backslashreplace") or None}
            for each in done for row, problem in each.problems.items()
        ]  # fmt: skip
        lines = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects)
        write_file(self._rejects(self.count), lines.encode("utf-8", "backslashreplace"))
        table = _table(done, schema, tasks, time)
        with whole_file(self._part(self.count)) as file:
            pq.write_table(table, file)
        self.count += 1
        self.rows += table.num_rows
        self.refused += len(rejects)

    def finish(self, schema: pa.Schema) -> None:
        """Lay the parts end to end as the output, and remove them."""
        if self.refused:
            with whole_file(self.rejected) as file:
                for part in range(self.count):
                    file.write(self._rejects(part).read_bytes())
        whole = {_WHOLE: json.dumps({"job": self._hashes, "refused": self.refused})}
        with whole_file(self.out) as file, pq.ParquetWriter(file, schema.with_metadata(whole)) as writer:
            for part in range(self.count):
                writer.write_table(pq.read_table(self._part(part), schema=schema))
        shutil.rmtree(self.folder)

    def remove_if_empty(self) -> None:
        """Remove the folder where no part is in it: there is nothing to go on with."""
        if not self.count:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _find_whole(self) -> bool:
        """Whether the output is whole; :class:`ConfigError` where it is of another job."""
        try:
            about = pq.read_metadata(self.out)
            found = json.loads((about.metadata or {})[_WHOLE])
            hashes, self.refused = dict(found["job"]), int(found["refused"])
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException):
            return False
        if other := [name for name in self._hashes if hashes.get(name) != self._hashes[name]]:
            raise ConfigError(
                f"{self.out}: complete already, of another {', '.join(other)}; name another file, or remove it first"
            )
        self.rows = about.num_rows
        self.complete = True
        return True

    def _find(self, found: dict[str, Any], job: dict[str, Any]) -> None:
        other = [name for name in job if found.get(name) != job[name]]
        if other:
            raise ConfigError(
                f"{self.folder}: begun with another {', '.join(other)}; --resume needs the same, or remove the folder"
            )
        while self._part(self.count).exists():
            self.rows += pq.read_metadata(self._part(self.count)).num_rows
            self.refused += self._rejects(self.count).read_bytes().count(b"\n")
            self.count += 1

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"

    def _rejects(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.rejected.jsonl"


def schema_of(tasks: dict[str, list[str]], dim: int, embeddings: bool, time: str) -> pa.Schema:
    """The output's columns: ``user_id``; with moments ``row`` and the moment; the tasks; the embeddings, if asked for.

    Raises :class:`ConfigError` where two of them have one name.
    """
    moment = [(_ROW, pa.int64()), (time, pa.timestamp("us", tz="UTC"))] if time else []
    scores = [(task, pa.float32()) for names in tasks.values() for task in names]
    vectors = [(embedding_column(model), pa.list_(pa.float32(), dim)) for model in (tasks if embeddings else ())]
    columns = [(_USER, pa.string()), *moment, *scores, *vectors]
    names = [name for name, _ in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two columns would be named {', '.join(twice)}: rename the task, and export again")
    return pa.schema(columns)


def embedding_column(model: str) -> str:
    """``embedding``, of ``scoring_<task>`` ``embedding_<task>``."""
    return "embedding" + model.removeprefix("scoring")


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _table(done: Sequence[Done], schema: pa.Schema, tasks: dict[str, list[str]], time: str) -> pa.Table:
    requests = [each.requests[row] for each in done for row in each.rows]
    columns: dict[str, Any] = {_USER: pa.array([request.user_id for request in requests], pa.string())}
    if time:
        columns[_ROW] = pa.array([request.row for request in requests], pa.int64())
        columns[time] = pa.array([request.at for request in requests], pa.int64()).cast(schema.field(time).type)
    for model, names in tasks.items():
        for i, task in enumerate(names):
            columns[task] = pa.concat_arrays([pa.array(each.scores[model][:, i]) for each in done])
    for model in done[0].embeddings:
        flat = pa.concat_arrays([pa.array(each.embeddings[model].reshape(-1)) for each in done])
        width = schema.field(embedding_column(model)).type.list_size
        columns[embedding_column(model)] = pa.FixedSizeListArray.from_arrays(flat, width)
    return pa.table(columns, schema=schema)
