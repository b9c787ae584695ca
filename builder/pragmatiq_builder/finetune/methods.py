"""All methods behind one call: rows in, an uncalibrated head and what it reads of every row out."""

from dataclasses import dataclass, field
from pathlib import Path

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.encoding import encode_rows
from pragmatiq_builder.finetune.fitting import feature_names_of, fit_head, linear_head
from pragmatiq_builder.finetune.inputs import LabelledInputs, row_features
from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.finetune.lora import fit_lora
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.head_methods import METHODS
from pragmatiq_builder.heads import Head
from pragmatiq_builder.heads.lora import Adapters, merged
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.runs import Run
from pragmatiq_triton.batch import Int64


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """``head`` reads ``inputs``, which has every labelled row; ``adapters`` are those of a LoRA fit."""

    head: Head
    inputs: LabelledInputs
    adapters: Adapters | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FitCase:
    """What a head of ``task`` is fitted to: the labelled ``rows`` of ``data``, as the network of ``run`` reads them."""

    run: Run
    data: TokenizedDataset
    rows: LabelledRows
    task: str
    settings: FinetuneSettings
    progress: Progress = field(default_factory=Silent)


def fit_task(case: FitCase, train: Int64, *, kept: Path | None = None, inputs: LabelledInputs | None = None) -> Fit:
    """Fit the head of ``case`` to the rows numbered ``train``.

    Args:
        case: what to fit, and how.
        train: numbers of rows, int64 [n_train].
        kept: the file of inputs to read if it is of these rows and weights, or else to write.
        inputs: all rows as the unchanged network reads them, if they are known; a method that adapts the network makes
            its own.
    """
    settings, rows = case.settings, case.rows
    if METHODS[settings.method].adapts_network:
        return _fit_adapters(case, train, kept)
    if inputs is None:
        inputs = encode_rows(case.run.network, case.data, rows, max_events=None, kept=kept, progress=case.progress)
    head = fit_head(case.task, settings.method, rows.kind, settings.classifier, inputs.rows(train), settings.seed)
    return Fit(head, inputs)


def _fit_adapters(case: FitCase, train: Int64, kept: Path | None) -> Fit:
    run, data, rows = case.run, case.data, case.rows
    features = row_features(data, rows, "recency" if feature_names_of("lora", rows.kind, ()) else "none")
    fitted = fit_lora(run.network, data, rows, train, features, case.settings.lora, case.progress)
    head = linear_head(case.task, rows.kind, fitted.linear)
    head.info.update(max_events=fitted.max_events, history=[each._asdict() for each in fitted.history])
    network = merged(run.network, fitted.adapters)
    inputs = encode_rows(network, data, rows, max_events=fitted.max_events, kept=kept, progress=case.progress)
    return Fit(head, inputs, fitted.adapters)
