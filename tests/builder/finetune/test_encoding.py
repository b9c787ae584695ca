from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune import encoding
from pragmatiq_builder.finetune.encoding import check_same_tokenizer, encode_rows
from pragmatiq_builder.network import PragmaNetwork
from pragmatiq_builder.progress import Silent
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.errors import ArtifactError
from tests.builder.finetune.customers import (
    CONFIGS,
    Event,
    alone,
    exported_once,
    make_data,
    make_network,
    make_rows,
    with_amounts,
)
from tests.conftest import UPSTREAM


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[PragmaNetwork]:
    """The networks that were asked for vectors; they come from the first of them."""
    networks: list[PragmaNetwork] = []

    @contextmanager
    def spy(network: PragmaNetwork):
        networks.append(network)
        with exported_once(networks[0]) as scorer:
            yield scorer

    monkeypatch.setattr(encoding, "exported", spy)
    return networks


@pytest.mark.parametrize("kind", ["user", "event"])
def test_rows_are_encoded_as_the_network_reads_them(
    data: TokenizedDataset, calls: list[PragmaNetwork], kind: str
) -> None:
    network, rows = make_network(data), make_rows(data, kind, per_user=2)
    inputs = encode_rows(network, data, rows, max_events=9, kept=None, progress=Silent())
    assert inputs.users.tolist() == [data.user_ids[user] for user in rows.users]
    np.testing.assert_array_equal(inputs.labels, rows.labels)
    assert inputs.inputs.features.shape == (len(rows.at), len(inputs.feature_names))
    for i in range(0, len(rows.at), 7):
        states = [inputs.inputs.user_embedding[i], *([inputs.inputs.event_state[i]] if kind == "event" else [])]
        expected = alone(network, data, rows, i, 9).numpy()
        np.testing.assert_allclose(np.concatenate(states), expected, rtol=0, atol=1e-5)


def test_kept_inputs_serve_the_same_rows_of_the_same_histories_and_weights_alone(
    events: list[Event], data: TokenizedDataset, calls: list[PragmaNetwork], tmp_path: Path
) -> None:
    network, rows, kept = make_network(data), make_rows(data, "user", per_user=1), tmp_path / "kept.npz"

    def encoded(network=network, data=data, rows=rows, max_events=None):
        before = len(calls)
        inputs = encode_rows(network, data, rows, max_events=max_events, kept=kept, progress=Silent())
        return inputs, len(calls) - before

    first, n_calls = encoded()
    assert n_calls == 1
    again, n_calls = encoded(rows=replace(rows, labels=1 - rows.labels))
    assert n_calls == 0
    np.testing.assert_array_equal(again.inputs.user_embedding, first.inputs.user_embedding)
    np.testing.assert_array_equal(again.labels, 1 - rows.labels)

    # As many users, events and tokens as before, but one event's field is another.
    user, ts, source, fields = events[0]
    changed = [(user, ts, source, {**fields, "kind": "b" if fields["kind"] != "b" else "c"}), *events[1:]]
    other = make_data(tmp_path / "other", changed, CONFIGS["bpe"], data.tokenizer_dir)
    assert other.meta == {**data.meta, "unknown_values": other.meta["unknown_values"]}
    moved = make_network(data)
    with torch.no_grad():
        moved.embed.embed.weight += 1
    for different in (
        {"data": other},
        {"rows": replace(rows, at=rows.at + 1)},
        {"rows": replace(rows, kind="event")},
        {"max_events": 5},
        {"network": moved},
    ):
        assert encoded()[1] <= 1
        assert encoded()[1] == 0
        assert encoded(**different)[1] == 1, different


def test_data_of_another_tokenizer_are_refused(events: list[Event], tmp_path: Path) -> None:
    run = load_run(UPSTREAM / "bpe" / "run")
    data = make_data(tmp_path, with_amounts(events[:50]), CONFIGS["bpe"])
    with pytest.raises(ArtifactError, match=rf"{data.tokenizer_hash}.*{run.tokenizer_hash}; .*--tokenizer-dir .*run"):
        check_same_tokenizer(run, data)
