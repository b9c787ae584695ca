"""The training loop and its state, resumable at any checkpoint to the same numbers."""

import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from pragmatiq_builder import runs
from pragmatiq_builder.metrics_file import NAME, MetricsFile
from pragmatiq_builder.network import BatchTensors, MaskedValueHead, NetworkConfig, PragmaNetwork
from pragmatiq_builder.objective import Losses, Targets, masked_value_loss
from pragmatiq_builder.progress import Progress
from pragmatiq_builder.stopping import StopRequest
from pragmatiq_builder.training.data import START, Example, Position, TrainingData, examples, split_users, summary
from pragmatiq_builder.training.device import make_fabric
from pragmatiq_builder.training.metrics import Averages
from pragmatiq_builder.training.optimizers import make_optimizers, rate, set_rate
from pragmatiq_builder.training.settings import OPERATIONAL, PretrainSettings
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import ArtifactError, DataError

# Streams of random numbers that the seed splits into.
TRAINING, VALIDATION, DROPOUT = range(3)


class MaskedValueModel(nn.Module):
    """Network and head as one module, from a masked batch to its losses."""

    def __init__(self, config: NetworkConfig, settings: PretrainSettings) -> None:
        super().__init__()
        self.network = PragmaNetwork(config)
        self.head = MaskedValueHead(config.dim, config.text_dim)
        self.text_loss_weight = settings.text_loss_weight
        self.label_smoothing = settings.label_smoothing

    def forward(self, batch: BatchTensors, targets: Targets) -> Losses:
        return masked_value_loss(
            self.network(batch),
            batch,
            targets,
            self.head,
            self.network.embed.embed.weight,
            text_loss_weight=self.text_loss_weight,
            label_smoothing=self.label_smoothing,
        )


class Trainer:
    """Weights, optimizers, and how far training has come."""

    def __init__(self, data: TrainingData, settings: PretrainSettings, path: Path) -> None:
        self.data, self.settings, self.path = data, settings, path
        self.users, self.held_out = split_users(data, settings.held_out, settings.seed)
        if not len(self.users):
            raise DataError(f"no user has events to train on ({data.n_users} users, held_out {settings.held_out})")
        self.fabric = make_fabric(settings)
        torch.manual_seed(settings.seed)
        config = NetworkConfig.of_size(settings.model_size, data.vocab_size, data.text_dim, settings.dropout)
        self.model = MaskedValueModel(config, settings)
        self.optimizers = make_optimizers(self.model, settings)
        self.fabric_model, *self.fabric_optimizers = self.fabric.setup(self.model, *self.optimizers)
        self.metrics = MetricsFile(path / NAME)
        self.step = 0
        self.skipped = 0
        self.position = START
        self.averages = Averages()
        self.started_from_weights = False

    def start_from(self, run: runs.Run) -> None:
        """Begin with the weights of ``run`` in the place of drawn ones; the optimizers begin as always."""
        self.model.network.load_state_dict(run.network.state_dict())
        self.model.head.load_state_dict(run.head.state_dict())
        self.started_from_weights = True

    def run(self, progress: Progress) -> None:
        """Train from where the state stands to ``max_steps``.

        Ctrl-C, SIGTERM and SIGHUP are obeyed after the step that is under way, when a checkpoint has been saved.
        """
        with StopRequest() as stop:
            self._train(progress, stop)
        if stop.asked and self.step < self.settings.max_steps:
            stop.obey()

    def _train(self, progress: Progress, stop: StopRequest) -> None:
        settings = self.settings
        self.metrics.cut_after(self.step if self.step else -1)
        progress.stage(f"Pre-training {self.path.name}", settings.max_steps)
        if self.started_from_weights and len(self.held_out) and not self.step:
            # What the older weights are worth on these data, before any step.
            self.metrics.write({"step": 0, **self.validate()})
        progress.advance(self.step)
        batches = self._examples(self.users, TRAINING, self.position)
        n_tokens, seconds = 0, 0.0
        while self.step < settings.max_steps and not stop.asked:
            started = time.perf_counter()
            step_batches = list(islice(batches, settings.accumulate))
            grad_norm = self._train_step(step_batches, self.averages)
            n_tokens += sum(batch.n_tokens for batch in step_batches)
            seconds += time.perf_counter() - started
            note = f"loss {self.averages.means()['loss']:.3f}, {n_tokens / seconds:,.0f} tokens/s"
            is_last = self.step == settings.max_steps
            if is_last or self.step % settings.log_every == 0:
                record = {
                    "step": self.step,
                    "epoch": self.position.epoch,
                    **self.averages.means(),
                    "lr": self.optimizers[0].param_groups[0]["lr"],
                    "grad_norm": grad_norm,
                    "tokens_per_second": n_tokens / seconds,
                    "skipped": self.skipped,
                }
                self.metrics.write(record)
                self.averages, n_tokens, seconds = Averages(), 0, 0.0
            if len(self.held_out) and (is_last or self.step % settings.validate_every == 0):
                self.metrics.write({"step": self.step, **self.validate()})
            if is_last or self.step % settings.checkpoint_every == 0:
                self.save()
            progress.advance(1, note)
        if stop.asked and self.step < settings.max_steps:
            self.save()
            progress.say(
                f"{self.path}: stopped by {stop.asked.name} after step {self.step} of {settings.max_steps}, in a "
                "checkpoint; the same command with --resume auto goes on from there"
            )

    def validate(self) -> dict[str, float]:
        """Losses and accuracy on the held-out users, always masked the same way."""
        averages = Averages()
        self.fabric_model.eval()
        with torch.no_grad():
            for batch in self._examples(self.held_out, VALIDATION, epochs=1):
                averages.add(self.fabric_model(batch.tensors, batch.targets), batch.targets)
        self.fabric_model.train()
        return {f"val_{name}": value for name, value in averages.means().items()}

    def save(self) -> None:
        """Replace the checkpoint; :class:`DataError` for weights that are not finite, which leaves it as it is."""
        for name, parameter in self.model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise DataError(
                    f"step {self.step}: the weight {name} is no longer finite; no checkpoint was written, the last "
                    "good one stays: lower lr_muon and lr_adamw, or look for text vectors that are not finite"
                )
        info = runs.ModelInfo(self.model.network.config, self.data.tokenizer_hash, self.data.text_encoder)
        state = {
            "step": self.step,
            "skipped": self.skipped,
            "position": tuple(self.position),
            "settings": msgspec.to_builtins(self.settings),
            "data": summary(self.data),
            "averages": self.averages.sums,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        runs.save_checkpoint(self.path, self.model.network, self.model.head, info, state)

    def restore(self) -> None:
        """Take up the run's last checkpoint; raises :class:`ArtifactError` where data or settings are others."""
        state = runs.load_trainer(self.path)
        run = runs.load_run(self.path)
        try:
            _must_match(self.path, "data", state["data"], summary(self.data))
            _must_match(self.path, "setting", state["settings"], msgspec.to_builtins(self.settings), OPERATIONAL)
            self.model.network.load_state_dict(run.network.state_dict())
            self.model.head.load_state_dict(run.head.state_dict())
            for optimizer, optimizer_state in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(optimizer_state)
            self.step, self.skipped, self.position = state["step"], state["skipped"], Position(*state["position"])
            # Checkpoints written before there were averages in them begin new ones.
            self.averages = Averages(state.get("averages"))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ArtifactError(
                f"{self.path}: the checkpoint's trainer.pt does not fit ({type(error).__name__}: {error}); restore the "
                "run from a backup, or train under another --name"
            ) from error

    def _train_step(self, batches: list[Example], averages: Averages) -> float:
        """One optimizer step over ``batches``; returns the gradient's norm before clipping."""
        settings = self.settings
        self.step += 1
        self.position = batches[-1].next
        set_rate(self.optimizers, rate(self.step, settings))
        torch.manual_seed(_seed(settings.seed, DROPOUT, self.step))
        finite = True
        for batch in batches:
            losses = self.fabric_model(batch.tensors, batch.targets)
            self.fabric.backward(losses.loss / len(batches))
            finite &= math.isfinite(losses.loss.item())
            averages.add(losses, batch.targets)
        grad_norm = clip_grad_norm_(self.model.parameters(), settings.grad_clip).item()
        if finite and math.isfinite(grad_norm):
            self.skipped = 0
            for optimizer in self.fabric_optimizers:
                optimizer.step()
        else:
            self.skipped += 1
            if self.skipped == settings.max_skipped or self.skipped == settings.max_steps:
                raise DataError(
                    f"step {self.step}: loss or gradient was not finite {self.skipped} times in a row; "
                    "lower lr_muon and lr_adamw, or look for text vectors that are not finite"
                )
        for optimizer in self.fabric_optimizers:
            optimizer.zero_grad()
        return grad_norm

    def _examples(
        self, users: Int64, stream: int, start: Position = START, epochs: int | None = None
    ) -> Iterator[Example]:
        settings = self.settings
        seed = (settings.seed, stream)
        return examples(
            self.data, users, settings.token_budget, settings.masking, seed, self.fabric.device, start, epochs
        )


def _must_match(
    path: Path, kind: str, stored: dict[str, Any], given: dict[str, Any], ignored: frozenset[str] = frozenset()
) -> None:
    for name in sorted((stored.keys() | given.keys()) - ignored):
        if stored.get(name) != given.get(name):
            raise ArtifactError(
                f"{path}: cannot resume: {kind} {name} was {stored.get(name)!r}, is now {given.get(name)!r}; "
                "give the same again, or choose another --name"
            )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
