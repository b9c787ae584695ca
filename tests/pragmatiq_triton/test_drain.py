from pathlib import Path

import pytest

from pragmatiq_triton.drain import DRAIN_FILE_VARIABLE, Drain


def test_models_see_what_their_server_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DRAIN_FILE_VARIABLE, str(tmp_path / "drain"))
    seen = Drain.of_process()
    assert not seen
    Drain(tmp_path / "drain").begin()
    assert seen


def test_a_server_that_names_no_file_never_stops_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DRAIN_FILE_VARIABLE, raising=False)
    drain = Drain.of_process()
    drain.begin()
    assert not drain
