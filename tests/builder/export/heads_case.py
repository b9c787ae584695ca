"""Runs with made-up heads: small and random, but complete."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pragmatiq_builder.heads import Head, Platt, Stacked, save_head
from pragmatiq_builder.heads.lora import Adapters, add_adapters, save_adapters
from pragmatiq_builder.heads.saved import SavedHead
from pragmatiq_builder.runs import Run, load_run, weights_hash
from pragmatiq_triton.tokenizer.features import RECENCY, HistoryFeatures
from tests.builder.heads.cases import random_linear, random_trees
from tests.conftest import UPSTREAM

VECTORS = {"user": ("user_embedding",), "event": ("user_embedding", "event_state")}


def linear_head(task: str, method: str, kind: str, dim: int = 64, features: tuple[str, ...] = (), **info: Any) -> Head:
    """A linear head of the vectors of its kind and of ``features``."""
    inputs = VECTORS[kind] + (("features",) if features else ())
    classifier = random_linear(_random(task), dim * len(VECTORS[kind]) + len(features))
    return Head(task, method, kind, inputs, features, classifier, Platt(0.2, -1.0), info)


def hybrid_head(task: str, features: tuple[str, ...], dim: int = 64, **info: Any) -> Head:
    """Trees on ``features`` below a linear head of both vectors."""
    rng = _random(task)
    stacked = Stacked(random_trees(rng, len(features)), random_linear(rng, 2 * dim + 1))
    return Head(task, "hybrid", "event", (*VECTORS["event"], "features"), features, stacked, Platt(0.2, -1.0), info)


def some_adapters(run: Run) -> Adapters:
    """Adapters that change every adapted weight."""
    generator = torch.Generator().manual_seed(0)
    adapters = add_adapters(copy.deepcopy(run.network), rank=2, alpha=4.0, generator=generator)
    for adapter in adapters.weights.values():
        torch.nn.init.normal_(adapter.up, std=0.05, generator=generator)
    return adapters


def run_with(path: Path, variant: str, *heads: Head) -> Run:
    """A copy of the upstream run at ``path`` with ``heads`` as fine-tuning would have left them."""
    run = load_run(shutil.copytree(UPSTREAM / variant / "run", path))
    for head in heads:
        head.info.update({"weights_hash": weights_hash(run.network), "tokenizer_hash": run.tokenizer_hash} | head.info)
        saved = SavedHead(head, path / "heads" / head.task)
        save_head(head, saved.folder)
        if head.method == "lora":
            save_adapters(some_adapters(run), saved.adapters_file, weights_hash(run.network))
    return run


def all_features(run: Run) -> tuple[str, ...]:
    return tuple(HistoryFeatures.of(run.vocabulary, "all").names)


def probe(**info: Any) -> Head:
    return linear_head("churn", "probe", "user", features=(RECENCY,), **info)


def lora(task: str = "loan", **info: Any) -> Head:
    return linear_head(task, "lora", "event", **info)


def _random(task: str) -> np.random.Generator:
    return np.random.default_rng(list(task.encode()))
