import pytest

from pragmatiq_client import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_client.errors import from_status

TEXT = "tokenizer: row 3: $.events[0].ts: expected int64, got 'x: y'"


@pytest.mark.parametrize("prefix", ["", "in ensemble 'scoring', ", "[request id: 7] in ensemble 'scoring', "])
def test_record_error_is_read_behind_triton_s_prefix(prefix: str) -> None:
    error = InvalidRecordError.parse(prefix + TEXT)
    assert (error.stage, error.row, error.path) == ("tokenizer", 3, "$.events[0].ts")
    assert error.message == "expected int64, got 'x: y'"
    assert str(error) == prefix + TEXT


def test_other_text_is_kept_whole() -> None:
    error = InvalidRecordError.parse("unexpected shape for input 'record'")
    assert (error.stage, error.row, error.path) == (None, None, None)
    assert error.message == str(error) == "unexpected shape for input 'record'"


def test_row_moves_with_its_batch() -> None:
    error = InvalidRecordError.parse(TEXT)
    assert error.moved(0) is error
    assert error.moved(8).row == 11
    assert error.moved(8).path == error.path


@pytest.mark.parametrize(
    ("grpc", "http", "expected"),
    [
        ("INVALID_ARGUMENT", "400", InvalidRecordError),
        ("UNAVAILABLE", "503", ServerUnavailableError),
        ("DEADLINE_EXCEEDED", "504", DeadlineExceededError),
        ("INTERNAL", "500", ModelFaultError),
        ("NOT_FOUND", "404", ProtocolError),
        ("UNIMPLEMENTED", "501", ProtocolError),
        ("UNAUTHENTICATED", "401", ProtocolError),
    ],
)
def test_protocols_agree(grpc: str, http: str, expected: type[ScoringError]) -> None:
    for status in (f"StatusCode.{grpc}", http):
        assert type(from_status(status, TEXT)) is expected


def test_restricted_call_is_not_a_server_that_is_away() -> None:
    over_grpc = from_status("StatusCode.UNAVAILABLE", "This protocol is restricted, expecting header 'k'")
    over_http = from_status("403", "This API is restricted, expecting header 'k'")
    assert type(over_grpc) is type(over_http) is ProtocolError


def test_missing_output_is_not_a_bad_record() -> None:
    for status in ("StatusCode.INVALID_ARGUMENT", "400"):
        text = "unexpected inference output 'tasks' for model 'scoring'"
        assert type(from_status(status, text)) is ProtocolError
        assert type(from_status(status, f"tokenizer: row 0: $.source: expected text, got {text}")) is InvalidRecordError


def test_error_of_the_client_library() -> None:
    assert type(from_status(None, "unknown datatype")) is ProtocolError
