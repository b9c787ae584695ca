"""The commands as functions: the same arguments, work and errors, progress in terminals and notebooks.

Imports stay within the functions, so that loading a model for scores needs no training package.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    from pragmatiq_builder.comparison import Comparison
    from pragmatiq_builder.dataset.tokenize import TokenizeSummary
    from pragmatiq_builder.heads import Head
    from pragmatiq_builder.ingest import IngestReport
    from pragmatiq_builder.metrics import Evaluation
    from pragmatiq_builder.predict import Predicted
    from pragmatiq_builder.raw.validation.report import ValidationReport
    from pragmatiq_builder.shipped_configs import Topic
    from pragmatiq_builder.synth.generate import SynthSummary
    from pragmatiq_triton.manifest import Manifest

StrPath = str | os.PathLike[str]


def synth(out: StrPath, *, users: int = 2000, seed: int = 0, progress: bool = True) -> "SynthSummary":
    """Generate customers with habits into the folder ``out``, and labels that their histories explain.

    Example:
        >>> import pragmatiq_triton as pt
        >>> pt.synth(folder / "synth", users=20, progress=False).users
        20
    """
    from pragmatiq_builder.synth import generate

    with _shown(progress) as shown:
        return generate(Path(out), users, seed, shown)


def ingest(
    settings: StrPath,
    out: StrPath,
    *,
    rejected: StrPath | None = None,
    memory: str | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> "IngestReport":
    """Make a raw data folder ``out`` of the tables that the YAML file ``settings`` names.

    Raises :class:`ConfigError` for settings that do not fit the tables, and
    :class:`~pragmatiq_builder.ingest.LimitsExceededError`, whose ``report`` has the counts, where more rows are bad
    than they allow. ``memory``: most of it for sorting and joining, such as "2GB".

    Example:
        >>> import pragmatiq_triton as pt
        >>> _ = (folder / "cards.csv").write_text("customer,at,amount\\nc1,2026-01-31 09:30,12.50\\n")
        >>> _ = (folder / "ingest.yaml").write_text(
        ...     "events: [{table: cards.csv, source: card, user: customer, time: at, fields: [amount]}]"
        ... )
        >>> pt.ingest(folder / "ingest.yaml", folder / "raw", progress=False).events
        1
    """
    from pragmatiq_builder.ingest import ingest as run

    with _shown(progress) as shown:
        return run(Path(settings), Path(out), rejected=_path(rejected), memory=memory, threads=threads, progress=shown)


def validate(
    data: StrPath,
    *,
    earliest_time: str | None = None,
    tokenizer_dir: StrPath | None = None,
    progress: bool = True,
) -> "ValidationReport":
    """Check a raw data folder against the contract; what is wrong is in the report and raises nothing.

    ``earliest_time`` (a date), or else the fitted tokenizer in ``tokenizer_dir``, says which times are plausible.
    Raises :class:`ConfigError` for both of them.
    """
    from pragmatiq_builder.raw.validation import validate as check
    from pragmatiq_triton.time_range import PLAUSIBLE
    from pragmatiq_triton.tokenizer import Vocabulary

    if earliest_time is not None and tokenizer_dir is not None:
        raise ConfigError("earliest_time and tokenizer_dir exclude each other: a fitted tokenizer says its times")
    fitted = Vocabulary.load(Path(tokenizer_dir)).times if tokenizer_dir is not None else None
    with _shown(progress) as shown:
        return check(Path(data), shown, fitted or PLAUSIBLE.with_bounds(earliest_time, None))


def tokenize(
    data: StrPath,
    out: StrPath,
    *,
    config: StrPath | Mapping[str, Any] | None = None,
    tokenizer_dir: StrPath | None = None,
    text_model: StrPath | None = None,
    trust_remote_code: bool | None = None,
    progress: bool = True,
) -> "TokenizeSummary":
    """Fit a tokenizer on a raw data folder, or take the one in ``tokenizer_dir``, and encode the data to ``out``.

    ``config`` is a YAML file, the name of a shipped one (``bpe``, ``hash``, ``nemotron``), or the settings themselves;
    ``text_model`` the local folder of the frozen text model.
    Raises :class:`ConfigError` for settings that do not exist, :class:`~pragmatiq_triton.errors.DataError` for data
    that break the contract.
    """
    from pragmatiq_builder.dataset.tokenize import tokenize as run
    from pragmatiq_triton.tokenizer import TokenizerConfig

    if config is not None and tokenizer_dir is not None:
        raise ConfigError("config and tokenizer_dir exclude each other: a fitted tokenizer carries its settings")
    with _shown(progress) as shown:
        return run(
            Path(data),
            Path(out),
            TokenizerConfig.from_settings(_settings(config, "data")),
            tokenizer_dir=_path(tokenizer_dir),
            text_model=_path(text_model),
            trusted=trust_remote_code,
            progress=shown,
        )


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
    with _shown(progress) as shown:
        settings = load_settings(None, {**_settings(config, "train"), **given})
        data = TokenizedDataset(Path(tok))
        return run(data, settings, Path(runs_root), name, resume, shown, init_from=_path(init_from))


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
    settings = finetune_settings(_settings(config, None), method, test_from, calibration_from, unseen_users)
    with _shown(progress) as shown:
        data = TokenizedDataset(Path(tok))
        if final:
            return finetune_final(load_run(Path(run)), data, Path(label), task, shown, features_file=_path(features))
        return fit(
            load_run(Path(run)),
            data,
            Path(label),
            task,
            settings,
            shown,
            features_file=_path(features),
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

    with _shown(progress) as shown:
        return measure(
            load_run(Path(run)),
            TokenizedDataset(Path(tok)),
            Path(label),
            task,
            _path(out),
            n_folds=folds,
            rows_file=_path(rows),
            own_scores=_path(baseline_rows),
            test_from=test_from,
            features_file=_path(features),
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


def export(
    run: StrPath,
    out: StrPath,
    *,
    text_vectors: StrPath | None = None,
    text_model: StrPath | None = None,
    precision: Literal["fp32", "int8"] = "fp32",
    data: StrPath | None = None,
    label: Mapping[str, StrPath] | None = None,
    progress: bool = True,
) -> "Manifest":
    """Write a run as a complete Triton model repository to ``out``, in place of an older one there.

    ``precision`` "int8" needs ``data``, the tokenized data set to calibrate and measure with, and ``label``, the labels
    of each task by its name. Raises :class:`ConfigError` where these are given without int8, or int8 without data.
    """
    from pragmatiq_builder.dataset.store import TokenizedDataset
    from pragmatiq_builder.export.int8_cost import Int8Quantizer
    from pragmatiq_builder.export.repository import export_repository
    from pragmatiq_builder.runs import load_run

    if precision == "fp32" and (data is not None or label):
        raise ConfigError('data and label are for precision="int8"; leave them out or ask for int8')
    if precision == "int8" and data is None:
        raise ConfigError('precision="int8" needs data: a tokenized data set to calibrate and measure with')
    loaded = load_run(Path(run))
    with _shown(progress) as shown:
        quantizer = None
        if data is not None:
            files = {task: Path(file) for task, file in (label or {}).items()}
            quantizer = Int8Quantizer(loaded, TokenizedDataset(Path(data)), files, shown)
        return export_repository(
            loaded,
            Path(out),
            text_vectors=_path(text_vectors),
            text_model=_path(text_model),
            quantizer=quantizer,
            progress=shown,
        )


def predict(
    data: StrPath,
    repository: StrPath,
    out: StrPath,
    *,
    at: StrPath | None = None,
    features: StrPath | None = None,
    embeddings: bool = False,
    shard: str = "1/1",
    rejected: StrPath | None = None,
    resume: bool = False,
    processes: int | None = None,
    settings: StrPath | None = None,
    trust_remote_code: bool | None = None,
    progress: bool = True,
) -> "Predicted":
    """Score a book of customers to the parquet file ``out``, on all cores and without a server.

    The arguments are the command's. More than one process starts others, so a script that calls this does so under
    ``if __name__ == "__main__":``.
    """
    from pragmatiq_builder.predict import predict as run
    from pragmatiq_builder.predict.requests import Shard

    with _shown(progress) as shown:
        return run(
            Path(data),
            Path(repository),
            Path(out),
            at=_path(at),
            features=_path(features),
            embeddings=embeddings,
            shard=Shard.of(shard),
            rejected=_path(rejected),
            resume=resume,
            processes=processes,
            trusted=trust_remote_code,
            settings_file=_path(settings),
            progress=shown,
        )


@contextmanager
def _shown(progress: bool) -> Iterator[Progress]:
    if not progress:
        yield Silent()
        return
    from pragmatiq_builder.cli.console import RichProgress

    with RichProgress() as shown:
        yield shown


def _path(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)


def _settings(config: StrPath | Mapping[str, Any] | None, topic: "Topic | None") -> dict[str, Any]:
    from pragmatiq_builder.settings import read_settings
    from pragmatiq_builder.shipped_configs import config_file

    if config is None or isinstance(config, Mapping):
        return dict(config or {})
    return read_settings(config_file(os.fspath(config), topic))
