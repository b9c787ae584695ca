"""The board on which the gateway says whose callers have given up."""

import stat

import pytest

from pragmatiq_triton.given_up import SLOTS, VARIABLE, GivenUp


@pytest.fixture
def file(tmp_path):
    GivenUp.create(tmp_path / "given-up")
    return tmp_path / "given-up"


def test_what_one_process_writes_another_reads(file, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(file))
    reader, writer = GivenUp.of_process(), GivenUp(file, writes=True)
    assert 7 not in reader
    writer.write(7)
    assert 7 in reader
    assert 7 + SLOTS not in reader


def test_a_slot_is_the_latest_ticket_s(file):
    board = GivenUp(file, writes=True)
    board.write(7)
    board.write(7 + SLOTS)
    assert 7 not in board
    assert 7 + SLOTS in board


def test_an_empty_slot_is_nobody_s(file):
    board = GivenUp(file)
    assert 0 not in board
    assert SLOTS not in board


def test_without_a_board_nobody_gives_up(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    board = GivenUp.of_process()
    board.write(7)
    assert 7 not in board


def test_it_is_made_for_this_account_alone_and_not_over_what_is_there(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        GivenUp.create(file)
