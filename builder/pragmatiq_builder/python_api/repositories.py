"""Commands that make a repository and score a whole book with it, as functions.

Imports stay within the functions, so that loading a model for scores needs no training package.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pragmatiq_builder.python_api.arguments import StrPath, path_of, shown_if
from pragmatiq_triton.errors import ConfigError

if TYPE_CHECKING:
    from pragmatiq_builder.predict import Predicted
    from pragmatiq_triton.manifest import Manifest


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
    with shown_if(progress) as shown:
        quantizer = None
        if data is not None:
            files = {task: Path(file) for task, file in (label or {}).items()}
            quantizer = Int8Quantizer(loaded, TokenizedDataset(Path(data)), files, shown)
        return export_repository(
            loaded,
            Path(out),
            text_vectors=path_of(text_vectors),
            text_model=path_of(text_model),
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

    with shown_if(progress) as shown:
        return run(
            Path(data),
            Path(repository),
            Path(out),
            at=path_of(at),
            features=path_of(features),
            embeddings=embeddings,
            shard=Shard.of(shard),
            rejected=path_of(rejected),
            resume=resume,
            processes=processes,
            trusted=trust_remote_code,
            settings_file=path_of(settings),
            progress=shown,
        )
