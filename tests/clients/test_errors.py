import pickle

import pytest

from pragmatiq_client import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_client.causes import from_status

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
    assert error.for_row(3) is error
    assert error.for_row(11).row == 11
    assert error.for_row(11).path == error.path


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


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        ("NOT_FOUND", "Request for unknown model: 'scoring' has no available versions", ServerUnavailableError),
        ("404", "Request for unknown model: 'scoring' has no available versions", ServerUnavailableError),
        ("400", "Request for unknown model: 'scoring' has no available versions", ServerUnavailableError),
        ("INVALID_ARGUMENT", "in ensemble 'scoring', model 'tokenizer' is not ready", ServerUnavailableError),
        ("404", "Request for unknown model: 'other' is not found", ProtocolError),
        ("INTERNAL", "Stub process 'scorer_0_0' is not healthy.", ServerUnavailableError),
        ("500", "[request id: 7] in ensemble 'scoring', Stub process is not healthy", ServerUnavailableError),
        ("500", "RuntimeError: Stub process is not healthy", ModelFaultError),
        ("INVALID_ARGUMENT", "incomplete string length indicator for inference input 'record'", ServerUnavailableError),
        ("400", "in ensemble 'scoring', unexpected number of string elements 2 for 'record'", ServerUnavailableError),
        ("400", "tokenizer: row 0: $.source: expected text, got incomplete string", InvalidRecordError),
        ("400", "inference request batch-size must be <= 4", InvalidRecordError),
        ("400", "failed to parse the request JSON buffer: Invalid value. at 5", ProtocolError),
        ("CANCELLED", "Cancelling all calls", ServerUnavailableError),
        ("INTERNAL", "Received RST_STREAM with error code 2", ServerUnavailableError),
        ("UNKNOWN", "Stream removed", ServerUnavailableError),
        ("INTERNAL", "KeyError: Stream removed", ModelFaultError),
        ("INTERNAL", "Received http2 header with status: 400", ProtocolError),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (5 vs. 4)", ProtocolError),
        ("RESOURCE_EXHAUSTED", "rate limit exceeded", ServerUnavailableError),
        ("UNAVAILABLE", "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: unable to get issuer", ProtocolError),
        ("413", "too large", ProtocolError),
        ("302", "elsewhere", ProtocolError),
        ("429", "slow down", ServerUnavailableError),
    ],
)
def test_text_tells_what_the_status_does_not(status: str, text: str, expected: type[ScoringError]) -> None:
    error = from_status(status if status.isdigit() else f"StatusCode.{status}", text)
    assert type(error) is expected
    assert error.text == text


def test_error_says_cause_url_and_request_once() -> None:
    error = ModelFaultError("asked for", likely_cause="a test").at("grpc://localhost:8001", "r1")
    assert str(error) == "asked for; likely cause: a test (grpc://localhost:8001, request id r1)"
    assert str(ModelFaultError("[request id: r1] no").at("grpc://a:1", "r1")) == "[request id: r1] no (grpc://a:1)"
    copied = pickle.loads(pickle.dumps(error))
    assert str(copied) == str(error)
    record = pickle.loads(pickle.dumps(InvalidRecordError.parse(TEXT)))
    assert (record.row, record.path, str(record)) == (3, "$.events[0].ts", TEXT)
