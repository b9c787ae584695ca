"""Commands that make models: pretrain, export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pragmatiq_builder.cli.console import RichProgress, show, stderr
from pragmatiq_builder.cli.options import Json, Threads, Tok, TrainConfig
from pragmatiq_builder.progress import Progress
from pragmatiq_builder.threads import AUTO, set_threads
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pragmatiq_builder.export.int8_cost import Int8Quantizer
    from pragmatiq_builder.export.manifest import Quantization
    from pragmatiq_builder.runs import Run


class ModelSize(StrEnum):
    """Names of the network sizes."""

    NANO = "nano"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Resume(StrEnum):
    """Whether an existing run goes on."""

    NEVER = "never"
    AUTO = "auto"


class Precision(StrEnum):
    """What an exported event encoder multiplies in."""

    FP32 = "fp32"
    INT8 = "int8"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("pretrain")(pretrain_command)
    app.command("export")(export)


def pretrain_command(
    tok: Tok,
    name: Annotated[str, typer.Option(help="Name of the run: its folder below --runs-root.")],
    model_size: Annotated[
        ModelSize | None, typer.Option(help="Network size; small if the config names none either.")
    ] = None,
    config: TrainConfig = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps; overrides the config.", min=1)] = None,
    runs_root: Annotated[Path, typer.Option(help="Folder of all runs.", file_okay=False)] = Path("runs"),
    resume: Annotated[
        Resume, typer.Option(help="auto: go on from the run's last checkpoint, or start if there is none.")
    ] = Resume.NEVER,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the weights of this run, ours or the upstream toolkit's, on new data of the same "
            "tokenizer. Optimizer and schedule are new.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    threads: Threads = AUTO,
    json: Json = False,
) -> None:
    """Pre-train a network by masked-value prediction on CPU or one GPU.

    With --init-from the network goes on learning from an older run's weights instead of drawn ones: on next month's
    data, tokenized with --tokenizer-dir RUN/tokenizer, and with the run's --model-size; another tokenizer or shape is
    refused. Only weights are taken over: the optimizer's state, the warm-up and the cosine begin anew, from step 0 to
    --max-steps, and the rates are those of the config. The new run records the older one's name and hash. Choose
    another --name: the older run stays as it is. To go on with an interrupted run, use --resume.

    Whether the text branch is on is read from the data set. Metrics go to metrics.jsonl in the run's folder.
    """
    n_threads = set_threads(threads)
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.metrics_file import NAME, MetricsFile
    from pragmatiq_builder.training import load_settings, pretrain

    overrides = {"model_size": model_size.value if model_size else None, "max_steps": max_steps}
    settings = load_settings(config, {option: value for option, value in overrides.items() if value is not None})
    with RichProgress() as progress:
        progress.say(f"threads: {n_threads}")
        run = pretrain(TokenizedDataset(tok), settings, runs_root, name, resume.value, progress, init_from=init_from)
    show(f"Run {run}", {"run": str(run), **MetricsFile(run / NAME).last()}, json)
    if not json:
        stderr.print(f"next: pragmatiq finetune {tok} --run {run} --label PARQUET --task NAME")


def export(
    run: Annotated[Path, typer.Argument(help="A run, ours or the upstream toolkit's.", exists=True, file_okay=False)],
    out: Annotated[
        Path, typer.Option(help="Model repository to write; an older one there is replaced.", file_okay=False)
    ],
    text_vectors: Annotated[
        Path | None,
        typer.Option(
            help="An .npz with `texts` and `vectors` to add to the table: strings served without the text model.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    text_model: Annotated[
        Path | None,
        typer.Option(
            help="Local folder of the frozen text model, copied into the repository; default: the one tokenize used.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="int8: the event encoder, most of the work, in 8 bits. What that costs is measured on held-out "
            "users and told in manifest.json and MODEL_CARD.md."
        ),
    ] = Precision.FP32,
    data: Annotated[
        Path | None,
        typer.Option(
            help="For int8: the tokenized data set to calibrate and measure with.", exists=True, file_okay=False
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="For int8: a task's labels to measure it on; once for each task.", metavar="TASK=PARQUET"),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run as a complete Triton model repository: ONNX graphs, task heads, tokenizer, text vectors, model card.

    A LoRA task becomes a model of its own, scoring_TASK, unless it is the run's only task.
    """
    import msgspec

    from pragmatiq_builder.export.repository import export_repository
    from pragmatiq_builder.runs import load_run
    from pragmatiq_triton.text_encoders.trust import OPTION, code_of

    label_files = _label_files(label or [])
    if precision == Precision.FP32 and (data or label_files):
        raise ConfigError("--data and --label are for --precision int8; leave them out or ask for int8")
    if precision == Precision.INT8 and data is None:
        raise ConfigError("--precision int8 needs --data TOK: a tokenized data set to calibrate and measure with")
    loaded = load_run(run)
    with RichProgress() as progress:
        manifest = export_repository(
            loaded,
            out,
            text_vectors=text_vectors,
            text_model=text_model,
            quantizer=_int8_quantizer(loaded, data, label_files, progress) if data else None,
            progress=progress,
        )
    values = msgspec.to_builtins(manifest)
    tasks = {task: model for model, named in manifest.tasks.items() for task in named}
    short = {"tasks": tasks or "none", "heads": len(manifest.heads), "files": len(manifest.files)}
    short |= {"quantization": _costs(manifest.quantization or {}) or "none"}
    show(f"Model repository in {out}", values if json else values | short, json)
    if code := code_of(loaded.vocabulary.config.text_encoder_spec):
        stderr.print(
            f"caution: serving it runs {code}, which serve, warm and the container do only with {OPTION}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if not json:
        _warn_without_server()
        stderr.print(f"next: pragmatiq serve {out}")


def _label_files(options: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for option in options:
        task, _, path = option.partition("=")
        if not (task and path):
            raise ConfigError(f"--label {option}: expected TASK=PARQUET, such as churn=labels/churn.parquet")
        if task in files:
            raise ConfigError(f"--label {option}: {task} has the labels {files[task]} already; give one file per task")
        files[task] = Path(path)
    return files


def _int8_quantizer(run: "Run", data: Path, label_files: dict[str, Path], progress: Progress) -> "Int8Quantizer":
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.export.int8_cost import Int8Quantizer

    return Int8Quantizer(run, TokenizedDataset(data), label_files, progress)


def _costs(quantization: "Mapping[str, Quantization]") -> str:
    """What int8 costs, a line for each scoring model and task."""
    lines = []
    for model, cost in quantization.items():
        lines.append(f"{model}: embedding cosine at least {cost.embedding_cosine.min:.6f}")
        lines += [
            f"{task}: ROC-AUC {found.roc_auc.difference:+.5f}, PR-AUC {found.pr_auc.difference:+.5f}, "
            f"scores by up to {found.max_score_change:.5f}"
            for task, found in cost.tasks.items()
        ]
    return "\n".join(lines)


def _warn_without_server() -> None:
    from pragmatiq_triton.errors import MissingDependencyError
    from pragmatiq_triton.server import find_server_environment

    try:
        find_server_environment()
    except MissingDependencyError as error:
        stderr.print(f"note: the repository cannot be served here yet: {error}", markup=False, highlight=False)
