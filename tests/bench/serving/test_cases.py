"""The named sets of cells hold what the bar reads, and no rate without the throughput that it is a share of."""

import pytest

from bench.serving.cases import BAR, COLD, EMPTY, PRESETS, SHARE_OF, WARM, Cell, chosen, full


@pytest.mark.parametrize("preset", PRESETS)
def test_cells_are_different_and_rates_come_after_their_throughput(preset):
    cells = chosen(preset, None, None)
    assert len(set(cells)) == len(cells)
    for place, cell in enumerate(cells):
        if cell.share:
            earlier = [(each.mode, each.events, each.callers) for each in cells[:place]]
            assert (cell.mode, cell.events, SHARE_OF) in earlier


def test_full_is_the_whole_matrix_with_upstream_where_the_bar_has_it():
    cells = full()
    assert len(cells) == 1 + 2 * 4 * (3 + 3)
    beside = {(cell.mode, cell.events, cell.callers) for cell in cells if cell.upstream}
    assert beside == {(cell.mode, cell.events, cell.callers) for cell in BAR if cell.upstream}
    assert (COLD, 1085, 1) in beside


def test_lengths_and_callers_narrow_a_preset():
    assert set(chosen("bar", [1085], None)) == {
        Cell(EMPTY, 0, 1),
        Cell(WARM, 1085, 1, upstream=True),
        Cell(COLD, 1085, 1, upstream=True),
    }
    assert {cell.callers for cell in chosen("bar", None, [64]) if cell.mode != EMPTY} == {64}
    assert not [cell for cell in chosen("quick", None, [1]) if cell.share]


def test_full_takes_any_length():
    assert {cell.events for cell in chosen("full", [17], [2])} == {0, 17}
    assert {cell.callers for cell in chosen("full", [17], [2])} == {0, 1, 2, SHARE_OF}
