"""A head that was fitted, and the labels that are to judge it."""

from pathlib import Path

import msgspec

from builder.dataset.store import TokenizedDataset
from builder.finetune.encoding import users_of
from builder.finetune.labels import LabelledRows, read_labels
from builder.finetune.settings import FinetuneSettings
from builder.finetune.splits import Split, split_at
from builder.heads import Head
from builder.heads.saved import SavedHead
from pragmatiq_triton.errors import ArtifactError


def settings_of(saved: SavedHead) -> FinetuneSettings:
    """What the head was fitted with; :class:`ArtifactError` where it does not say."""
    try:
        return msgspec.convert(saved.head.info["settings"], FinetuneSettings)
    except (KeyError, msgspec.ValidationError) as error:
        raise ArtifactError(
            f"{saved.folder}: head.json does not say how it was fitted ({error}); fine-tune again"
        ) from error


def labels_for(head: Head, label_file: Path, data: TokenizedDataset) -> LabelledRows:
    """The rows of ``label_file``; :class:`DataError` where they are of another kind than ``head`` judges."""
    return read_labels(label_file, data, judge=head)


def split_of(saved: SavedHead, rows: LabelledRows, data: TokenizedDataset) -> Split:
    """The parts of ``rows``, divided as they were for fitting the head, by the same users and the same date."""
    settings = settings_of(saved).split
    if "cutoff_ts" not in saved.head.info:
        raise ArtifactError(f"{saved.folder}: head.json does not say at which date it was fitted; fine-tune again")
    return split_at(users_of(data, rows).tolist(), rows, settings, saved.head.info["cutoff_ts"])
