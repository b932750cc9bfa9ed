"""Whether the points of a floor rise as only growth does."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.floors import LEAST_GROWTH, QUANTUM, judge_floor, rise, slowing
from vramwatch.core.lanes import HOUR, Lane, Points
from vramwatch.core.model import SubjectKind
from vramwatch.core.saturation import Shape
from vramwatch.core.units import GIB, MIB
from vramwatch.core.verdicts import Clear, Found, Unknown
from vramwatch.core.windows import Load, Window

CARD = 24 * GIB
NOW = 1_700_000_000.0
EVERY = 1800.0


def judged(mebibytes, works=None, capacity=CARD, **options):
    """Judge a floor with a point every half hour, of a process that is long warm."""
    points = Points(1000)
    begins = NOW - EVERY * len(mebibytes)
    for i, value in enumerate(mebibytes):
        points.add(begins + i * EVERY, works[i] if works else i * 600.0, value * MIB)
    lane = Lane(capacity)
    lane.fold(NOW, 9000 * MIB, 0.0, True)
    window = Window(SubjectKind.PROCESS, lane, Load(), NOW, NOW, float(capacity), started=begins - 10 * HOUR)
    asked = {"least_points": 8, "z": 3.2, "deepest_fall": 0.15, "least_steps": 4} | options
    return judge_floor(window, points, "at rest", **asked)


RISING = [9000 + 60 * i for i in range(12)]


def test_a_floor_that_rises_with_every_point_is_found_with_its_rate():
    found = judged(RISING)
    assert isinstance(found, Found)
    assert found.rate.median * HOUR == pytest.approx(120 * MIB)
    assert found.evidence.count == len(RISING)
    assert found.evidence.numbers["steps"] == len(RISING) - 1
    assert found.evidence.until - found.evidence.since == 11 * EVERY


@pytest.mark.parametrize(
    ("what", "mebibytes"),
    [
        ("flat", [9000] * 12),
        ("falling", RISING[::-1]),
        ("by less than is worth a word", [9000 + 3 * i for i in range(12)]),
        ("up and down", [9000 + 300 * (i % 3) for i in range(12)]),
        ("in one step", [9000] * 6 + [9600] * 6),
        ("in one step, about which it jitters", [*range(9000, 9018, 3), *range(9900, 9918, 3)]),
        ("with a deep fall", [*RISING[:6], 9100, *RISING[7:]]),
        ("and has come to an end", [9000, 9150, 9300, 9450, 9600, *[9660] * 12]),
        ("with one spike", [9000] * 6 + [12_000] + [9000] * 5),
    ],
)
def test_a_floor_that_is_no_growth_is_clear(what, mebibytes):
    assert judged(mebibytes) == Clear(), what


def test_too_few_points_are_unknown_and_not_clear():
    assert isinstance(judged(RISING[:7]), Unknown)
    assert isinstance(judged([]), Unknown)


def test_points_of_the_warm_up_do_not_count():
    points = Points(100)
    for i in range(12):
        points.add(NOW - 1800.0 + i * 100, i, (9000 + 60 * i) * MIB)
    lane = Lane(CARD)
    lane.fold(NOW, 9000 * MIB, 0.0, True)
    window = Window(SubjectKind.PROCESS, lane, Load(), NOW, NOW, float(CARD), started=NOW - 1800.0)
    verdict = judge_floor(window, points, "at rest", least_points=8, z=3, deepest_fall=0.1, least_steps=4)
    assert isinstance(verdict, Unknown)


def test_a_larger_card_needs_more_growth():
    assert isinstance(judged(RISING), Found)
    assert judged(RISING, capacity=80 * 8 * GIB) == Clear()


def test_a_rise_with_a_load_that_rose_is_unknown_where_load_moves_the_floor():
    rose = [i * 600.0 if i < 6 else 3600 + (i - 6) * 1800.0 for i in range(12)]
    assert isinstance(judged(RISING, rose, rules_out_load=True), Unknown)
    assert isinstance(judged(RISING, rose), Found)
    assert isinstance(judged(RISING, rules_out_load=True), Found)


# --- rise ---------------------------------------------------------------------------------------------


def of(values):
    return rise([float(i) for i in range(len(values))], values)


def test_a_rise_is_told_by_its_growth_its_deepest_fall_and_its_steps():
    seen = of([0.0, 10.0 * MIB, 4.0 * MIB, 11.0 * MIB, 14.0 * MIB])
    assert seen.growth == 14 * MIB
    assert seen.fall == 6 * MIB
    assert seen.steps == 2  # 10 and 14: 11 is less than a quantum above 10
    assert not seen.is_clean


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=60))
def test_the_largest_step_is_no_larger_than_the_whole_way_up(values):
    seen = of(values)
    assert 0 <= seen.largest <= max(values) - values[0]
    assert (seen.largest > 0) is (seen.steps > 0)


def test_two_steps_are_growth_and_one_is_not_however_much_it_jitters():
    assert of([0.0, 3.0 * MIB, 6.0 * MIB, 100.0 * MIB, 103.0 * MIB, 106.0 * MIB]).is_one_step
    assert not of([0.0, 0.0, 50.0 * MIB, 50.0 * MIB, 100.0 * MIB, 100.0 * MIB]).is_one_step


def test_half_of_a_straight_rise_comes_late():
    assert of([MIB * 10.0 * i for i in range(41)]).late == pytest.approx(0.5, abs=0.15)


VALUES = st.lists(st.floats(0, 1e11), min_size=1, max_size=60)


@given(VALUES)
def test_whatever_the_points_a_rise_is_within_their_range(values):
    seen = of(values)
    span = max(values) - min(values)
    assert -span <= seen.growth <= span
    assert 0 <= seen.fall <= span
    assert 0 <= seen.steps < len(values)
    assert seen.steps * QUANTUM <= span * (1 + 1e-9)


@given(st.lists(st.integers(0, 10**5), min_size=1, max_size=40))
def test_what_never_falls_has_no_fall_and_what_never_rises_has_no_step(numbers):
    values = [float(each * MIB) for each in sorted(numbers)]
    assert of(values).fall == 0
    assert of(values[::-1]).steps == 0
    assert of(values[::-1]).growth <= 0


@given(st.lists(st.integers(0, 10**4), min_size=9, max_size=40))
def test_no_floor_is_found_that_did_not_grow_by_what_is_worth_a_word(mebibytes):
    verdict = judged(mebibytes)
    if isinstance(verdict, Found):
        assert max(mebibytes) * MIB - min(mebibytes) * MIB >= LEAST_GROWTH
        assert verdict.rate.low <= verdict.rate.median <= verdict.rate.high


# --- slowing -------------------------------------------------------------------------------------------

TIMES = [600.0 * i for i in range(60)]


def test_a_cache_that_fills_is_seen_to_slow_down_by_work_too():
    values = [9 * GIB + 6 * GIB * (1 - exp(-time / 7200)) for time in TIMES]
    assert slowing(TIMES, TIMES, values).shape is Shape.SATURATING


def test_growth_that_slows_with_the_load_alone_is_a_line():
    works = [20_000 * (1 - exp(-time / 7200)) for time in TIMES]
    values = [9 * GIB + 300_000 * work for work in works]
    assert slowing(TIMES, works, values).shape is Shape.LINEAR


def test_healthy_hours_before_it_began_are_no_part_of_the_curve():
    values = [9.0 * GIB] * 30 + [9 * GIB + 40.0 * MIB * i for i in range(30)]
    assert slowing(TIMES, TIMES, values).shape is Shape.LINEAR


def test_nothing_and_one_point_have_no_curve():
    assert slowing([], [], []) is None
    assert slowing([0.0], [0.0], [1.0]) is None
