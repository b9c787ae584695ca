"""Commands that fit task heads to a run and say how good they are: finetune, evaluate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pragmatiq_builder.cli.console import RichProgress, show, stderr
from pragmatiq_builder.cli.options import Config, Json, Threads, Tok, features_of_your_own
from pragmatiq_builder.head_methods import METHODS, MethodName
from pragmatiq_builder.threads import AUTO, set_threads

RunFolder = Annotated[
    Path, typer.Option("--run", help="A run, ours or the upstream toolkit's.", exists=True, file_okay=False)
]
Label = Annotated[
    Path,
    typer.Option(
        help="Parquet, a file or a folder of parts, with user_id, label and eval_ts (a forecast about the user) or ts "
        "(a judgement of one event).",
        exists=True,
    ),
]
Task = Annotated[str, typer.Option(help="Name of the task: the key of its probability in every answer.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("finetune")(finetune_command)
    app.command("evaluate")(evaluate_command)


def finetune_command(
    tok: Tok,
    run: RunFolder,
    label: Label,
    task: Task,
    method: Annotated[
        MethodName | None,
        typer.Option(
            help=" ".join(f"{name}: {method.summary}." for name, method in METHODS.items())
            + " Default: probe, or what the config says."
        ),
    ] = None,
    features: Annotated[
        Path | None, features_of_your_own("Features of your own for --method hybrid, for the labelled rows")
    ] = None,
    config: Config = None,
    test_from: Annotated[
        str | None,
        typer.Option(
            help="Test on all rows from this date on, of known users too (out of time), instead of on held-out users "
            "after a date that is found.",
            metavar="DATE",
        ),
    ] = None,
    calibration_from: Annotated[
        str | None,
        typer.Option(
            help="With --test-from: the rows from this date on calibrate, instead of the earlier ones of some users.",
            metavar="DATE",
        ),
    ] = None,
    unseen_users: Annotated[
        bool,
        typer.Option(
            "--unseen-users",
            help="With --test-from: no user in two parts; the rows that this leaves out are counted.",
        ),
    ] = False,
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="After evaluate: fit the task's head again, as it was, to all rows of the same labels. The evaluation "
            "stays, and is of the head before.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the task's head and its evaluations, if there are any.")
    ] = False,
    threads: Threads = AUTO,
    json: Json = False,
) -> None:
    """Fit a task head on a trained run, calibrate it on held-out users, and save it beside the run.

    A forecast sees the history strictly before eval_ts; an event is judged by what lies strictly before it, and by
    itself. No user is in two of the training, calibration and test parts, and test labels are later ones where dates
    allow; unless --test-from names the date, or a column split of the labels says train, validation (these calibrate)
    or test of each row.

    The order is: finetune, evaluate, finetune --final with the same labels if the head that is served is to know all
    rows, export.
    """
    set_threads(threads)
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.finetune.final import finetune_final
    from pragmatiq_builder.finetune.finetune import finetune, head_folder
    from pragmatiq_builder.finetune.settings import finetune_settings, require_alone
    from pragmatiq_builder.runs import load_run

    if final:
        dates = {"--test-from": test_from, "--calibration-from": calibration_from, "--unseen-users": unseen_users}
        require_alone("--final", {"--method": method, "--config": config, "--overwrite": overwrite, **dates})
    settings = finetune_settings(config, method, test_from, calibration_from, unseen_users)
    loaded = load_run(run)
    with RichProgress() as progress:
        if final:
            head = finetune_final(loaded, TokenizedDataset(tok), label, task, progress, features_file=features)
        else:
            head = finetune(
                loaded,
                TokenizedDataset(tok),
                label,
                task,
                settings,
                progress,
                features_file=features,
                overwrite=overwrite,
            )
    info = head.info
    values: dict[str, Any] = {
        "head": str(head_folder(loaded, task)),
        "method": head.method,
        "classifier": info["classifier"],
        "calibrator": info["calibrator"],
        **{name: f"{part['rows']:,} rows, {part['positives']:,} positive" for name, part in info["rows"].items()},
        "own_features": ", ".join(info["own_features"]["names"]) if "own_features" in info else "none",
        "split": info["split"],
        "cutoff": info["cutoff"] or "none",
        "left_out": info["left_out"],
        "skipped": info["skipped"] or "none",
    }
    if final:
        values["final"] = f"{info['final']['rows']['rows']:,} rows, all of them; the parts are of the evaluated head"
    show(f"Head {task} of run {run}", {"task": task, "kind": head.kind, **info} if json else values, json)
    if not json:
        for caution in info["cautions"]:
            stderr.print(caution, markup=False, highlight=False, soft_wrap=True)
        following = (
            f"pragmatiq export {run} --out REPOSITORY"
            if final
            else f"pragmatiq evaluate {tok} --run {run} --label {label} --task {task}"
            + (f" --features {features}" if features else "")
        )
        stderr.print(f"next: {following}")


def evaluate_command(
    tok: Tok,
    run: RunFolder,
    label: Label,
    task: Task,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for evaluation.json and evaluation.html (with --folds 5: evaluation-folds5.json and "
            ".html, beside them); default: the head's.",
            file_okay=False,
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            help="Cross-validate: fit anew for each of so many folds of users, on all dates. Tighter intervals than "
            "the one held-out part, but no date separates training from test. 0: the held-out part.",
            min=0,
        ),
    ] = 0,
    rows: Annotated[
        Path | None,
        typer.Option(help="Parquet file to write: each tested row with its probabilities, by model.", dir_okay=False),
    ] = None,
    baseline_rows: Annotated[
        Path | None,
        typer.Option(
            help="Your own score as a baseline more, with paired intervals: parquet with user_id, the labels' moment "
            "(eval_ts or ts) and score, a probability, of every tested row. --rows writes which these are.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    test_from: Annotated[
        str | None,
        typer.Option(
            help="Test on all rows from this date on, of all users, in the place of the held-out part: last month's "
            "head on this month's labels. It has to be later than all rows that the head was fitted to.",
            metavar="DATE",
        ),
    ] = None,
    features: Annotated[
        Path | None, features_of_your_own("The features of your own that the head was fitted with, for these labels")
    ] = None,
    replicates: Annotated[int, typer.Option(help="Draws of users for the 95 % intervals.", min=40)] = 1000,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an evaluation of another head or of other labels in --out.")
    ] = False,
    threads: Threads = AUTO,
    json: Json = False,
) -> None:
    """Measure a head on rows that it has not seen, against two baselines, with intervals over users.

    The baselines, raw counts and plain features of the history (recency, counts, gaps, statistics of numeric fields; no
    category and no attribute), are fitted to the same rows. A difference is called better or
    worse only where its 95 % interval leaves out zero. The numbers go into the model card at the next export.
    """
    set_threads(threads)
    import msgspec

    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.finetune.evaluate import evaluate
    from pragmatiq_builder.finetune.finetune import head_folder
    from pragmatiq_builder.heads.saved import evaluation_file
    from pragmatiq_builder.metrics import verdict_lines
    from pragmatiq_builder.metrics.files import report_of
    from pragmatiq_builder.runs import load_run

    loaded = load_run(run)
    with RichProgress() as progress:
        result = evaluate(
            loaded,
            TokenizedDataset(tok),
            label,
            task,
            out,
            n_folds=folds,
            replicates=replicates,
            overwrite=overwrite,
            rows_file=rows,
            own_scores=baseline_rows,
            test_from=test_from,
            features_file=features,
            progress=progress,
        )
    if json:
        show(task, msgspec.to_builtins(result), as_json=True)
        return
    values = {
        f"{model}: {metric}": f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
        for model, estimates in result.metrics.items()
        for metric, estimate in estimates.items()
    }
    show(f"{task}: {result.protocol}", values, as_json=False)
    for line in [*verdict_lines(result), *result.cautions]:
        stderr.print(line, markup=False, highlight=False, soft_wrap=True)
    stderr.print(f"report: {report_of((out or head_folder(loaded, task)) / evaluation_file(folds))}")
