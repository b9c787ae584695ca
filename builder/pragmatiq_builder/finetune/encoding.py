"""The exported network of a run, or of a LoRA fit, as the encoder of labelled histories."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.classifiers import Array
from pragmatiq_builder.finetune.inputs import HeadInputs, LabelledInputs, feature_names_of_rows, head_inputs
from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_builder.progress import Progress
from pragmatiq_builder.runs import Run, weights_hash
from pragmatiq_builder.threads import threads
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.finite import require_finite
from pragmatiq_triton.scorer import Scorer


def check_same_tokenizer(run: Run, data: TokenizedDataset) -> None:
    """Raises :class:`ArtifactError` where ``data`` was not tokenized with the run's tokenizer."""
    if data.tokenizer_hash != run.tokenizer_hash:
        raise ArtifactError(
            f"{data.folder}: tokenized with {data.tokenizer_hash}, the run {run.path} was trained with "
            f"{run.tokenizer_hash}; tokenize with --tokenizer-dir {run.path / 'tokenizer'}"
        )


def users_of(data: TokenizedDataset, rows: LabelledRows) -> Array:
    """Each row's user id, object [n]."""
    return np.asarray(data.user_ids, np.object_)[rows.users]


def encode_rows(
    network: PragmaNetwork,
    data: TokenizedDataset,
    rows: LabelledRows,
    *,
    max_events: int | None,
    kept: Path | None,
    progress: Progress,
) -> LabelledInputs:
    """``rows`` as ``network`` reads them; from the file ``kept`` where it is of the same histories and weights."""
    feature_names = feature_names_of_rows(data, rows)
    key = _key(network, data, rows, max_events, feature_names)
    inputs = HeadInputs.load(kept, key) if kept else None
    if inputs is None:
        with exported(network) as scorer:
            inputs = head_inputs(data, rows, scorer, max_events=max_events, progress=progress)
        if kept:
            inputs.save(kept, key)
    for name in ("user_embedding", "event_state"):
        # Features may be NaN, unknown; a classifier would take a vector's NaN for the same.
        require_finite(name, getattr(inputs, name), "the run's weights or text vectors are damaged")
    return LabelledInputs(inputs, feature_names, rows.labels, users_of(data, rows))


@contextmanager
def exported(network: PragmaNetwork) -> Iterator[Scorer]:
    """The network on ONNX Runtime, on as many threads as :mod:`pragmatiq_builder.threads` says."""
    with tempfile.TemporaryDirectory(prefix="pragmatiq-") as folder:
        export_graphs(network, Path(folder))
        yield Scorer(Path(folder), threads=threads())


def _key(
    network: PragmaNetwork, data: TokenizedDataset, rows: LabelledRows, max_events: int | None, names: list[str]
) -> str:
    """The hash of all that the inputs of ``rows`` depend on."""
    made_of = [weights_hash(network), data.tokenizer_hash, names, rows.kind, max_events]
    digest = hashlib.sha256(json.dumps(made_of).encode())
    for array in (rows.users, rows.at, *(each for each in (rows.events, rows.own) if each is not None)):
        digest.update(array.tobytes())
    for user in np.unique(rows.users).tolist():
        record = data.encoded(user)
        events: list[Array] = [record.event_lengths, record.event_ts, record.tokens, record.numbers]
        for array in (*events, record.item_lengths, record.item_ts, record.profile):
            digest.update(array.tobytes())
    if data.texts:
        digest.update((data.texts.folder / "encoder.json").read_bytes())
    return digest.hexdigest()
