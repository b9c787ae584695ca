"""Fitting low-rank adapters and a linear head to one binary task, with the network itself frozen."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from msgspec import Meta, Struct
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.classifiers import DEFAULT_REGULARISATION
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_builder.finetune.row_batches import Plan, RowBatch, RowBatches, row_states
from pragmatiq_builder.heads import Linear
from pragmatiq_builder.heads.lora import Adapter, Adapters, add_adapters
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.progress import Progress, Silent
from pragmatiq_builder.training.data import split_users
from pragmatiq_builder.training.device import make_fabric
from pragmatiq_builder.training.optimizers import rate
from pragmatiq_builder.training.settings import Count, NotNegative, Positive
from pragmatiq_triton.batch import Float32, Int64
from pragmatiq_triton.errors import DataError

SAMPLE_ROWS = 4096
"""Training rows whose states give the head its means and scales."""
LEAST_SCALE = 0.3
"""Of a state's scale relative to the median one: adapters move states that hardly differ between rows, too."""


class LoraSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that fitting adapters can be told."""

    rank: Count = 8
    alpha: Positive = 8.0
    """The adapters' product is scaled by alpha / rank."""
    max_events: Count = 256
    """Newest events of a history that are read, in fitting and by whoever uses the fit."""
    max_epochs: Count = 6
    patience: Count = 2
    """Evaluations without a better loss after which fitting ends."""
    validate_every: Count | None = None
    """Steps from one evaluation to the next; unset: an epoch."""
    held_out: Annotated[float, Meta(gt=0, lt=1)] = 0.15
    """Share of the users that only tell when to stop."""
    token_budget: Count = 16_384
    """Event tokens of one batch, and the events of its rows' histories; rows of one user beyond it are split."""
    lr: Positive = 3e-4
    """Peak rate of adapters and head."""
    warmup: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    """Share of the steps with a linear warm-up; a cosine leads from there to 0."""
    weight_decay: NotNegative = 0.01
    grad_clip: Positive = 1.0
    seed: Annotated[int, Meta(ge=0)] = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16-mixed where the processor or GPU has bfloat16 units, else 32-true."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"


class Evaluation(NamedTuple):
    """Mean log losses after ``step`` steps: of the training rows since the last evaluation, and of those held out.

    Step 0 is the probe that fitting begins with.
    """

    epoch: int
    step: int
    train_loss: float
    held_out_loss: float


@dataclass(frozen=True, slots=True, eq=False)
class LoraFit:
    """The adapters and head of the best evaluation in ``history``.

    ``linear`` reads [user_embedding, features], of events [user_embedding, event_state, features], of the network with
    ``adapters`` run on the newest ``max_events`` events.
    """

    adapters: Adapters
    linear: Linear
    max_events: int
    history: list[Evaluation]


def fit_lora(
    network: PragmaNetwork,
    data: TokenizedDataset,
    rows: LabelledRows,
    train: Int64,
    features: Float32,
    settings: LoraSettings = LoraSettings(),
    progress: Progress = Silent(),
) -> LoraFit:
    """Fit adapters of ``network``, which stays as it is, to the rows numbered ``train``.

    ``features`` float32 [n_rows, f], NaN where unknown, are further inputs of the head; f may be 0. The same arguments
    give the same fit on a CPU. Raises :class:`DataError` for infinite features, where the rows of the held-out users
    or of the others lack a class, and where the loss is not finite.
    """
    if (infinite := np.isinf(features)).any():
        row, column = np.argwhere(infinite)[0]
        raise DataError(f"features[{row}, {column}] is infinite, expected a finite number, or NaN where unknown")
    is_held_out = np.isin(rows.users[train], split_users(data, settings.held_out, settings.seed)[1])
    fitted, held_out = train[~is_held_out], train[is_held_out]
    _check_classes("training", rows.labels[fitted], settings)
    _check_classes("held-out", rows.labels[held_out], settings)
    feature_mean, feature_scale = _moments(features[fitted])
    inputs = np.nan_to_num((features - feature_mean) / feature_scale)
    model = _Model(network, rows.kind, float(rows.labels[fitted].mean()), features.shape[1], settings)
    batches = RowBatches(
        data,
        rows,
        inputs,
        token_budget=settings.token_budget,
        max_events=settings.max_events,
        device=model.fabric.device,
    )
    groups, held_out_groups = batches.group(fitted), batches.group(held_out)
    plans = [batches.plan(groups, [settings.seed, epoch]) for epoch in range(settings.max_epochs)]
    held_out_plan = batches.plan(held_out_groups, [settings.seed])
    start = Evaluation(0, 0, model.start(batches(plans[0])), model.evaluate(batches(held_out_plan)))
    history = [start, *_train(model, batches, plans, held_out_plan, start.held_out_loss, settings, progress)]
    mean, scale, weights = (each.detach().cpu().numpy() for each in (model.mean, model.scale, model.weights))
    linear = Linear(np.append(mean, feature_mean), np.append(scale, feature_scale), weights, model.bias.item())
    cpu = {
        name: Adapter(*(each.detach().cpu() for each in adapter)) for name, adapter in model.adapters.weights.items()
    }
    return LoraFit(Adapters(model.adapters.alpha, cpu), linear, settings.max_events, history)


class _Schedule(NamedTuple):
    """Steps of the fit, and of its warm-up."""

    max_steps: int
    warmup_steps: int


class _Model:
    """A copy of the network with adapters, and the head on its standardised states."""

    def __init__(
        self, network: PragmaNetwork, kind: Kind, base_rate: float, n_features: int, settings: LoraSettings
    ) -> None:
        self.fabric = make_fabric(settings)
        self.network = copy.deepcopy(network).eval().to(self.fabric.device)
        self.kind = kind
        generator = torch.Generator().manual_seed(settings.seed)
        self.adapters = add_adapters(self.network, settings.rank, settings.alpha, generator)
        n_states = network.config.dim * (1 if kind == "user" else 2)
        zeros = torch.zeros(n_states, device=self.fabric.device)
        self.mean, self.scale = zeros, zeros + 1
        self.weights = nn.Parameter(zeros.new_zeros(n_states + n_features))
        self.bias = nn.Parameter(zeros.new_tensor(math.log(base_rate / (1 - base_rate))))

    @property
    def trained(self) -> list[Tensor]:
        return [*self.adapters.tensors, self.weights, self.bias]

    def states(self, batch: RowBatch) -> Tensor:
        with self.fabric.autocast():
            return row_states(self.network, batch, self.kind).float()

    @torch.no_grad()
    def start(self, batches: Iterator[RowBatch]) -> float:
        """Begin as the probe of the frozen network, fitted to the first :data:`SAMPLE_ROWS` rows; its log loss there.

        A head that began at zero would still be learning to read the network when the adapters should change it.
        """
        sample: list[RowBatch] = []
        while sum(len(batch.labels) for batch in sample) < SAMPLE_ROWS and (batch := next(batches, None)):
            sample.append(batch)
        states = np.concatenate([self.states(batch).cpu().numpy() for batch in sample])
        if not np.isfinite(states).all():
            raise DataError("the network's states are not finite; look for text vectors or weights that are not")
        mean, scale = _moments(states)
        scale = np.maximum(scale, LEAST_SCALE * np.median(scale))
        self.mean, self.scale = (torch.from_numpy(each).to(self.mean) for each in (mean, scale))
        features = np.concatenate([batch.features.cpu().numpy() for batch in sample])
        x = np.hstack([(states - mean) / scale, features])
        labels = np.concatenate([batch.labels.cpu().numpy() for batch in sample])
        if len(np.unique(labels)) == 2:
            probe = LogisticRegression(C=DEFAULT_REGULARISATION, max_iter=1000).fit(x, labels)
            self.weights.copy_(torch.from_numpy(probe.coef_[0]))
            self.bias.fill_(float(probe.intercept_[0]))
        logits = x @ self.weights.cpu().numpy() + self.bias.item()
        return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())

    def loss(self, batch: RowBatch) -> Tensor:
        """The rows' mean log loss."""
        x = torch.cat([(self.states(batch) - self.mean) / self.scale, batch.features], dim=1)
        return F.binary_cross_entropy_with_logits(x @ self.weights + self.bias, batch.labels)

    @torch.no_grad()
    def evaluate(self, batches: Iterator[RowBatch]) -> float:
        """The mean log loss of all rows of ``batches``."""
        return _mean([(self.loss(batch).item(), len(batch.labels)) for batch in batches])


def _train(
    model: _Model,
    batches: RowBatches,
    plans: list[Plan],
    held_out_plan: Plan,
    best_loss: float,
    settings: LoraSettings,
    progress: Progress,
) -> list[Evaluation]:
    """Leave ``model`` as it was at the best of the evaluations that are returned, or as it is if none is better."""
    epoch_ends = np.cumsum([len(plan) for plan in plans]).tolist()
    n_steps, every = epoch_ends[-1], settings.validate_every
    evaluated = {*range(every, n_steps, every), n_steps} if every else set(epoch_ends)
    schedule = _Schedule(n_steps, round(settings.warmup * n_steps))
    optimizer = torch.optim.AdamW(model.trained, settings.lr, weight_decay=settings.weight_decay, fused=True)
    history: list[Evaluation] = []
    best, waited = [tensor.detach().clone() for tensor in model.trained], 0
    losses: list[tuple[float, int]] = []
    progress.stage("Fitting adapters", n_steps)
    for step, batch in enumerate(batches(*plans), 1):
        started = time.perf_counter()
        loss = _step(model, optimizer, batch, settings.lr * rate(step, schedule), settings.grad_clip)
        if loss is None:
            raise DataError(
                f"step {step}: loss or gradient is not finite; lower lr, or look for text vectors that are not"
            )
        losses.append((loss, len(batch.labels)))
        speed = batch.n_tokens / (time.perf_counter() - started)
        progress.advance(1, f"loss {_mean(losses):.3f}, held out {best_loss:.3f}, {speed:,.0f} tokens/s")
        if step not in evaluated:
            continue
        held_out_loss = model.evaluate(batches(held_out_plan))
        history.append(Evaluation(int(np.searchsorted(epoch_ends, step)), step, _mean(losses), held_out_loss))
        losses = []
        if held_out_loss < best_loss:
            best, best_loss, waited = [tensor.detach().clone() for tensor in model.trained], held_out_loss, 0
        else:
            waited += 1
        if waited == settings.patience:
            break
    with torch.no_grad():
        for tensor, value in zip(model.trained, best, strict=True):
            tensor.copy_(value)
    return history


def _step(
    model: _Model, optimizer: torch.optim.Optimizer, batch: RowBatch, lr: float, grad_clip: float
) -> float | None:
    """The loss before the step; None, and no step, where it or its gradient is not finite."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    loss = model.loss(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    grad_norm = clip_grad_norm_(model.trained, grad_clip)
    if not math.isfinite(loss.item() + grad_norm.item()):
        return None
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _mean(losses: list[tuple[float, int]]) -> float:
    """Over rows, of batches' mean losses and numbers of rows."""
    return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)


def _moments(x: Float32) -> tuple[Float32, Float32]:
    """Mean and standard deviation of each column of [n, f], without NaN; 1 for the deviation of a constant."""
    if not x.shape[1]:
        return np.zeros(0, np.float32), np.ones(0, np.float32)
    # A column without a single number has neither.
    with np.errstate(invalid="ignore"):
        scaler = StandardScaler().fit(x)
    mean, scale = np.nan_to_num(scaler.mean_), np.nan_to_num(scaler.scale_, nan=1.0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _check_classes(part: str, labels: npt.NDArray[np.int8], settings: LoraSettings) -> None:
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"the {part} rows are {len(labels)}, {int(labels.sum())} of them positive, expected both classes; "
            f"give more labels, another held_out ({settings.held_out}) or another seed ({settings.seed})"
        )
