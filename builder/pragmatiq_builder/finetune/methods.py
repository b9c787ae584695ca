"""The three methods behind one call: rows in, an uncalibrated head and what it reads of every row out."""

from dataclasses import dataclass
from pathlib import Path

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.encoding import encode_rows
from pragmatiq_builder.finetune.fitting import feature_names_of, fit_head, linear_head
from pragmatiq_builder.finetune.inputs import LabelledInputs, row_features
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_builder.finetune.lora import fit_lora
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.heads import Head
from pragmatiq_builder.heads.lora import Adapters, merged
from pragmatiq_builder.progress import Progress
from pragmatiq_builder.runs import Run
from pragmatiq_triton.batch import Int64


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """``head`` reads ``inputs``, which has every labelled row; ``adapters`` are those of a LoRA fit."""

    head: Head
    inputs: LabelledInputs
    adapters: Adapters | None = None


def fit_frozen(inputs: LabelledInputs, kind: Kind, train: Int64, task: str, settings: FinetuneSettings) -> Fit:
    """Fit ``task`` by a method that leaves the network as it is; ``inputs`` are all rows as the network reads them."""
    assert settings.method != "lora"
    head = fit_head(task, settings.method, kind, settings.classifier, inputs.rows(train), settings.seed)
    return Fit(head, inputs)


def fit_task(
    run: Run,
    data: TokenizedDataset,
    rows: LabelledRows,
    train: Int64,
    task: str,
    settings: FinetuneSettings,
    kept: Path | None,
    progress: Progress,
) -> Fit:
    """Fit ``task`` to the rows numbered ``train``.

    ``kept``: the file of inputs to read, where it is of these rows and weights, or else to write.
    """
    if settings.method != "lora":
        inputs = encode_rows(run.network, data, rows, max_events=None, kept=kept, progress=progress)
        return fit_frozen(inputs, rows.kind, train, task, settings)
    features = row_features(data, rows, "recency" if feature_names_of("lora", rows.kind, ()) else "none")
    fitted = fit_lora(run.network, data, rows, train, features, settings.lora, progress)
    head = linear_head(task, rows.kind, fitted.linear)
    head.info.update(max_events=fitted.max_events, history=[each._asdict() for each in fitted.history])
    network = merged(run.network, fitted.adapters)
    inputs = encode_rows(network, data, rows, max_events=fitted.max_events, kept=kept, progress=progress)
    return Fit(head, inputs, fitted.adapters)
