"""Comparing runs: settings that differ, and heads on the same tested rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pragmatiq_builder.comparison.facts import HeadFacts, RunFacts, facts_of
from pragmatiq_builder.comparison.rows import difference, read_rows
from pragmatiq_builder.heads.saved import EVALUATION_FILE, HEADS_FOLDER
from pragmatiq_builder.metrics import Difference, Estimate, bootstrap
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError


class TaskComparison(msgspec.Struct, frozen=True, kw_only=True):
    """A task's heads on the same rows: ``metrics[run][metric]``, and ``differences[run][metric]`` of the first run to
    each other one, with 95 % intervals over the same draws of users. If ``not_compared`` says why, there are none.
    """

    runs: list[str]
    methods: dict[str, str]
    settings: dict[str, list[Any]]
    not_compared: str | None = None
    rows: int = 0
    positives: int = 0
    users: int = 0
    metrics: dict[str, dict[str, Estimate]] = {}
    differences: dict[str, dict[str, Difference]] = {}
    left_out_draws: int = 0
    cautions: list[str] = []


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Runs side by side, the first of which is held against the others.

    ``settings``: those that differ, a value for each run, None where a run has no such setting; ``same_settings``: how
    many are equal. ``only_one_run``: tasks that fewer than two of the runs have.
    """

    runs: list[str]
    facts: list[RunFacts]
    settings: dict[str, list[Any]]
    same_settings: int
    tasks: dict[str, TaskComparison]
    only_one_run: list[str]
    replicates: int

    @property
    def not_compared(self) -> dict[str, str]:
        """Tasks that could not be compared, and why."""
        return {task: found.not_compared for task, found in self.tasks.items() if found.not_compared}


def compare(
    paths: Sequence[Path],
    *,
    tasks: Sequence[str] = (),
    rows: Mapping[str, Path] | None = None,
    replicates: int = 1000,
) -> Comparison:
    """Compare the runs at ``paths``, at least two; ``tasks``: only these.

    The rows of a run's head are those of its stored evaluation, or of ``rows``, files by the name of the run, for one
    task. Heads are compared on the same rows or not at all.

    Raises :class:`ConfigError` for fewer than two runs, one that is given twice, and a name in ``rows`` or ``tasks``
    that is of none; :class:`ArtifactError` for a damaged run, :class:`DataError` for a file that holds no rows.
    """
    if len(paths) < 2:
        raise ConfigError(f"expected at least two runs to compare, got {len(paths)}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("a run is given twice; each may be there once")
    facts = [facts_of(path) for path in paths]
    of_name = [run.name for run in facts]
    names = [run.name if of_name.count(run.name) == 1 else run.path for run in facts]
    files = dict(rows or {})
    if unknown := sorted(files.keys() - set(names)):
        raise ConfigError(f"--rows {unknown[0]}: expected one of the runs {', '.join(names)} in front of =")
    having: dict[str, dict[str, HeadFacts]] = {}
    for name, run in zip(names, facts, strict=True):
        for head in run.heads:
            having.setdefault(head.task, {})[name] = head
    if lacking := [task for task in tasks if task not in having]:
        raise ConfigError(
            f"--task {lacking[0]}: no run has a head of it; there are {', '.join(sorted(having)) or 'none'}"
        )
    chosen = sorted(tasks or having)
    shared = [task for task in chosen if len(having[task]) > 1]
    if files and len(shared) != 1:
        raise ConfigError(f"--rows is of one task, but the runs share {len(shared)}; choose one with --task")
    settings = [{**run.settings, "tokenizer_hash": run.tokenizer_hash, "init_from": run.init_from} for run in facts]
    differing, n_same = _differing(settings)
    folders = dict(zip(names, paths, strict=True))
    return Comparison(
        runs=names,
        facts=facts,
        settings=differing,
        same_settings=n_same,
        tasks={task: _compared(task, having[task], folders, files, replicates) for task in shared},
        only_one_run=[task for task in chosen if task not in shared],
        replicates=replicates,
    )


def _differing(settings: Sequence[Mapping[str, Any]]) -> tuple[dict[str, list[Any]], int]:
    """Settings whose values are not the same everywhere, and how many are."""
    names = dict.fromkeys(name for each in settings for name in each)
    values = {name: [each.get(name) for each in settings] for name in names}
    found = {name: each for name, each in values.items() if any(value != each[0] for value in each)}
    return found, len(values) - len(found)


def _compared(
    task: str, heads: Mapping[str, HeadFacts], folders: Mapping[str, Path], files: Mapping[str, Path], replicates: int
) -> TaskComparison:
    methods = {name: head.method for name, head in heads.items()}
    settings, _ = _differing(
        [
            {"method": head.method, "labels": head.labels, "final": head.final, **head.settings}
            for head in heads.values()
        ]
    )

    def not_compared(reason: str) -> TaskComparison:
        return TaskComparison(runs=[*heads], methods=methods, settings=settings, not_compared=reason)

    places = {
        name: files.get(name, (folders[name] / HEADS_FOLDER / task / EVALUATION_FILE).with_suffix(".parquet"))
        for name in heads
    }
    if lacking := [name for name, place in places.items() if name not in files and not place.is_file()]:
        return not_compared(
            f"no tested rows of {', '.join(lacking)}: run `pragmatiq evaluate TOK --run {folders[lacking[0]]} --label "
            f"PARQUET --task {task}`, or give --rows {lacking[0]}=FILE"
        )
    rows = {name: read_rows(place, methods[name]) for name, place in places.items()}
    if differs := difference(rows):
        return not_compared(
            f"{differs}; evaluate each run's head with the same labels and the same --test-from DATE, and give the "
            "files of rows with --rows RUN=FILE"
        )
    first = next(iter(rows.values()))
    scores = {name: each.scores for name, each in rows.items()}
    try:
        found = bootstrap(first.labels, first.users, scores, next(iter(rows)), replicates=replicates)
    except DataError as error:
        return not_compared(str(error))
    return TaskComparison(
        runs=[*heads],
        methods=methods,
        settings=settings,
        rows=len(first.labels),
        positives=int(first.labels.sum()),
        users=len(set(first.users.tolist())),
        metrics=found.estimates,
        differences=found.differences,
        left_out_draws=found.left_out,
        cautions=[
            f"The head of {name} was fitted to all rows after its evaluation; the numbers are of the head before."
            for name, head in heads.items()
            if head.final and name not in files
        ],
    )


def require_compared(comparison: Comparison) -> None:
    """Raise :class:`ArtifactError` that names the tasks that several runs have and that were not compared."""
    if comparison.not_compared:
        raise ArtifactError(f"not compared: {', '.join(comparison.not_compared)}")
