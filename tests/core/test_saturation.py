"""Does growth go on, or is it coming to rest?"""

import random
from collections.abc import Callable
from math import exp, log1p, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.saturation import DECISIVE, LEAST_SAMPLES, Saturation, Shape, saturation
from vramwatch.core.units import GIB, MIB

HOURS = 6 * 3600.0
START = 10 * GIB


def leak(share: float) -> float:
    return START + 4 * GIB * share


def warm_up_and_leak(share: float) -> float:
    return START + 2 * GIB * (1 - exp(-share / 0.03)) + 4 * GIB * share


def accelerating(share: float) -> float:
    return START + 4 * GIB * share**2


def cache(share: float) -> float:
    return START + 4 * GIB * (1 - exp(-share / 0.3))


def bounded_ramp(share: float) -> float:
    return START + 4 * GIB * min(1.0, share / 0.4)


def warm_up(share: float) -> float:
    return START + (4 * GIB if share > 0.02 else 0)


def plan_cache(share: float) -> float:
    return START + GIB * log1p(share / 0.02)


def draw(
    curve: Callable[[float], float],
    count: int = 120,
    noise: float = 0.0,
    persistence: float = 0.0,
    seed: int = 1,
) -> tuple[list[float], list[int]]:
    """Return times and bytes of ``curve``, in the driver's quanta, with noise of so many bytes."""
    chance, error, values = random.Random(seed), 0.0, []
    for i in range(count):
        error = persistence * error + chance.gauss(0, noise * sqrt(1 - persistence**2))
        values.append(round((curve(i / (count - 1)) + error) / (2 * MIB)) * 2 * MIB)
    return [HOURS * i / (count - 1) for i in range(count)], values


def shape(curve: Callable[[float], float], **how: float) -> Shape:
    return saturation(*draw(curve, **how)).shape


@pytest.mark.parametrize("count", [20, 60, 360, 1440])
@pytest.mark.parametrize("noise", [0, 200 * MIB])
@pytest.mark.parametrize("curve", [leak, accelerating, warm_up_and_leak])
def test_a_leak_is_linear_also_after_a_warm_up_and_when_it_speeds_up(curve, noise, count):
    assert shape(curve, count=count, noise=noise) is Shape.LINEAR


@pytest.mark.parametrize("count", [20, 60, 360, 1440])
@pytest.mark.parametrize("noise", [0, 200 * MIB])
@pytest.mark.parametrize("curve", [cache, bounded_ramp, warm_up])
def test_a_cache_that_fills_is_saturating_and_its_plateau_is_near_the_true_one(curve, noise, count):
    found = saturation(*draw(curve, count=count, noise=noise))
    assert found.shape is Shape.SATURATING
    assert found.evidence >= DECISIVE
    assert found.plateau.low <= found.plateau.value <= found.plateau.high
    assert found.plateau.value == pytest.approx(START + 4 * GIB, abs=GIB)


def test_the_time_constant_of_a_clean_exponential_is_found():
    assert saturation(*draw(cache)).plateau.time_constant == pytest.approx(0.3 * HOURS, rel=0.03)


def test_a_cache_that_grows_with_the_logarithm_slows_down_and_has_no_plateau_to_name():
    assert saturation(*draw(plan_cache)) == Saturation(
        Shape.SATURATING, evidence=pytest.approx(100, abs=90), plateau=None
    )


def test_the_first_part_of_a_slow_fill_cannot_be_told_from_a_leak():
    assert shape(lambda share: cache(share / 10), noise=100 * MIB) is Shape.LINEAR


def test_a_fall_that_slows_down_is_no_saturating_growth():
    assert shape(lambda share: START - (cache(share) - START)) is Shape.LINEAR


@pytest.mark.parametrize("noise", [0, 300 * MIB])
def test_a_level_series_is_flat(noise):
    assert shape(lambda _: START, noise=noise) is Shape.FLAT


@given(st.lists(st.integers(0, MIB), min_size=LEAST_SAMPLES, max_size=200))
def test_movement_below_the_drivers_quantum_is_flat(wiggles):
    values = [START + wiggle for wiggle in wiggles]
    assert saturation(range(len(values)), values).shape is Shape.FLAT


def test_a_staircase_that_goes_on_is_linear_and_one_that_has_stopped_is_not():
    arena = GIB // 2
    assert shape(lambda share: leak(share) // arena * arena) is Shape.LINEAR
    assert shape(lambda share: bounded_ramp(share) // arena * arena) is Shape.SATURATING


@pytest.mark.parametrize(("persistence", "wrong"), [(0.0, 0), (0.9, 4)])
def test_noise_seldom_makes_a_leak_look_like_a_cache(persistence, wrong):
    shapes = [shape(leak, count=60, noise=300 * MIB, persistence=persistence, seed=s) for s in range(60)]
    assert shapes.count(Shape.SATURATING) <= wrong


def test_the_plateaus_interval_holds_the_true_one_most_of_the_time():
    held = 0
    for seed in range(60):
        plateau = saturation(*draw(cache, count=90, noise=200 * MIB, seed=seed)).plateau
        held += plateau is not None and plateau.low <= START + 4 * GIB <= plateau.high
    assert held >= 36


def test_a_single_spike_in_a_long_series_changes_nothing():
    times, values = draw(leak, count=900, noise=100 * MIB)
    spiked = values.copy()
    spiked[450] += 60 * GIB
    assert saturation(times, spiked).shape is saturation(times, values).shape is Shape.LINEAR


@pytest.mark.parametrize("times", [[], [1.0] * 40, [float(i) for i in range(LEAST_SAMPLES - 1)]])
def test_too_few_samples_or_no_time_between_them_say_nothing(times):
    assert saturation(times, [START] * len(times)) is None


def test_a_long_series_taken_almost_all_at_one_instant_says_nothing():
    assert saturation([0.0] * 500 + [1.0], [START] * 501) is None


def test_times_and_values_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="9 times for 8 values"):
        saturation([float(i) for i in range(9)], [START] * 8)


levels = st.lists(st.integers(0, 40).map(lambda n: n * 256 * MIB), min_size=LEAST_SAMPLES, max_size=200)


@given(levels)
def test_whatever_the_series_a_plateau_stands_in_its_interval(values):
    found = saturation([60.0 * i for i in range(len(values))], values)
    assert found.shape is Shape.SATURATING or found.plateau is None
    if found.plateau:
        assert found.plateau.low <= found.plateau.value <= found.plateau.high
        assert found.plateau.time_constant > 0


@given(levels, st.integers(0, 100).map(lambda n: n * GIB), st.floats(1e-3, 1e4))
def test_the_shape_depends_on_neither_the_offset_nor_the_speed_of_the_clock(values, offset, speed):
    times = [60.0 * i for i in range(len(values))]
    found = saturation(times, values)
    moved = saturation([1e6 + time * speed for time in times], [value + offset for value in values])
    assert moved.evidence == pytest.approx(found.evidence, rel=1e-3, abs=1e-2)
