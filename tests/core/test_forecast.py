"""When memory is exhausted, or why nobody can say."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vramwatch.core.forecast import FARTHEST, Abstention, Exhaustion, Reason, exhaustion
from vramwatch.core.saturation import LEAST_SAMPLES, Plateau, Saturation, Shape, saturation
from vramwatch.core.trend import Slope, theil_sen
from vramwatch.core.units import GIB, MIB

NOW = 1_000_000.0
CARD = 80 * GIB
HOURLY = Slope(low=GIB / 7200, median=GIB / 3600, high=2 * GIB / 3600, count=20)
LINE = Saturation(Shape.LINEAR, evidence=-3.0)


def cache(low: float, value: float, high: float, time_constant: float = 3600.0) -> Saturation:
    return Saturation(Shape.SATURATING, 40.0, Plateau(low * GIB, value * GIB, high * GIB, time_constant))


def test_straight_growth_takes_the_room_left_through_the_slope_and_its_interval():
    assert exhaustion(NOW, 70 * GIB, CARD, HOURLY, LINE) == Exhaustion(
        at=NOW + 10 * 3600, low=NOW + 5 * 3600, high=NOW + 20 * 3600
    )


def test_a_gigabyte_an_hour_is_the_same_without_a_shape():
    assert exhaustion(NOW, 70 * GIB, CARD, HOURLY, None) == exhaustion(NOW, 70 * GIB, CARD, HOURLY, LINE)


def test_a_capacity_that_is_reached_already_is_exhausted_now():
    assert exhaustion(NOW, CARD, CARD, None, None) == Exhaustion(NOW, NOW, NOW)


@pytest.mark.parametrize(
    ("slope", "shape", "reason"),
    [
        (None, None, Reason.THIN),
        (Slope(1e6, 1e6, 1e6, LEAST_SAMPLES - 1), LINE, Reason.THIN),
        (Slope(-1e3, 1e6, 2e6, 500), LINE, Reason.NOT_GROWING),
        (Slope(0.0, 0.0, 0.0, 500), LINE, Reason.NOT_GROWING),
        (Slope(-3e6, -2e6, -1e6, 500), LINE, Reason.NOT_GROWING),
        (HOURLY, cache(74, 75, 76), Reason.FITS),
        (HOURLY, cache(74, 79, 90), Reason.MAY_FIT),
        (HOURLY, Saturation(Shape.SATURATING, 12.0), Reason.SLOWING),
        (Slope(10.0, 11.0, 12.0, 500), LINE, Reason.FAR),
        (Slope(5e-324, 5e-324, 5e-324, 500), LINE, Reason.FAR),
    ],
)
def test_it_abstains_with_the_reason(slope, shape, reason):
    assert exhaustion(NOW, 70 * GIB, CARD, slope, shape) == Abstention(reason)


def test_a_cache_that_will_not_fit_is_exhausted_later_than_its_slope_says():
    curved = exhaustion(NOW, 70 * GIB, CARD, HOURLY, cache(85, 90, 100))
    # from 70 towards 90 GiB: 80 is half the way, which takes ln 2 time constants
    assert curved.at == pytest.approx(NOW + 3600 * 0.6931, abs=1)
    assert NOW < curved.low < curved.at < curved.high


def test_a_cache_that_filled_this_far_is_forecast_from_its_own_curve():
    times = [60.0 * i for i in range(240)]
    values = [20 * GIB + 80 * GIB * (1 - 2.718281828 ** (-time / 9000.0)) for time in times]
    found = exhaustion(times[-1], values[-1], 90 * GIB, theil_sen(times, values), saturation(times, values))
    assert found.at == pytest.approx(9000.0 * 2.0794, rel=0.05)  # ln 8: 10 of 80 GiB are left


@given(
    level=st.floats(0, 79.9),
    rates=st.lists(st.floats(1e4, 1e9), min_size=3, max_size=3),
    now=st.floats(0, 2e9),
)
def test_a_forecast_lies_in_its_interval_and_never_in_the_past(level, rates, now):
    found = exhaustion(now, level * GIB, CARD, Slope(*sorted(rates), count=50), LINE)
    assert isinstance(found, Exhaustion)
    assert now <= found.low <= found.at <= found.high
    assert found.at <= now + FARTHEST


@given(st.floats(0, 79), st.floats(0, 79), st.floats(1e4, 1e9))
def test_less_room_is_never_exhausted_later(one, other, rate):
    assume(one < other)
    slope = Slope(rate, rate, rate, 50)
    early, late = (exhaustion(NOW, gib * GIB, CARD, slope, LINE) for gib in (other, one))
    assert early.at <= late.at


def test_four_fifths_of_the_outcomes_lie_in_the_interval():
    chance, held = random.Random(2), 0
    for _ in range(200):
        times = [600.0 * i for i in range(40)]
        values = [20 * GIB + 400 * MIB * time / 3600 + chance.gauss(0, 300 * MIB) for time in times]
        level = 20 * GIB + 400 * MIB * times[-1] / 3600
        found = exhaustion(times[-1], level, 24 * GIB, theil_sen(times, values), saturation(times, values))
        held += isinstance(found, Exhaustion) and found.low <= 4 * GIB / (400 * MIB) * 3600 <= found.high
    assert 0.75 <= held / 200 <= 0.90
