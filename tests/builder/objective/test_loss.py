import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pragmatiq_builder.network import PragmaNetwork, to_tensors
from pragmatiq_builder.objective import Losses, Masked, Targets, cross_entropy, masked_value_loss
from pragmatiq_builder.objective.cross_entropy import linear_cross_entropy
from pragmatiq_builder.runs import load_run
from tests.builder.upstream_case import UpstreamCase


def losses(case: UpstreamCase, masked: Masked, **options: float) -> tuple[PragmaNetwork, Losses]:
    run = load_run(case.folder / "run")
    network, head = run.network, run.head
    batch = case.batch(list(range(5)))
    tensors = to_tensors(batch, value_ids=masked.value_ids, feed_text=masked.feed_text)
    encoded = network(tensors)
    table = network.embed.embed.weight
    return network, masked_value_loss(encoded, tensors, Targets.of(batch, masked), head, table, **options)


def upstream_mask(case: UpstreamCase) -> Masked:
    stored = case.loss
    return Masked(stored["input_value_ids"], stored["labels"], stored["feed_text"], stored["text_loss_idx"])


def test_the_loss_is_upstreams(upstream: UpstreamCase) -> None:
    _, ours = losses(upstream, upstream_mask(upstream))
    for name in ("ce", "mse", "loss"):
        assert getattr(ours, name).item() == pytest.approx(float(upstream.loss[name]), rel=1e-5), name


def test_the_text_loss_is_weighed(upstream: UpstreamCase) -> None:
    _, ours = losses(upstream, upstream_mask(upstream), text_loss_weight=0.25)
    assert ours.loss.item() == pytest.approx(ours.ce.item() + 0.25 * ours.mse.item())


def test_nothing_masked_costs_a_zero_with_a_graph(upstream: UpstreamCase) -> None:
    batch = upstream.batch(list(range(5)))
    nothing = Masked(
        batch.tokens[:, 1], np.full(len(batch.tokens), -100), batch.tokens[:, 3] >= 0, np.zeros(0, np.int64)
    )
    network, ours = losses(upstream, nothing)
    ours.loss.backward()
    assert ours.loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("chunk_rows", [1, 5, 100])
def test_chunked_cross_entropy_is_torchs(chunk_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK_ELEMENTS", 31 * chunk_rows)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(17, 8, dtype=torch.float32, generator=generator, requires_grad=True)
    table = torch.randn(31, 8, generator=generator, requires_grad=True)
    labels = torch.randint(31, (17,), generator=generator)
    ours = linear_cross_entropy(hidden, table, labels, 0.1)
    logits = hidden @ table.T
    torchs = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(ours.loss, torchs)
    assert ours.n_correct == (logits.argmax(-1) == labels).sum()
    for a, b in zip(
        torch.autograd.grad(3 * ours.loss, [hidden, table]),
        torch.autograd.grad(3 * torchs, [hidden, table]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(hidden, table, labels, 0.1).loss, torchs)
