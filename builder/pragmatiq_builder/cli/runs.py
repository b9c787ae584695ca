"""Commands about runs that are there: runs list, runs compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pragmatiq_builder.cli.aligned import print_aligned
from pragmatiq_builder.cli.console import show, stderr, stdout
from pragmatiq_builder.cli.options import Json
from pragmatiq_triton.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pragmatiq_builder.comparison import Comparison
    from pragmatiq_builder.comparison.compare import TaskComparison
    from pragmatiq_builder.comparison.facts import HeadFacts, RunFacts

HASH_CHARACTERS = 12
VALUE_CHARACTERS = 48
HELP = """List runs and compare them: settings, training, and heads on the same tested rows."""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    group = typer.Typer(help=HELP, no_args_is_help=True)
    group.command("list")(list_runs)
    group.command("compare")(compare_runs)
    app.add_typer(group, name="runs")


def list_runs(
    runs_root: Annotated[Path, typer.Option(help="Folder of all runs.", exists=True, file_okay=False)] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs of a folder: how far each was trained, with which tokenizer, and what its heads reached.

    Ends with 0; with 4 if a run is damaged: the others are listed all the same, and what is wrong is said.
    """
    from pragmatiq_builder.comparison import facts_of, runs_in

    found: list[RunFacts] = []
    damaged: dict[str, str] = {}
    for path in runs_in(runs_root):
        try:
            found.append(facts_of(path))
        except ArtifactError as error:
            damaged[path.name] = str(error)
    if json:
        show("", {"runs": [_listed(run) for run in found], "damaged": damaged}, as_json=True)
    elif found:
        header = ("run", "tokenizer", "begun with", "steps", "loss", "val_loss", "heads")
        print_aligned([header, *(_cells(run) for run in found)], words=3)
    else:
        stdout.print(f"no runs in {runs_root}", soft_wrap=True)
    if damaged:
        for reason in damaged.values():
            stderr.print(f"error: {reason}", style="red")
        raise SystemExit(ArtifactError.exit_code)


def compare_runs(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs, ours or the upstream toolkit's; the first one is held against the others.",
            exists=True,
            file_okay=False,
        ),
    ],
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; once for each. Default: all that two of the runs have.")
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="The tested rows of a run's head, as evaluate wrote them, in the place of those in the run; once for "
            "each run.",
            metavar="RUN=PARQUET",
        ),
    ] = None,
    replicates: Annotated[int, typer.Option(help="Draws of users for the 95 % intervals.", min=40)] = 1000,
    report: Annotated[
        Path | None, typer.Option(help="HTML page to write, with plots; an older one is replaced.", dir_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs: settings that differ, training curves, and each task's heads with paired intervals.

    Heads are compared on the same tested rows: those that evaluate left beside each head (evaluation.parquet), or files
    of --rows. If the rows of two runs differ, that is said, and none of the task is compared. To test an older head on
    the rows of a newer one, evaluate both with the same labels and the same --test-from.

    Ends with 0; with 3 if a file holds no tested rows; with 4 if a run is damaged, or a task that two of the runs have
    could not be compared: everything else is told all the same.
    """
    from pragmatiq_builder.comparison import compare, write_page
    from pragmatiq_builder.comparison.compare import require_compared

    found = compare(runs, tasks=task or (), rows=_row_files(rows or []), replicates=replicates)
    if json:
        show("", _as_json(found), as_json=True)
    else:
        _show(found)
    if report:
        write_page(found, report)
        stderr.print(f"report: {report}", soft_wrap=True)
    require_compared(found)


def _row_files(options: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for option in options:
        name, _, path = option.partition("=")
        if not (name and path):
            raise ConfigError(f"--rows {option}: expected RUN=PARQUET, such as june=june/evaluation.parquet")
        if name in files:
            raise ConfigError(f"--rows {option}: {name} has the rows {files[name]} already; give one file per run")
        files[name] = Path(path)
    return files


def _listed(run: "RunFacts") -> dict[str, Any]:
    import msgspec

    values: dict[str, Any] = msgspec.to_builtins(run)
    del values["metrics"]
    newest = {metric: run.newest(metric) for metric in ("loss", "val_loss")}
    return {**values, "steps": run.steps, **newest}


def _cells(run: "RunFacts") -> tuple[str, ...]:
    def shown(metric: str) -> str:
        value = run.newest(metric)
        return "-" if value is None else f"{value:.4f}"

    heads = ", ".join(map(_head, run.heads)) or "none"
    steps = f"{run.steps:,}" if run.checkpoint else "no checkpoint"
    began = run.init_from.partition(" ")[0] if run.init_from else "-"
    return (run.name, run.tokenizer_hash[:HASH_CHARACTERS], began, steps, shown("loss"), shown("val_loss"), heads)


def _head(head: "HeadFacts") -> str:
    reached = f"ROC-AUC {head.metrics['roc_auc'].value:.3f}" if head.metrics else "not evaluated"
    return f"{head.task} ({head.method}{', final' if head.final else ''}, {reached})"


def _as_json(found: "Comparison") -> dict[str, Any]:
    import msgspec

    values: dict[str, Any] = msgspec.to_builtins(found)
    curves = {name: run["metrics"] for name, run in zip(found.runs, values.pop("facts"), strict=True)}
    return {**values, "curves": curves}


def _show(found: "Comparison") -> None:
    stdout.print("Settings that differ")
    _print_settings(found.runs, found.settings)
    stdout.print(f"the same everywhere: {found.same_settings:,} settings")
    stdout.print("Training")
    header = ("run", "steps", "loss", "val_loss", "val_masked_accuracy", "")
    print_aligned([header, *(_training(name, run) for name, run in zip(found.runs, found.facts, strict=True))], words=1)
    for task, compared in found.tasks.items():
        _show_task(task, compared, found.replicates)
    if found.only_one_run:
        stderr.print(f"tasks of one run alone, not compared: {', '.join(found.only_one_run)}", soft_wrap=True)


def _training(name: str, run: "RunFacts") -> tuple[str, ...]:
    newest = (run.newest(metric) for metric in ("loss", "val_loss", "val_masked_accuracy"))
    return (name, f"{run.steps:,}", *("-" if value is None else f"{value:.4f}" for value in newest), "")


def _show_task(task: str, found: "TaskComparison", replicates: int) -> None:
    from pragmatiq_builder.metrics import METRICS
    from pragmatiq_builder.metrics.wording import HEADLINES, compared, in_words

    stdout.print(f"Task {task}", markup=False)
    if found.settings:
        _print_settings(found.runs, found.settings)
    if found.not_compared:
        stderr.print(f"warning: {task}: {found.not_compared}", style="yellow", soft_wrap=True)
        return
    stdout.print(f"{found.rows:,} rows, {found.positives:,} positive, of {found.users:,} users; {replicates:,} draws")
    header = ("metric", *found.runs, "")
    rows = [
        (metric.label, *(in_words(found.metrics[run][name]) for run in found.runs), "")
        for name, metric in METRICS.items()
    ]
    print_aligned([header, *rows], words=1)
    for name in HEADLINES:
        for run, differences in found.differences.items():
            line = f"{found.runs[0]}: {METRICS[name].label} {compared(differences[name], run)}"
            stdout.print(line, markup=False, soft_wrap=True)
    for caution in found.cautions:
        stderr.print(f"{task}: {caution}", markup=False, highlight=False, soft_wrap=True)
    if found.left_out_draws:
        stderr.print(f"{task}: {found.left_out_draws:,} draws lacked a class and were left out", soft_wrap=True)


def _print_settings(runs: "Sequence[str]", settings: dict[str, list[Any]]) -> None:
    def shown(value: Any) -> str:
        text = "-" if value is None else " ".join(str(value).split())
        return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}..."

    rows = [(name, *map(shown, values), "") for name, values in settings.items()]
    print_aligned([("setting", *runs, ""), *rows], words=len(runs) + 1)
