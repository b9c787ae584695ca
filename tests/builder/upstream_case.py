"""Cases that upstream itself produced, read without its code or our tokenizer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pragmatiq_triton.batch import Batch, UserFeatures, collate

UPSTREAM = Path(__file__).parents[1] / "data" / "upstream"
N_RECORDS = 26


@dataclass(frozen=True)
class UpstreamCase:
    """One of upstream's runs with what it made of ``records.jsonl``."""

    folder: Path

    @property
    def checkpoint(self) -> dict[str, Any]:
        return torch.load(self.folder / "run/checkpoints/last.pt", weights_only=True)

    @property
    def embeddings(self) -> np.ndarray:
        return np.load(self.folder / "embeddings.npy")

    @property
    def loss(self) -> dict[str, np.ndarray]:
        return dict(np.load(self.folder / "loss.npz"))

    def batch(self, records: list[int]) -> Batch:
        arrays = np.load(self.folder / "tokens.npz")
        users = [_features({k.partition("/")[2]: arrays[k] for k in arrays if k.startswith(f"{i}/")}) for i in records]
        if not (self.folder / "text_vectors.npz").exists():
            return collate(users, [np.zeros((0, 0), np.float32)] * len(users))
        stored = np.load(self.folder / "text_vectors.npz")
        vector_of = dict(zip(json.loads(str(stored["texts"])), stored["vectors"], strict=True))
        dim = stored["vectors"].shape[1]
        vectors = [np.array([vector_of[text] for text in user.texts], np.float32).reshape(-1, dim) for user in users]
        return collate(users, vectors, dim)


def _features(a: dict[str, np.ndarray]) -> UserFeatures:
    texts = json.loads(str(a["text_values"])) if "text_values" in a else []
    distinct = list(dict.fromkeys(texts))
    text_index = np.full(len(a["key_ids"]), -1)
    text_index[a["is_text"] != 0] = [distinct.index(text) for text in texts]
    tokens = np.stack([a["key_ids"], a["value_ids"], a["positions"], text_index], axis=1)
    events = np.stack([np.diff(a["event_offsets"]), a["time_log"], a["hour"], a["dow"], a["dom"]], axis=1)
    profile = np.stack([a["prof_key_ids"], a["prof_value_ids"], a["prof_positions"]], axis=1)
    item_lengths = np.diff(a["prof_offsets"])
    times = a["prof_time_log"]
    return UserFeatures(
        tokens=tokens.astype(np.int32),
        events=events.astype(np.float32),
        profile=profile.astype(np.int32),
        profile_times=(times if len(times) == len(profile) else np.repeat(times, item_lengths)).astype(np.float32),
        texts=tuple(distinct),
    )
