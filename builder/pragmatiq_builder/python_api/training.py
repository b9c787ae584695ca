"""Commands that pre-train, fit heads and compare runs, as functions.

Imports stay within the functions, so that loading a model for scores needs no training package.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pragmatiq_builder.python_api.arguments import StrPath, path_of, settings_of, shown_if

if TYPE_CHECKING:
    from pragmatiq_builder.comparison import Comparison
    from pragmatiq_builder.heads import Head
    from pragmatiq_builder.metrics import Evaluation


def pretrain(
    tok: StrPath,
    name: str,
    *,
    model_size: Literal["nano", "small", "medium", "large"] | None = None,
    config: StrPath | Mapping[str, Any] | None = None,
    max_steps: int | None = None,
    runs_root: StrPath = "runs",
    resume: Literal["never", "auto"] = "never",
    init_from: StrPath | None = None,
    progress: bool = True,
) -> Path:
    """Pre-train a network on a tokenized data set; returns the run's folder, ``runs_root / name``.

    ``config`` is a YAML file, the name of a shipped one (``nano``, ``tiny``), or the settings themselves;
    ``model_size`` and ``max_steps`` win over it. ``resume`` "auto" goes on from the run's last checkpoint.
    ``init_from`` is a run, with the same tokenizer and shape, whose weights this one begins with; optimizer and
    schedule are new.
    """
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.training import load_settings
    from pragmatiq_builder.training import pretrain as run

    given = {name: value for name, value in (("model_size", model_size), ("max_steps", max_steps)) if value is not None}
    with shown_if(progress) as shown:
        settings = load_settings(None, {**settings_of(config, "train"), **given})
        data = TokenizedDataset(Path(tok))
        return run(data, settings, Path(runs_root), name, resume, shown, init_from=path_of(init_from))


def finetune(
    tok: StrPath,
    run: StrPath,
    label: StrPath,
    task: str,
    *,
    method: Literal["probe", "lora", "hybrid"] | None = None,
    features: StrPath | None = None,
    config: StrPath | Mapping[str, Any] | None = None,
    test_from: str | None = None,
    calibration_from: str | None = None,
    unseen_users: bool = False,
    final: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> "Head":
    """Fit the head of ``task`` to the labels in the parquet file ``label``, calibrate it, and save it beside the run.

    ``method``: what the command's ``--method`` says. ``features``: a parquet file of features of your own for a hybrid
    head. ``test_from`` and ``calibration_from`` are dates, and
    ``unseen_users`` keeps every user in one part; labels may say their parts in a column ``split`` instead. ``final``,
    alone, fits a head that was evaluated again to all rows. ``overwrite`` replaces an older head and its evaluations.
    """
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.finetune.final import finetune_final
    from pragmatiq_builder.finetune.finetune import finetune as fit
    from pragmatiq_builder.finetune.settings import finetune_settings, require_alone
    from pragmatiq_builder.runs import load_run

    if final:
        dates = {"test_from": test_from, "calibration_from": calibration_from, "unseen_users": unseen_users}
        require_alone("final", {"method": method, "config": config, "overwrite": overwrite, **dates})
    settings = finetune_settings(settings_of(config, None), method, test_from, calibration_from, unseen_users)
    with shown_if(progress) as shown:
        data = TokenizedDataset(Path(tok))
        if final:
            return finetune_final(load_run(Path(run)), data, Path(label), task, shown, features_file=path_of(features))
        return fit(
            load_run(Path(run)),
            data,
            Path(label),
            task,
            settings,
            shown,
            features_file=path_of(features),
            overwrite=overwrite,
        )


def evaluate(
    tok: StrPath,
    run: StrPath,
    label: StrPath,
    task: str,
    *,
    out: StrPath | None = None,
    folds: int = 0,
    rows: StrPath | None = None,
    baseline_rows: StrPath | None = None,
    test_from: str | None = None,
    features: StrPath | None = None,
    replicates: int = 1000,
    overwrite: bool = False,
    progress: bool = True,
) -> "Evaluation":
    """Measure the head of ``task`` on rows that it has not seen, against two baselines, with intervals over users.

    ``folds`` > 0 cross-validates. The numbers and a page go to ``out``, by default the head's folder. ``rows`` is a
    parquet file to write with each tested row; ``baseline_rows`` one with a score of one's own for each of them.
    ``test_from`` is a date after all rows of the fit: all rows from then on are tested instead of the held-out part.
    ``features``: the features of your own that the head was fitted with, at these labels' moments.
    """
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.finetune.evaluate import evaluate as measure
    from pragmatiq_builder.runs import load_run

    with shown_if(progress) as shown:
        return measure(
            load_run(Path(run)),
            TokenizedDataset(Path(tok)),
            Path(label),
            task,
            path_of(out),
            n_folds=folds,
            rows_file=path_of(rows),
            own_scores=path_of(baseline_rows),
            test_from=test_from,
            features_file=path_of(features),
            replicates=replicates,
            overwrite=overwrite,
            progress=shown,
        )


def compare_runs(
    runs: Sequence[StrPath],
    *,
    task: Sequence[str] = (),
    rows: Mapping[str, StrPath] | None = None,
    replicates: int = 1000,
    report: StrPath | None = None,
) -> "Comparison":
    """Compare runs, as ``runs compare`` does: the first one against the others, on the same tested rows or not at all.

    ``task``: only these; ``rows``: files of tested rows by the run's name; ``report``: an HTML page to write. Tasks
    that could not be compared, and why, are the result's ``not_compared``.
    """
    from pragmatiq_builder.comparison import compare, write_page

    files = {name: Path(file) for name, file in (rows or {}).items()}
    found = compare([Path(run) for run in runs], tasks=task, rows=files, replicates=replicates)
    if report is not None:
        write_page(found, Path(report))
    return found
