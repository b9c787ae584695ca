"""Beginning a run with the weights of an older one."""

from pathlib import Path

from pragmatiq_builder import runs
from pragmatiq_builder.lineage import InitFrom, init_from
from pragmatiq_builder.network import NetworkConfig
from pragmatiq_builder.network.config import SIZES, Size
from pragmatiq_builder.training.data import TrainingData
from pragmatiq_triton.errors import ArtifactError, ConfigError

_FREE = frozenset({"dropout"})
"""Members of a network's config that are no shape."""


def load_start(path: Path, data: TrainingData, config: NetworkConfig) -> runs.Run:
    """The run at ``path``, ours or upstream's, whose weights fit ``data`` and a network of ``config``.

    Raises :class:`ConfigError` naming what differs, and :class:`ArtifactError` where the run cannot be read.
    """
    run = runs.load_run(path)
    if run.tokenizer_hash != data.tokenizer_hash:
        raise ConfigError(
            f"--init-from {path}: its tokenizer is {run.tokenizer_hash}, that of the data set is "
            f"{data.tokenizer_hash}, so the same numbers mean other values; tokenize the data with "
            f"--tokenizer-dir {path / 'tokenizer'}, or leave out --init-from to train from the start"
        )
    theirs = run.network.config
    differing = [
        f"{name} {getattr(theirs, name)} there, {getattr(config, name)} here"
        for name in NetworkConfig.__dataclass_fields__
        if name not in _FREE and getattr(theirs, name) != getattr(config, name)
    ]
    if differing:
        raise ConfigError(
            f"--init-from {path}: the network there has another shape: {', '.join(differing)}; "
            f"{_remedy(theirs, config)}"
        )
    return run


def _remedy(theirs: NetworkConfig, ours: NetworkConfig) -> str:
    there, here = (tuple(getattr(config, name) for name in Size._fields) for config in (theirs, ours))
    if there == here:
        return "tokenize the data with the run's tokenizer, --tokenizer-dir"
    for name, size in SIZES.items():
        if there == size:
            return f"choose its size: --model-size {name}"
    return "no --model-size has that shape, so leave out --init-from to train from the start"


def started_from(run: runs.Run) -> InitFrom:
    """What the new run says of ``run``."""
    return InitFrom(
        run=run.path.resolve().name,
        origin=run.origin,
        weights_hash=runs.weights_hash(run.network),
        init_from=init_from(run.path),
    )


def require_same_start(path: Path, given: InitFrom | None) -> None:
    """Raise :class:`ArtifactError` where the run at ``path``, which is to go on, began otherwise than is ``given``.

    A run with a checkpoint needs nothing given: its weights are there.
    """
    stored = init_from(path)
    if stored == given or (given is None and runs.has_checkpoint(path)):
        return
    was, now = (each and f"{each.run} ({each.weights_hash})" for each in (stored, given))
    raise ArtifactError(
        f"{path}: cannot resume: init_from was {was or 'none'}, is now {now or 'none'}; give the same again, or choose "
        "another --name"
    )
