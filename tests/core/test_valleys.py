"""The floor in event time: one sample a release cycle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.units import GIB, MIB
from vramwatch.core.valleys import Valley, ZigZag, block_minima, floor, step, valleys

REBOUND = 100
levels = st.lists(st.integers(0, 40).map(lambda n: n * 25), max_size=60)


def found(*values: float, rebound: float = REBOUND) -> list[tuple[float, float, float]]:
    return [(v.time, v.value, v.rebound) for v in valleys(range(len(values)), values, rebound)]


def test_a_fall_and_a_rise_make_a_valley():
    assert found(500, 300, 450) == [(1, 300, 150)]


def test_each_release_cycle_gives_one_valley_whatever_its_length():
    assert found(900, 200, 900, 900, 900, 250, 260, 250, 900, 210, 900) == [
        (1, 200, 700),
        (5, 250, 650),
        (9, 210, 690),
    ]


def test_a_wobble_smaller_than_the_rebound_is_no_release():
    assert found(500, 450, 520, 430, 500, 440) == []


def test_the_start_of_a_series_is_no_valley_for_nothing_fell_before_it():
    assert found(100, 900) == []


def test_the_end_of_a_series_is_no_valley_until_it_has_risen_again():
    assert found(900, 100, 150) == []
    assert found(900, 100, 200) == [(1, 100, 100)]


def test_an_idle_hour_adds_no_evidence():
    assert found(900, *[200] * 3600, 900) == found(900, 200, 900)


def test_a_valley_reached_by_small_steps_is_where_it_was_lowest():
    assert found(500, 460, 420, 380, 390, 370, 400, 440, 480) == [(5, 370, 110)]


def test_steady_growth_has_no_valleys():
    assert found(*range(0, 5000, 10)) == []


@given(levels)
def test_folding_sample_by_sample_finds_the_same_as_the_whole_series(values):
    state, seen = ZigZag(REBOUND), []
    for time, value in enumerate(values):
        state, valley = step(state, time, value)
        seen += [valley] if valley else []
    assert seen == valleys(range(len(values)), values, REBOUND)


@given(levels, st.integers(0, 60))
def test_what_was_found_stays_found_as_the_series_goes_on(values, cut):
    assert found(*values)[: len(found(*values[:cut]))] == found(*values[:cut])


@given(levels)
def test_before_and_after_every_valley_the_series_stands_at_least_a_rebound_higher(values):
    at = [time for time, _, _ in found(*values)]
    for before, time, after in zip([0, *at], at, [*at[1:], len(values)], strict=False):
        assert max(values[before : time + 1]) - values[time] >= REBOUND
        assert max(values[time:after]) - values[time] >= REBOUND


@given(levels, st.integers(-(10**9), 10**9))
def test_valleys_move_with_the_series_and_keep_their_times(values, offset):
    moved = found(*[value + offset for value in values])
    assert moved == [(time, value + offset, rise) for time, value, rise in found(*values)]


def test_peaks_are_the_valleys_of_negated_values():
    assert found(*[-v for v in (0, 400, 100)]) == [(1, -400, 300)]


def test_a_sample_that_changes_nothing_leaves_the_very_same_state():
    state, _ = step(ZigZag(GIB), 0.0, 20.0 * GIB)
    assert step(state, 1.0, 20.0 * GIB - 2 * MIB)[0] is state


def test_times_and_values_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="longer"):
        valleys([1.0], [1.0, 2.0], REBOUND)


# --- blocks --------------------------------------------------------------------------------------


def test_block_minima_take_the_least_of_each_block_and_wait_for_the_last_to_be_full():
    assert block_minima([5, 3, 4, 9, 7, 8, 1], 3) == [3, 7]


@pytest.mark.parametrize("size", [0, -2])
def test_a_block_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match="at least 1"):
        block_minima([1, 2, 3], size)


def test_the_floor_keeps_the_lowest_valley_of_each_block_with_its_time():
    low, lower, other = Valley(1.0, 30, 9), Valley(2.0, 20, 9), Valley(3.0, 25, 9)
    assert floor([low, lower, other], 2) == [lower]


@given(st.lists(st.integers(), max_size=50), st.integers(1, 10))
def test_the_floor_and_the_block_minima_agree(values, size):
    stations = [Valley(time, value, 1) for time, value in enumerate(values)]
    assert [valley.value for valley in floor(stations, size)] == block_minima(values, size)
