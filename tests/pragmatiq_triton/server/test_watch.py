"""When a server that still runs is given up, and when it is not."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.gateway.owner import Report
from pragmatiq_triton.probe import State, Verdict
from pragmatiq_triton.server import watch as watching
from pragmatiq_triton.server.watch import PATIENCE, Patience, watch

WELL = Verdict("scoring", 3.0, State.HEALTHY, "scoring")
DEAD = Verdict("scoring_fraud", 1000.0, State.DEAD, "tokenizer", "Stub process 'tokenizer_0_0' is not healthy")
SILENT = Verdict("scoring_fraud", 30_000.0, State.SILENT, "scoring_fraud", "no answer in 30 s")
FAILED = Verdict("scoring_fraud", 3.0, State.FAILED, "scoring_fraud", "HTTP 500: Exceeds maximum queue size")
NOWHERE = "127.0.0.1:1"


def take(patience: Patience, *rounds: Sequence[Verdict]) -> None:
    for verdicts in rounds:
        patience.take(verdicts)


def test_a_dead_process_ends_it_at_once() -> None:
    with pytest.raises(ServerError, match=r"^tokenizer: Stub process 'tokenizer_0_0' is not healthy.*anew"):
        take(Patience(), [WELL, WELL], [SILENT, DEAD])


@pytest.mark.parametrize("bad", [SILENT, FAILED])
def test_what_goes_wrong_again_and_again_ends_it(bad: Verdict) -> None:
    patience = Patience()
    take(patience, *[[WELL, bad]] * (PATIENCE - 1), [WELL, WELL], *[[bad, WELL]] * (PATIENCE - 1))
    with pytest.raises(ServerError, match=rf"^{bad.where}: .*{PATIENCE} times in a row"):
        take(patience, [WELL, bad])


def test_a_round_of_the_gateways_counts_once_however_often_it_is_told() -> None:
    patience = Patience()
    patience.take_report(None, NOWHERE)
    for number in range(1, PATIENCE):
        for _ in range(3):
            patience.take_report(Report((1, 2, 3), number, (WELL, SILENT)), NOWHERE)
    with pytest.raises(ServerError, match=r"^scoring_fraud: no answer in 30 s, 10 times in a row"):
        patience.take_report(Report((1, 2, 3), PATIENCE, (WELL, SILENT)), NOWHERE)


def test_a_death_that_the_gateway_tells_is_taken_before_its_round_is_over() -> None:
    patience = Patience()
    patience.take_report(Report((1, 2, 3), 1, (WELL, WELL)), NOWHERE)
    with pytest.raises(ServerError, match=r"^tokenizer: Stub process"):
        patience.take_report(Report((1, 2, 3), 1, (WELL, DEAD)), NOWHERE)


class FakeServer:
    """Without a gateway; ends by itself with exit code 3 after some rounds of canaries."""

    http_url, metrics_address = "127.0.0.1:8000", "127.0.0.1:8002"

    def __init__(self, repository: Path, rounds: int) -> None:
        self.repository = repository
        self.rounds = rounds

    def wait(self, timeout: float) -> int | None:
        assert timeout > 0
        return None if self.rounds else 3

    def probe(self, address: str, ensembles: Sequence[str], timeout: float, metrics_address: str) -> Sequence[Verdict]:
        assert (address, metrics_address) == (self.http_url, self.metrics_address)
        assert list(ensembles) == ["scoring", "scoring_fraud"]
        self.rounds -= 1
        return [WELL, FAILED]


def test_without_a_gateway_canaries_are_sent_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, platform in (("scoring", "ensemble"), ("scoring_fraud", "ensemble"), ("scorer", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'platform: "{platform}"\n', encoding="utf-8")
    monkeypatch.setattr(watching, "PERIOD_SECONDS", 0)
    server = FakeServer(tmp_path, 3)
    monkeypatch.setattr(watching, "probe", server.probe)
    assert watch(server) == 3  # type: ignore[arg-type]
    server.rounds = PATIENCE + 5
    with pytest.raises(ServerError, match=r"Exceeds maximum queue size, 10 times in a row"):
        watch(server)  # type: ignore[arg-type]
