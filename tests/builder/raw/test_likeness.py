"""Ids that are written in two ways are told, with an example of each."""

import pytest

from pragmatiq_builder.raw.likeness import likeness


@pytest.mark.parametrize(
    ("unknown", "known", "told"),
    [
        (["7", "8", "x"], ["0007", "0008", "9"], "2 of 3 differ from known ones in leading zeros alone, such as '7'"),
        (["00"], ["0"], "1 of 1 differ from known ones in leading zeros alone, such as '00' and '0'"),
        (["7.0"], ["7"], "1 of 1 differ from known ones in a \".0\" at the end alone, such as '7.0' and '7'"),
        ([" a"], ["a"], "in spaces around them alone"),
        (["AB"], ["ab"], "in capital letters alone, such as 'AB' and 'ab'"),
        ([" 7.0"], ["007"], 'in leading zeros, ".0", spaces or capital letters alone, such as \' 7.0\' and \'007\''),
    ],
)  # fmt: skip
def test_what_they_differ_in(unknown, known, told):
    assert told in likeness(unknown, known)


@pytest.mark.parametrize(("unknown", "known"), [([], ["7"]), (["x"], ["y"]), (["x"], []), (["70"], ["7"])])
def test_nothing_is_said_of_others(unknown, known):
    assert likeness(unknown, known) == ""
