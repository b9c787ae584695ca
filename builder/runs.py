"""Runs: what pre-training leaves behind, ours or upstream's, and how it is read back.

``runs/<name>/`` holds ``run.yaml`` (settings), ``meta.json``, ``metrics.jsonl``, ``tokenizer/`` and
``checkpoints/last/`` with ``model.safetensors`` (network and head) and ``trainer.pt``; upstream's run holds
``checkpoints/last.pt`` in its stead.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from builder.network import MaskedValueHead, NetworkConfig, PragmaNetwork
from pragmatiq_triton.errors import ArtifactError, NotFiniteError
from pragmatiq_triton.tokenizer import Vocabulary

FORMAT = "1"
UPSTREAM_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Run:
    """A pre-trained network, in eval mode on the CPU, with the tokenizer that it was trained with.

    ``text_encoder`` names the frozen encoder of the text vectors, None for a run without a text branch; their width is
    ``network.config.text_dim``.
    """

    name: str
    path: Path
    origin: Literal["pragmatiq-triton", "upstream"]
    network: PragmaNetwork
    head: MaskedValueHead
    vocabulary: Vocabulary
    text_encoder: str | None

    @property
    def tokenizer_hash(self) -> str:
        return self.vocabulary.content_hash


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a checkpoint says of its weights."""

    config: NetworkConfig
    tokenizer_hash: str
    text_encoder: str | None


def load_run(path: Path) -> Run:
    """Read a run folder, ours or upstream's.

    Raises :class:`ArtifactError` where a file is missing or damaged, or the weights belong to another tokenizer.
    """
    vocabulary = Vocabulary.load(path / "tokenizer")
    upstream_file = path / "checkpoints" / "last.pt"
    origin: Literal["pragmatiq-triton", "upstream"]
    if (checkpoint := _last_checkpoint(path)) is not None:
        origin, file = "pragmatiq-triton", checkpoint / "model.safetensors"
        info, network_state, head_state = _read_model(file)
    elif upstream_file.exists():
        origin, file = "upstream", upstream_file
        info, network_state, head_state = _read_upstream(file, vocabulary)
    else:
        raise ArtifactError(
            f"{path}: no checkpoint: expected {path / 'checkpoints' / 'last'} (ours) or {upstream_file} (upstream); "
            "let pre-training write one, or name another run"
        )
    if info.tokenizer_hash != vocabulary.content_hash:
        raise ArtifactError(
            f"{file}: trained with tokenizer {info.tokenizer_hash}, but {path / 'tokenizer'} holds "
            f"{vocabulary.content_hash}; put back the tokenizer that the run was trained with"
        )
    network = PragmaNetwork(info.config)
    head = MaskedValueHead(info.config.dim, info.config.text_dim)
    _load_weights(network, network_state, file)
    _load_weights(head, head_state, file)
    return Run(path.name, path, origin, network.eval(), head.eval(), vocabulary, info.text_encoder)


def create_run(path: Path, settings: Mapping[str, Any], meta: Mapping[str, Any], tokenizer_dir: Path) -> None:
    """Make the folder of a new run: its settings, its description and a copy of its tokenizer."""
    Vocabulary.load(tokenizer_dir).save(path / "tokenizer")
    (path / "run.yaml").write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
    (path / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def weights_hash(network: PragmaNetwork) -> str:
    """SHA-256 over the network's parameters: their names, shapes and float32 bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(
    path: Path, network: PragmaNetwork, head: MaskedValueHead, info: ModelInfo, trainer: Mapping[str, Any]
) -> None:
    """Replace the checkpoint of the run at ``path``; a kill at any moment leaves a complete one behind."""
    checkpoints = path / "checkpoints"
    new, last, previous = (checkpoints / name for name in ("new", "last", "previous"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    modules: dict[str, nn.Module] = {"network": network, "head": head}
    tensors = {f"{part}.{name}": t for part, module in modules.items() for name, t in module.state_dict().items()}
    # One entry: safetensors writes several in random order, and the same weights should be the same bytes.
    metadata = {"info": json.dumps({"format": FORMAT, **asdict(info)})}
    safetensors.torch.save_file(tensors, new / "model.safetensors", metadata)
    torch.save(dict(trainer), new / "trainer.pt")
    for written in (new / "model.safetensors", new / "trainer.pt", new):
        _fsync(written)
    if last.exists():
        shutil.rmtree(previous, ignore_errors=True)
        last.rename(previous)
    new.rename(last)
    _fsync(checkpoints)
    shutil.rmtree(previous, ignore_errors=True)


def load_trainer(path: Path) -> dict[str, Any]:
    """The trainer's state that :func:`save_checkpoint` wrote with the run's weights."""
    checkpoint = _last_checkpoint(path)
    if checkpoint is None:
        raise ArtifactError(f"{path}: no checkpoint to resume from; remove the folder or choose another name")
    return _torch_load(checkpoint / "trainer.pt")


def has_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint of ours in the run at ``path``."""
    return _last_checkpoint(path) is not None


def _last_checkpoint(path: Path) -> Path | None:
    """``last``, or ``previous`` where a kill fell between the two renames that replace it."""
    candidates = (path / "checkpoints" / name for name in ("last", "previous"))
    return next((checkpoint for checkpoint in candidates if checkpoint.exists()), None)


def _read_model(file: Path) -> tuple[ModelInfo, dict[str, Tensor], dict[str, Tensor]]:
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _damaged(file, error) from error
    try:
        info = json.loads(metadata["info"])
        found = info.pop("format", None)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(file, error) from error
    if found != FORMAT:
        raise ArtifactError(f"{file}: format {found!r}, expected {FORMAT!r}; train or export it anew")
    try:
        info = ModelInfo(NetworkConfig(**info.pop("config")), **info)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, error) from error
    return info, _part(tensors, "network."), _part(tensors, "head.")


def _read_upstream(file: Path, vocabulary: Vocabulary) -> tuple[ModelInfo, dict[str, Tensor], dict[str, Tensor]]:
    stored = _torch_load(file)
    if stored.get("format") != UPSTREAM_FORMAT:
        raise ArtifactError(
            f"{file}: upstream checkpoint format {stored.get('format')!r}, expected {UPSTREAM_FORMAT}; "
            "save it with upstream 1.x"
        )
    try:
        config = dict(stored["model_config"])
        text_encoder, text_dim = config.pop("text_encoder"), config.pop("text_encoder_dim")
        if not vocabulary.config.embeds_text:
            text_encoder, text_dim = None, 0
        info = ModelInfo(NetworkConfig(**config, text_dim=text_dim), stored["tokenizer_hash"], text_encoder)
        return info, stored["model"], stored["head"]
    except (KeyError, TypeError) as error:
        raise _damaged(file, error) from error


def _load_weights(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise _damaged(file, error) from error
    for name, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise NotFiniteError(
                f"{file}: the weight {name} holds NaN or infinity; restore the run from a backup or train it again"
            )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _torch_load(file: Path) -> dict[str, Any]:
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise _damaged(file, error) from error
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{file}: holds a {type(loaded).__name__}, expected a dict; restore it from a backup")
    return loaded


def _damaged(file: Path, error: Exception) -> ArtifactError:
    state = "cannot be read" if file.exists() else "is missing"
    reason = " ".join(str(error).split())
    return ArtifactError(f"{file}: {state} ({type(error).__name__}: {reason}); restore the run from a backup")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
