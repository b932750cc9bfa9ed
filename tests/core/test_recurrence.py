"""Levels that return, and by how much they have shifted."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vramwatch.core.recurrence import OLDER, RECENT, Recurrence
from vramwatch.core.units import GIB, MIB
from vramwatch.detectors.level_return import LevelReturn

QUANTUM = 2 * MIB
MINUTE = 60.0
ASKED = LevelReturn()
LEAST = ASKED.majority + ASKED.lead


def swapping_server(seed, hours, leak_per_busy_hour=0.0, leak_from=0.0, models=25, creep=0):
    """Yield (time, used bytes, busy seconds) a minute: models swapped in and out, idle in between.

    Every model has a level of its own. What leaks does so while busy, in the driver's quanta.
    """
    chance = random.Random(seed)
    levels = [round(chance.uniform(8, 40) * GIB / QUANTUM) * QUANTUM for _ in range(models)]
    time = busy = leaked = 0.0
    while time < hours * 3600:
        level = chance.choice(levels)
        for _ in range(chance.randint(1, 4)):  # a request or two: memory on the way up and down
            time += MINUTE
            busy += MINUTE
            if time >= leak_from:
                leaked += leak_per_busy_hour / 60
            peak = level + chance.uniform(0.2, 4) * GIB
            yield time, int(peak + leaked), busy
        for _ in range(chance.randint(2, 9)):  # then idle on what is resident
            time += MINUTE
            yield time, int(level + leaked // QUANTUM * QUANTUM) + chance.randint(0, creep), busy


def listen(samples):
    recurrence = Recurrence()
    for time, used, busy in samples:
        recurrence.fold(time, used, busy)
    return recurrence.by_work.peak(LEAST)


def is_clear(found):
    """Whether a rate has the majority that the detector asks for."""
    return found is not None and found.votes >= ASKED.majority * max(found.rival, 1.0) + ASKED.lead


@pytest.mark.parametrize("seed", range(8))
def test_a_healthy_server_that_swaps_models_returns_to_its_levels_and_no_rate_has_a_majority(seed):
    found = listen(swapping_server(seed, hours=24))
    assert not is_clear(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [200, 1000, 4000])
def test_a_leak_under_the_same_swaps_is_found_with_its_rate(seed, rate):
    found = listen(swapping_server(seed, hours=12, leak_per_busy_hour=rate * MIB))
    assert is_clear(found)
    assert found.rate * 3600 == pytest.approx(rate * MIB, rel=0.08)


def test_a_leak_that_begins_after_three_days_of_health_is_found_within_as_long():
    found = listen(swapping_server(1, hours=132, leak_per_busy_hour=500 * MIB, leak_from=72 * 3600.0))
    assert is_clear(found)
    assert found.rate * 3600 == pytest.approx(500 * MIB, rel=0.1)


def test_a_level_that_never_leaves_says_nothing():
    assert listen((minute * MINUTE, 70 * GIB, minute * 30.0) for minute in range(5000)) is None


def test_a_steady_rise_without_a_return_says_nothing():
    """A warm-up, a load, a cache that fills: nothing here was ever in the same state twice."""
    assert listen((m * MINUTE, 10 * GIB + (m // 3) * 8 * MIB, m * 30.0) for m in range(2000)) is None


def test_memory_that_shrinks_from_return_to_return_is_no_leak():
    samples = list(swapping_server(3, hours=12, leak_per_busy_hour=500 * MIB))
    most = max(used for _, used, _ in samples)
    found = listen((time, most - used, busy) for time, used, busy in samples)
    assert not is_clear(found)


def test_without_work_between_two_states_nothing_can_have_been_lost_by_work():
    assert listen((time, used, 0.0) for time, used, _ in swapping_server(1, 12, 1000 * MIB)) is None


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.1, 1000.0))
def test_the_unit_of_work_changes_the_rate_and_nothing_else(seed, unit):
    """Of units in which every rate lies within those that are told apart."""
    samples = list(swapping_server(seed, hours=6, leak_per_busy_hour=600 * MIB))
    plain = listen(samples)
    scaled = listen((time, used, busy * unit) for time, used, busy in samples)
    assume(is_clear(plain))
    assert scaled.rate * unit == pytest.approx(plain.rate, rel=0.07)


def test_years_of_returns_cost_bounded_memory_and_no_more_time_at_the_end():
    recurrence = Recurrence()
    chance = random.Random(7)
    for stretch in range(2000):
        level = chance.randint(4000, 40000) * QUANTUM
        for second in (0.0, 60.0, 120.0):
            recurrence.fold(stretch * 900.0 + second, level, stretch * 100.0 + second)
    assert len(recurrence._recent) <= RECENT
    assert len(recurrence._older) <= OLDER
    for ballot in (recurrence.by_time, recurrence.by_work):
        assert max(len(ballot.rising), len(ballot.falling), len(ballot.unchanged)) < 1000


def test_what_is_lost_by_the_clock_is_found_by_the_clock_whatever_is_done():
    """A level left and taken up again every half hour, each time 30 MiB higher; the work done varies."""
    recurrence, chance, busy = Recurrence(), random.Random(5), 0.0
    for half_hour in range(40):
        level = 8 * GIB + half_hour * 30 * MIB
        for minute in range(30):
            is_busy = minute < 10
            busy += chance.uniform(0, 60) * is_busy
            used = level + is_busy * (2 + minute % 3) * GIB
            recurrence.fold(half_hour * 1800.0 + minute * MINUTE, used, busy, not is_busy)
    found = recurrence.by_time.peak(LEAST)
    assert is_clear(found)
    assert found.rate * 3600 == pytest.approx(60 * MIB, rel=0.1)


def test_a_level_that_stands_while_something_is_worked_at_casts_no_vote():
    recurrence = Recurrence()
    for minute in range(600):
        assert not recurrence.fold(minute * MINUTE, (8 + minute // 5 % 2 * 4) * GIB, minute * MINUTE, False)
    assert recurrence.by_time.peak(0.0) is None
    assert recurrence.by_work.peak(0.0) is None


def test_rates_beyond_the_fastest_have_nothing_in_common_and_agree_on_nothing():
    chance, recurrence = random.Random(9), Recurrence()
    work = 0.0
    for minute in range(0, 2000, 10):
        work += 0.001  # next to nothing was done, and the level is another each time
        level = 4 * GIB + minute * 20 * MIB + chance.randint(1, 900) * 20 * MIB
        for offset, held in ((0, level + 200 * GIB), (2, level), (4, level), (6, level)):
            recurrence.fold((minute + offset) * MINUTE, held, work)
    assert recurrence.by_time.rising is not None
    assert not is_clear(recurrence.by_work.peak(LEAST))
