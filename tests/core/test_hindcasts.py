"""Forecasts whose outcome is known by now, and the width that they say intervals must have."""

from math import e, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.forecast import Straight
from vramwatch.core.hindcasts import ENOUGH, KEPT, USUAL, Hindcast, width

MADE = Hindcast(0.25, 0.0, 1e9, Straight(wait=1000.0, sooner=log(1.25), later=log(1.5)))


@pytest.mark.parametrize(
    ("waited", "score"), [(1000.0, 0.0), (1500.0, 1.0), (2250.0, 2.0), (800.0, 1.0), (640.0, 2.0)]
)
def test_a_forecast_is_scored_in_widths_of_its_own_interval(waited, score):
    assert MADE.score(waited) == pytest.approx(score)


def test_an_interval_without_width_is_scored_as_a_narrow_one():
    assert Hindcast(0.25, 0.0, 1e9, Straight(100.0, 0.0, 0.0)).score(100.0 * e) == pytest.approx(50.0)


@pytest.mark.parametrize("count", range(ENOUGH))
def test_few_past_forecasts_leave_the_usual_width(count):
    assert width([9.0] * count) == USUAL


@given(st.lists(st.floats(0, 50), min_size=ENOUGH, max_size=KEPT))
def test_enough_past_forecasts_give_the_width_that_would_have_held_four_of_five(scores):
    told = width(scores)
    assert told.count == len(scores)
    assert told.factor in scores
    assert sum(score <= told.factor for score in scores) >= 0.8 * len(scores)
    assert sum(score < told.factor for score in scores) <= 0.8 * (len(scores) + 1)


@given(st.floats(1.0, 1e6), st.floats(0, 2), st.floats(0, 2), st.floats(0.1, 60))
def test_however_wide_a_forecast_lies_in_its_interval_and_not_in_the_past(wait, sooner, later, factor):
    told = Straight(wait, sooner, later).told(5.0, factor)
    assert 5.0 <= told.low <= told.at <= told.high
