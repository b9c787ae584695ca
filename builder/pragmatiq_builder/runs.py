"""Runs: what pre-training leaves behind, ours or upstream's, and how it is read back.

``runs/<name>/`` holds ``run.yaml`` (settings), ``meta.json``, ``metrics.jsonl``, ``tokenizer/`` and
``checkpoints/last/`` with ``model.safetensors`` (network and head) and ``trainer.pt``; upstream's run holds
``checkpoints/last.pt`` in its stead.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pragmatiq_builder.network import MaskedValueHead, NetworkConfig, PragmaNetwork
from pragmatiq_builder.replacing import replaced_folder
from pragmatiq_builder.writing import write_errors
from pragmatiq_triton.errors import ArtifactError, ConfigError, NotFiniteError
from pragmatiq_triton.tokenizer import Vocabulary

FORMAT = "1"
SETTINGS_FILE = "run.yaml"
CHECKPOINTS = "checkpoints"
UPSTREAM_FORMAT = 2
MOST_OF_REASON = 500
"""Characters of a library's error: torch lists every tensor."""


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
    upstream_file = path / CHECKPOINTS / "last.pt"
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
    network, head = _modules(info.config, file)
    _load_weights(network, network_state, file)
    _load_weights(head, head_state, file)
    return Run(path.name, path, origin, network.eval(), head.eval(), vocabulary, info.text_encoder)


def create_run(path: Path, settings: Mapping[str, Any], meta: Mapping[str, Any], tokenizer_dir: Path) -> None:
    """Make the folder of a new run: its settings, its description and a copy of its tokenizer."""
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        # First, since it is what tells a run from other folders.
        (path / SETTINGS_FILE).write_text(yaml.safe_dump(dict(settings), sort_keys=False), encoding="utf-8")
        (path / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        Vocabulary.load(tokenizer_dir).save(path / "tokenizer")


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
    """Replace the checkpoint of the run at ``path``; a kill at any moment leaves a complete one, if there was one."""
    modules: dict[str, nn.Module] = {"network": network, "head": head}
    tensors = {f"{part}.{name}": t for part, module in modules.items() for name, t in module.state_dict().items()}
    # One entry: safetensors writes several in random order, and the same weights should be the same bytes.
    metadata = {"info": json.dumps({"format": FORMAT, **asdict(info)})}
    with replaced_folder(path / CHECKPOINTS / "last", "checkpoint", lambda _: None) as new:
        safetensors.torch.save_file(tensors, new / "model.safetensors", metadata)
        torch.save(dict(trainer), new / "trainer.pt")


def load_trainer(path: Path) -> dict[str, Any]:
    """The trainer's state that :func:`save_checkpoint` wrote with the run's weights."""
    checkpoint = _last_checkpoint(path)
    if checkpoint is None:
        raise ArtifactError(f"{path}: no checkpoint to resume from; remove the folder or choose another name")
    return _torch_load(checkpoint / "trainer.pt")


def has_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint of ours in the run at ``path``."""
    return _last_checkpoint(path) is not None


def is_run(path: Path) -> bool:
    """Whether ``path`` is the folder of a run, ours or upstream's, with or without a checkpoint."""
    return (path / CHECKPOINTS).exists() or (path / SETTINGS_FILE).exists()


def is_upstream(path: Path) -> bool:
    """Whether the run at ``path`` is the upstream toolkit's."""
    return (path / CHECKPOINTS / "last.pt").exists() and not has_checkpoint(path)


def _last_checkpoint(path: Path) -> Path | None:
    """``last``, or what it was called when a kill fell between the two renames that replace it."""
    candidates = (path / CHECKPOINTS / name for name in ("last", ".last.old", "previous"))
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
    except (KeyError, TypeError, ValueError, ArithmeticError, ConfigError) as error:
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
    except (KeyError, TypeError, ValueError, ArithmeticError, ConfigError) as error:
        raise _damaged(file, error) from error


def _modules(config: NetworkConfig, file: Path) -> tuple[PragmaNetwork, MaskedValueHead]:
    """The network and head of ``config``, which is data that may say anything."""
    try:
        return PragmaNetwork(config), MaskedValueHead(config.dim, config.text_dim)
    except Exception as error:
        raise _damaged(file, error) from error


def _load_weights(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Fill ``module``; torch itself would take whole numbers."""
    try:
        for name, tensor in state.items():
            if not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
                found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
                raise TypeError(f"{name} is {found}, expected floating-point numbers")
        module.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
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
    except Exception as error:
        # Damaged bytes are read as anything, and fail as anything.
        raise _damaged(file, error) from error
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{file}: holds a {type(loaded).__name__}, expected a dict; restore it from a backup")
    return loaded


def _damaged(file: Path, error: Exception) -> ArtifactError:
    state = "cannot be read" if file.exists() else "is missing"
    reason = " ".join(str(error).split())
    if len(reason) > MOST_OF_REASON:
        reason = f"{reason[:MOST_OF_REASON]} ..."
    return ArtifactError(f"{file}: {state} ({type(error).__name__}: {reason}); restore the run from a backup")
