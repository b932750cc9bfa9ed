"""Whether a series rises, and how fast.

The oracle's figures come from scipy 1.17.1 and pymannkendall 1.4.3, neither of which the project needs:
    python -m venv oracle && oracle/bin/pip install scipy pymannkendall
    oracle/bin/python -c "import pymannkendall; print(pymannkendall.original_test(V))"
    oracle/bin/python -c "import scipy.stats; print(scipy.stats.theilslopes(V, T, alpha=CONFIDENCE))"
with V and T as the lists below.
"""

import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.trend import EXACT_UP_TO, mann_kendall, theil_sen
from vramwatch.core.units import GIB, MIB

STAIRS = [2 * (i // 7) + i * i % 3 for i in range(40)]
PLATEAUS = [i // 9 * 20 + (13 if i % 17 == 3 else 0) for i in range(60)]
PERSISTENT = [
    *(64, 60, 120, 174, 175, 210, 208, 263, 303, 263, 232, 257, 246, 281, 284, 261, 306, 311, 312, 323),
    *(325, 342, 368, 369, 373, 340, 329, 355, 377, 331, 358, 318, 294, 347, 349, 369, 374, 356, 334, 301),
]

# Bytes in the driver's quanta, with many ties: what memory really looks like.
quanta = st.integers(0, 40).map(lambda n: n * 2 * MIB)
series = st.lists(quanta, min_size=0, max_size=80)


def every(seconds: float, values: list) -> list[float]:
    return [seconds * i for i in range(len(values))]


# --- Mann-Kendall --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "s", "variance", "z"),
    [
        (STAIRS, 661, 7284.333333333333, 7.733018159367623),
        (PLATEAUS, 1522, 24094.666666666668, 9.798706575108382),
        (PERSISTENT, 518, 7364.666666666667, 6.024402715624324),
    ],
)
def test_mann_kendall_agrees_with_pymannkendall_on_ties_and_plateaus(values, s, variance, z):
    test = mann_kendall(values)
    assert (test.s, test.count) == (s, len(values))
    assert (test.variance, test.z) == pytest.approx((variance, z))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 60, 1440])
def test_a_series_that_is_exactly_flat_shows_no_trend_at_all(count):
    assert mann_kendall([41 * GIB] * count).z == 0.0


@given(series)
def test_s_is_the_pairs_that_rise_less_the_pairs_that_fall(values):
    pairs = [(a, b) for i, a in enumerate(values) for b in values[i + 1 :]]
    assert mann_kendall(values).s == sum((b > a) - (b < a) for a, b in pairs)


@given(series)
def test_a_series_read_backwards_has_the_opposite_trend(values):
    assert mann_kendall(values[::-1]).z == -mann_kendall(values).z


@given(series, st.integers(1, 1000), st.integers(-(10**12), 10**12))
def test_a_trend_does_not_depend_on_unit_or_offset(values, scale, offset):
    moved = [value * scale + offset for value in values]
    assert mann_kendall(moved) == mann_kendall(values)


# --- Theil-Sen -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "confidence", "low", "slope", "high"),
    [
        (STAIRS, 0.8, 0.02666666666666667, 0.02857142857142857, 0.02962962962962963),
        (STAIRS, 0.95, 0.025714285714285714, 0.02857142857142857, 0.030434782608695653),
        (PLATEAUS, 0.8, 0.21052631578947367, 0.2222222222222222, 0.2222222222222222),
        (PLATEAUS, 0.95, 0.20689655172413793, 0.2222222222222222, 0.22727272727272727),
    ],
)
def test_theil_sen_agrees_with_scipy_on_ties_and_plateaus(values, confidence, low, slope, high):
    found = theil_sen(every(10.0, values), values, confidence)
    assert (found.low, found.median, found.high) == pytest.approx((low, slope, high))


def test_theil_sen_agrees_with_scipy_where_times_are_uneven_and_repeat():
    times = [0, 1, 2, 2, 3, 5, 8, 8, 9, 13, 14, 20]
    found = theil_sen(times, [4, 4, 7, 6, 4, 9, 12, 12, 12, 15, 13, 22])
    assert (found.low, found.median, found.high, found.count) == pytest.approx(
        (0.75, 0.8516483516483516, 1.0, 12)
    )


@pytest.mark.parametrize("times", [[], [5.0], [5.0, 5.0, 5.0]])
def test_without_two_different_times_there_is_no_slope(times):
    assert theil_sen(times, [GIB] * len(times)) is None


@pytest.mark.parametrize("count", [10, EXACT_UP_TO + 40])
def test_times_and_values_of_different_lengths_are_refused(count):
    with pytest.raises(ValueError, match="shorter"):
        theil_sen([float(i) for i in range(count)], [0.0] * (count - 1))


@given(st.integers(2, 150), st.integers(-1000, 1000), st.integers(1, 100))
def test_a_straight_line_has_its_own_slope_and_no_doubt(count, rate, seconds):
    times = [float(seconds * i) for i in range(count)]
    found = theil_sen(times, [GIB + rate * time for time in times])
    assert (found.low, found.median, found.high) == pytest.approx((rate, rate, rate))


@given(st.lists(quanta, min_size=2, max_size=150))
def test_the_median_lies_in_its_interval_and_a_higher_confidence_widens_it(values):
    times = every(60.0, values)
    narrow, wide = theil_sen(times, values, 0.5), theil_sen(times, values, 0.95)
    assert wide.low <= narrow.low <= narrow.median <= narrow.high <= wide.high


@given(st.lists(quanta, min_size=2, max_size=150))
def test_falling_is_rising_upside_down(values):
    times = every(60.0, values)
    up, down = theil_sen(times, values), theil_sen(times, [-value for value in values])
    assert (down.low, down.median, down.high) == pytest.approx((-up.high, -up.median, -up.low))


@pytest.mark.parametrize("count", [60, 240])
def test_a_fifth_of_the_samples_gone_wild_does_not_move_the_slope_much(count):
    chance = random.Random(5)
    values = [20 * GIB + 1000.0 * 60 * i + chance.gauss(0, 30_000) for i in range(count)]
    for i in chance.sample(range(count), count // 5):
        values[i] += 30 * GIB
    found = theil_sen(every(60.0, values), values)
    assert found.median == pytest.approx(1000.0, rel=0.15)


@pytest.mark.parametrize("count", [8, 30, 120])
def test_the_interval_holds_the_true_slope_about_as_often_as_it_says(count):
    chance = random.Random(3)
    held = 0
    for _ in range(300):
        values = [3.0 * i + chance.gauss(0, 15) for i in range(count)]
        found = theil_sen(range(count), values)
        held += found.low <= 3.0 <= found.high
    assert 0.75 <= held / 300 <= 0.90


def test_half_lag_pairs_are_about_one_and_a_half_times_as_uncertain_as_least_squares():
    chance, count, squares = random.Random(9), 120, 0.0
    for _ in range(300):
        found = theil_sen(range(count), [chance.gauss(0, 1) for _ in range(count)])
        squares += found.median**2
    assert sqrt(squares / 300) / sqrt(12 / count**3) == pytest.approx(1.45, abs=0.2)


def test_less_than_a_quantum_in_half_the_series_reads_as_no_slope():
    values = [GIB + i // 100 * 2 * MIB for i in range(120)]
    assert theil_sen(every(60.0, values), values).median == 0.0
