"""Made-up customers whose alarms are to be found: raw data, labels, and networks whose states depend on all of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.finetune.encoding import exported
from pragmatiq_builder.finetune.labels import Kind, LabelledRows
from pragmatiq_builder.network import MaskedValueHead, NetworkConfig, PragmaNetwork, to_tensors
from pragmatiq_builder.runs import ModelInfo, Run, create_run, load_run, save_checkpoint, weights_hash
from pragmatiq_triton.batch import Token
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.tokenizer import EncodedRecord, TokenizerConfig, assemble
from pragmatiq_triton.tokenizer.assemble import newest
from pragmatiq_triton.tokenizer.moment import encoded_before, encoded_until
from tests.builder.dataset.conftest import EVENTS, PROFILES

HOUR = 3_600_000_000
START = 472_222 * HOUR
N_USERS, N_EVENTS = 60, 24
CONFIGS = {
    "bpe": TokenizerConfig(force_categorical=["memo", "kind"]),
    "embed": TokenizerConfig(
        text_value_mode="embed", text_encoder="hash", text_encoder_dim=8, categorical_threshold=20
    ),
}

Event = tuple[str, int, str, dict[str, str]]
"""User, microseconds, source, fields."""
Profile = tuple[dict[str, str], list[tuple[str, int]]]
"""Attributes and milestones."""


def history(user: int, n_events: int) -> list[Event]:
    """Events hours apart, two at a time at their end; one in twelve is an alarm."""
    rng = np.random.default_rng(user)
    hours = np.sort(rng.integers(1, 2000, n_events))
    hours[-2:] = hours[-1:]
    kinds = rng.choice(["alarm", *"abcde"], n_events, p=[1 / 12, *[11 / 60] * 5])
    return [
        (f"u{user}", START + int(hour) * HOUR, "app", {"kind": kind, "memo": f"memo {rng.integers(40)}"})
        for hour, kind in zip(hours, kinds, strict=True)
    ]


def with_amounts(events: Sequence[Event]) -> list[Event]:
    """The events with an amount each, larger in an alarm."""
    amounts = np.random.default_rng(0).lognormal(3, 1, len(events))
    return [
        (user, ts, source, {**fields, "amount": f"{amount * (5 if fields['kind'] == 'alarm' else 1):.2f}"})
        for (user, ts, source, fields), amount in zip(events, amounts, strict=True)
    ]


def profile_of(user: int) -> Profile | None:
    """Every third user has no profile, every third no milestone, the others one in and one out of time."""
    milestones = {1: [], 2: [("born", START + HOUR // 2), ("moved", START + 1000 * HOUR)]}
    return ({"plan": "abc"[user % 3]}, milestones[user % 3]) if user % 3 else None


def write(folder: Path, events: Sequence[Event], profiles: Mapping[str, Profile] | None = None) -> Path:
    """Raw data of ``events``, with the ``profiles`` of :func:`profile_of` unless there are others."""
    folder.mkdir(exist_ok=True)
    rows = [{"user_id": u, "ts": ts, "source": s, "fields": list(fields.items())} for u, ts, s, fields in events]
    pq.write_table(pa.Table.from_pylist(rows, EVENTS), folder / "events.parquet")
    if profiles is None:
        profiles = {f"u{i}": profile for i in range(N_USERS) if (profile := profile_of(i))}
    rows = [
        {
            "user_id": user,
            "as_of": START + 5000 * HOUR,
            "attributes": list(attributes.items()),
            "lifelong": [{"key": key, "ts": ts} for key, ts in milestones],
        }
        for user, (attributes, milestones) in profiles.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows, PROFILES), folder / "profiles.parquet")
    return folder


def make_data(
    folder: Path, events: Sequence[Event], config: TokenizerConfig, tokenizer_dir: Path | None = None
) -> TokenizedDataset:
    folder.mkdir(exist_ok=True)
    tokenize(write(folder / "raw", events), folder / "tok", config, tokenizer_dir=tokenizer_dir)
    return TokenizedDataset(folder / "tok")


def make_network(data: TokenizedDataset) -> PragmaNetwork:
    """A network whose states depend on all that it reads."""
    network = PragmaNetwork(NetworkConfig(data.vocab_size, 16, 2, 1, 1, 1, text_dim=data.text_dim)).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            std = 1.0 if name.startswith("embed.") else parameter.shape[1] ** -0.5
            torch.nn.init.normal_(parameter, std=std, generator=generator)
    return network


def make_rows(data: TokenizedDataset, kind: Kind, per_user: int = 4) -> LabelledRows:
    """Rows at some events' times, shuffled; labels: was there an alarm among the newest six events?"""
    rng = np.random.default_rng(0)
    pairs = [
        (user, int(at))
        for user in range(data.n_users)
        for at in rng.choice(np.unique(data.event_times(user))[4:], per_user, replace=False)
    ]
    users, at = rng.permutation(pairs).T.copy()
    rows = LabelledRows(kind, users, at, np.zeros(len(at), np.int8), {})
    (alarm,) = data.vocabulary.categorical_ids("kind", ["alarm"])
    labels = [(cut(data, rows, i, 6).tokens[:, Token.VALUE] == alarm).any() for i in range(len(at))]
    return replace(rows, labels=np.array(labels, np.int8))


def cut(data: TokenizedDataset, rows: LabelledRows, i: int, most: int) -> EncodedRecord:
    record = data.encoded(int(rows.users[i]))
    event = rows.event(i, record.event_ts)
    history = encoded_before(record, int(rows.at[i])) if event is None else encoded_until(record, event)
    return newest(history, most)


@torch.no_grad()
def alone(network: PragmaNetwork, data: TokenizedDataset, rows: LabelledRows, i: int, most: int) -> torch.Tensor:
    """The states of row ``i`` by the network's own forward: [d] or [2d]."""
    encoded = network(to_tensors(data.collate([assemble(cut(data, rows, i, most), data.config)])))
    if rows.kind == "user":
        return encoded.user_embedding[0]
    return torch.cat([encoded.user_embedding[0], torch.cat([encoded.user_embedding, encoded.event_states])[-1]])


def record_json(events: Sequence[Event], user: str, profile: Profile | None, **moment: int) -> bytes:
    """The user's record as a caller sends it, with ``as_of`` or ``eval_ts``."""
    attributes, milestones = profile or ({}, [])
    record = {
        "user_id": user,
        "events": [{"ts": ts, "source": s, "fields": fields} for u, ts, s, fields in events if u == user],
        "attributes": attributes,
        "lifelong": [{"key": key, "ts": ts} for key, ts in milestones],
        **moment,
    }
    return json.dumps(record).encode()


@dataclass(frozen=True)
class Bank:
    """A data set, a run with weights of :func:`make_network`, and a label file of each kind."""

    data: TokenizedDataset
    run: Run
    labels: dict[Kind, Path]


def make_bank(folder: Path) -> Bank:
    events = [event for user in range(N_USERS) for event in history(user, N_EVENTS)]
    data = make_data(folder, events, CONFIGS["bpe"])
    run = make_run(folder / "runs" / "nano", data)
    rows: dict[Kind, LabelledRows] = {"user": make_rows(data, "user", 8), "event": make_rows(data, "event", 8)}
    pairs = zip(rows["event"].users.tolist(), rows["event"].at.tolist(), strict=True)
    # Without an event_id a label says which event it means by its time alone.
    clear = np.array([np.count_nonzero(data.event_times(user) == at) == 1 for user, at in pairs])
    rows["event"] = rows["event"].take(clear)
    return Bank(data, run, {kind: write_labels(folder / f"{kind}.parquet", data, each) for kind, each in rows.items()})


def make_run(path: Path, data: TokenizedDataset) -> Run:
    network = make_network(data)
    create_run(path, {}, {}, data.tokenizer_dir)
    info = ModelInfo(network.config, data.tokenizer_hash, data.text_encoder)
    save_checkpoint(path, network, MaskedValueHead(network.config.dim, data.text_dim), info, {})
    return load_run(path)


def write_labels(path: Path, data: TokenizedDataset, rows: LabelledRows) -> Path:
    table = {
        "user_id": [data.user_ids[user] for user in rows.users],
        "eval_ts" if rows.kind == "user" else "ts": pa.array(rows.at, pa.timestamp("us")),
        "label": rows.labels,
    }
    pq.write_table(pa.table(table), path)
    return path


_scorers: dict[str, Scorer] = {}


@contextmanager
def exported_once(network: PragmaNetwork) -> Iterator[Scorer]:
    """:func:`pragmatiq_builder.finetune.encoding.exported`, which takes seconds, once for each network."""
    key = weights_hash(network)
    if key not in _scorers:
        with exported(network) as scorer:
            _scorers[key] = scorer
    yield _scorers[key]
