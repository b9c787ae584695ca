import pytest

from pragmatiq_triton.serving.canary import is_canary


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
    assert is_canary(Request(parameters))


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
    assert not is_canary(Request(parameters))
