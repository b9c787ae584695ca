"""When a server that still runs is given up, and when it is not."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from pragmatiq_triton.embedded import watch as watching
from pragmatiq_triton.embedded.watch import PATIENCE, watch
from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.probe import State, Verdict

Watched = Callable[..., int]

WELL = Verdict("scoring", 3.0, State.HEALTHY, "scoring")
SILENT = Verdict("scoring", 30_000.0, State.SILENT, "scoring", "no answer in 30 s")
FAILED = Verdict("scoring_fraud", 3.0, State.FAILED, "scoring_fraud", "the embedding is not finite")
DEAD = Verdict("scoring", 1_000.0, State.DEAD, "tokenizer", "Stub process 'tokenizer_0_0' is not healthy")


class FakeServer:
    """Ends by itself with exit code 3 once all ``rounds`` of canaries are over."""

    http_url, metrics_address = "127.0.0.1:8000", "127.0.0.1:8002"

    def __init__(self, repository: Path, rounds: Iterable[Sequence[Verdict]]) -> None:
        self.repository = repository
        self.rounds = list(rounds)

    def wait(self, timeout: float) -> int | None:
        assert timeout > 0
        return None if self.rounds else 3

    def probe(self, address: str, ensembles: Sequence[str], timeout: float, metrics_address: str) -> Sequence[Verdict]:
        assert (address, metrics_address) == (self.http_url, self.metrics_address)
        assert list(ensembles) == ["scoring", "scoring_fraud"]
        return self.rounds.pop(0)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    for name, platform in (("scoring", "ensemble"), ("scoring_fraud", "ensemble"), ("scorer", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'platform: "{platform}"\n', encoding="utf-8")

    def run(*rounds: Sequence[Verdict]) -> int:
        server = FakeServer(tmp_path, rounds)
        monkeypatch.setattr(watching, "probe", server.probe)
        return watch(server)  # type: ignore[arg-type]

    return run


def test_a_server_that_ends_by_itself(watched: Watched) -> None:
    assert watched([WELL, WELL], [WELL, WELL]) == 3


def test_a_dead_process_ends_it_at_once(watched: Watched) -> None:
    with pytest.raises(ServerError, match=r"^tokenizer: Stub process 'tokenizer_0_0' is not healthy.*anew"):
        watched([WELL, WELL], [SILENT, DEAD], [WELL, WELL])


@pytest.mark.parametrize("bad", [SILENT, FAILED])
def test_what_goes_wrong_again_and_again_ends_it(watched: Watched, bad: Verdict) -> None:
    assert watched(*[[WELL, bad]] * (PATIENCE - 1)) == 3
    assert watched(*[[WELL, bad]] * (PATIENCE - 1), [WELL, WELL], *[[bad, WELL]] * (PATIENCE - 1)) == 3
    with pytest.raises(ServerError, match=rf"^{bad.where}: .*{PATIENCE} times in a row"):
        watched(*[[WELL, bad]] * PATIENCE)
