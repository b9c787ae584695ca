"""Low-rank adapters (LoRA, arXiv 2106.09685) of a frozen network: attached for training, merged for serving, as a file.

A file holds ``<parameter>.down`` and ``<parameter>.up`` of every adapter, and the hash of the weights they adapt.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_triton.errors import ArtifactError

FORMAT = "1"
TARGETS = ("attn.qkv.weight", "ffn.net.0.weight", "ffn.net.3.weight")
"""The adapted parameters of every block of every encoder."""


class Adapter(NamedTuple):
    """``down`` [rank, in] and ``up`` [out, rank], float32."""

    down: Tensor
    up: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Adapters:
    """W of each parameter in ``weights`` becomes W + alpha / rank * up @ down."""

    alpha: float
    weights: dict[str, Adapter]

    @property
    def rank(self) -> int:
        return len(next(iter(self.weights.values())).down)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, ``down`` before ``up``."""
        return [tensor for adapter in self.weights.values() for tensor in adapter]


def add_adapters(network: PragmaNetwork, rank: int, alpha: float, generator: torch.Generator | None = None) -> Adapters:
    """Freeze ``network`` and let it compute with new adapters, which alone require gradients.

    ``up`` starts at zero, so the network's results are at first the same to the bit. Parameters keep their names.
    """
    network.requires_grad_(False)
    weights = {}
    for name, weight in network.named_parameters():
        if name.endswith(TARGETS):
            n_out, n_in = weight.shape
            down = torch.empty(rank, n_in).uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)
            weights[name] = Adapter(nn.Parameter(down.to(weight.device)), nn.Parameter(weight.new_zeros(n_out, rank)))
    adapters = Adapters(alpha, weights)
    for name, adapter in weights.items():
        _attach(network.get_submodule(name.removesuffix(".weight")), adapter, adapters.scale)
    return adapters


def merged(network: PragmaNetwork, adapters: Adapters) -> PragmaNetwork:
    """A network of its own, in eval mode on the CPU, whose weights are those of ``network`` with ``adapters``."""
    state = dict(network.state_dict())
    for name, adapter in adapters.weights.items():
        state[name] = state[name] + adapters.scale * (adapter.up @ adapter.down).to(state[name].device)
    result = PragmaNetwork(network.config)
    result.load_state_dict(state)
    return result.eval()


def save_adapters(adapters: Adapters, path: Path, base_hash: str) -> None:
    """Write ``adapters``, fitted to weights of hash ``base_hash``, to the file ``path``."""
    tensors = {
        f"{name}.{part}": tensor.detach().contiguous()
        for name, adapter in adapters.weights.items()
        for part, tensor in adapter._asdict().items()
    }
    metadata = {"format": FORMAT, "rank": str(adapters.rank), "alpha": repr(adapters.alpha), "base_hash": base_hash}
    safetensors.torch.save_file(tensors, path, metadata)


def load_adapters(path: Path, base_hash: str) -> Adapters:
    """Read what :func:`save_adapters` wrote.

    :class:`ArtifactError` where it is missing or damaged, or was fitted to other weights than those of ``base_hash``.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        _require(path, "format", metadata.get("format"), FORMAT, "fit the adapters anew")
        _require(path, "base_hash", metadata.get("base_hash"), base_hash, "take the run that they were fitted to")
        names = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
        weights = {name: Adapter(tensors[f"{name}.down"], tensors[f"{name}.up"]) for name in names}
        adapters = Adapters(float(metadata["alpha"]), weights)
        _require(path, "rank", metadata["rank"], str(adapters.rank), "restore it or fit the adapters anew")
        if wrong := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
            raise ValueError(f"{wrong[0]} holds NaN or infinity")
    except (OSError, SafetensorError, KeyError, ValueError, StopIteration) as error:
        state = "cannot be read" if path.exists() else "is missing"
        raise ArtifactError(
            f"{path}: {state} ({type(error).__name__}: {error}); restore it or fit the adapters anew"
        ) from error
    return adapters


def _attach(linear: nn.Module, adapter: Adapter, scale: float) -> None:
    def add(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + scale * F.linear(F.linear(inputs[0], adapter.down), adapter.up)

    linear.register_forward_hook(add)


def _require(path: Path, what: str, found: str | None, expected: str, remedy: str) -> None:
    if found != expected:
        raise ArtifactError(f"{path}: {what} {found!r}, expected {expected!r}; {remedy}")
