import json
import time

import pytest

from pragmatiq_triton.given_up import GivenUp
from pragmatiq_triton.serving.terms import read_terms


class Request:
    """In place of Triton's: answers with ``parameters``, or fails with it."""

    def __init__(self, parameters):
        self._parameters = parameters

    def parameters(self):
        if isinstance(self._parameters, Exception):
            raise self._parameters
        return self._parameters


@pytest.mark.parametrize("parameters", ['{"canary":true}', '{"a":"\\"}", "canary": true}'])
def test_a_canary_says_so(parameters):
    assert read_terms(Request(parameters), GivenUp(None)).is_canary


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "{}",
        '{"canary":false}',
        '{"canary":1}',
        '{"canary":1.0}',
        '{"canary":"true"}',
        '{"canary":"yes"}',
        '{"canary":null}',
        '{"canary":{"canary":true}}',
        '{"not":"canary"}',
        '{"canary":true',
        "canary",
        '"canary"',
        '["canary"]',
        "[" * 100_000 + '"canary"',
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=lambda each: repr(each)[:30],
)
def test_whatever_else_a_caller_sends_is_none(parameters):
    assert not read_terms(Request(parameters), GivenUp(None)).is_canary


def test_a_request_is_over_once_its_caller_has_given_up_or_its_deadline_has_passed(tmp_path):
    GivenUp.create(tmp_path / "board")
    board = GivenUp(tmp_path / "board", writes=True)
    waits = read_terms(said(9, time.monotonic() + 60), board)
    assert waits.ended() is None
    board.write(9)
    assert "given up" in str(waits.ended())
    late = read_terms(said(10, time.monotonic()), board)
    assert "deadline" in str(late.ended())


def said(ticket, deadline):
    return Request(json.dumps({"ticket": ticket, "deadline": int(deadline * 1e6)}))


@pytest.mark.parametrize(
    "parameters",
    [
        '{"ticket": "9", "deadline": "1"}',
        '{"ticket": -1, "deadline": -1}',
        '{"ticket": 9.0, "deadline": 1.5}',
        '{"ticket": true, "deadline": true}',
        '{"ticket": 99999999999999999999999, "deadline": 99999999999999999999999}',
        '{"ticket": null}',
    ],
)
def test_other_tickets_and_deadlines_are_none(parameters, tmp_path):
    GivenUp.create(tmp_path / "board")
    board = GivenUp(tmp_path / "board", writes=True)
    board.write(9)
    board.write(1)
    assert read_terms(Request(parameters), board).ended() is None
