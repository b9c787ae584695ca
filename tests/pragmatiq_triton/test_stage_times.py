import pytest

from pragmatiq_triton.boards import STAGE_TIMES, create_boards
from pragmatiq_triton.stage_times import SLOTS, VARIABLE, StageTime, StageTimes


@pytest.fixture
def board(tmp_path):
    create_boards(tmp_path)
    return StageTimes(tmp_path / STAGE_TIMES)


def test_what_one_process_writes_another_reads(board, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / STAGE_TIMES))
    models = StageTimes.of_process()
    models.write("scorer", 7, 300, 400)
    models.write("tokenizer", 7, 100, 250)
    models.write("tokenizer", 8, 1, 2)
    assert board.read(7) == [StageTime("tokenizer", 100, 250), StageTime("scorer", 300, 400)]
    assert board.read(7)[0].seconds == pytest.approx(150e-9)
    assert board.read(9) == []


def test_a_later_ticket_takes_the_slot_and_the_earlier_ones_times_are_gone(board):
    board.write("scorer", 5, 1, 2)
    board.write("scorer", 5 + SLOTS, 3, 4)
    assert board.read(5) == []
    assert board.read(5 + SLOTS) == [StageTime("scorer", 3, 4)]


def test_large_tickets_are_kept_and_requests_without_one_are_not(board):
    board.write("scorer", 2**63 - 1, 1, 2)
    board.write("scorer", 0, 1, 2)
    assert board.read(2**63 - 1) == [StageTime("scorer", 1, 2)]
    assert board.read(0) == []


def test_without_a_board_nothing_is_kept(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    board = StageTimes.of_process()
    board.write("scorer", 1, 1, 2)
    assert board.read(1) == []


def test_the_board_is_its_owners_alone(board, tmp_path):
    assert (tmp_path / STAGE_TIMES).stat().st_mode & 0o777 == 0o600
