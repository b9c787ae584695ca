"""The whole benchmark on our side, on a handful of customers."""

import pytest

from bench.toolkits import ours
from bench.training import Plan, main, pretraining, tokenizing


def test_ours_alone_is_measured_end_to_end(tmp_path):
    plan = Plan(3, 3, steps=2, model_size="nano", token_budget=1024, rounds=1)
    tokenized = tokenizing([ours()], tmp_path, plan)
    trained = pretraining([ours()], tmp_path, plan)
    assert len(tokenized) == 4
    assert len(trained) == 2
    assert all(len(row.speeds["ours"]) == 1 for row in tokenized)
    assert all(row.speeds["ours"][0] > 0 for row in trained)
    bpe, embed = (row.sizes["ours"] for row in tokenized if row.sizes)
    assert bpe.events == embed.events > 0
    assert bpe.tokens > embed.tokens
    assert bpe.vocab_size > embed.vocab_size


@pytest.mark.parametrize("arguments", [("--steps", "3"), ("--steps", "0"), ("--users", "0")])
def test_numbers_that_cannot_be_measured_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "expected --users" in capsys.readouterr().err
