"""What is remembered of a series: bounded, and the same as if everything had been kept."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramwatch.core.lanes import (
    HOUR,
    HOURS_KEPT,
    IDLE_FOR,
    MINUTE,
    MINUTES_KEPT,
    MOMENTS_KEPT,
    REST_BLOCK,
    RESTS_KEPT,
    SPIKES_KEPT,
    VALLEYS_KEPT,
    Envelope,
    Lane,
    Points,
)
from vramwatch.core.units import GIB, MIB
from vramwatch.core.windows import LONGEST_HOLE, Load

CARD = 24 * GIB
BEGIN = 1_700_000_000.0 // HOUR * HOUR


def lane_of(samples, capacity=CARD):
    """``samples``: (seconds since BEGIN, MiB) or with work and idleness behind."""
    lane = Lane(capacity)
    for time, mebibytes, *more in samples:
        work, is_idle = more or (0.0, None)
        lane.fold(BEGIN + time, mebibytes * MIB, work, is_idle)
    return lane


@st.composite
def series(draw):
    """Up to some hours of samples, a few seconds or many minutes apart."""
    gaps = draw(st.lists(st.sampled_from([1.0, 7.0, 10.0, 59.0, 61.0, 600.0]), min_size=1, max_size=120))
    time, samples = draw(st.floats(0, 7200)), []
    for gap in gaps:
        time += gap
        samples.append((time, draw(st.integers(0, 24_000))))
    return samples


# --- envelopes and points -------------------------------------------------------------------------


@given(st.integers(8, 60), st.lists(st.integers(1, 5), max_size=300))
def test_an_envelope_keeps_the_newest_spans_and_never_many_more(kept, gaps):
    envelope, index = Envelope(MINUTE, kept), 0
    told = []
    for gap in gaps:
        index += gap
        told.append(index)
        envelope.add(index, 1.0, 2.0, 3.0)
        assert len(envelope) <= kept + kept // 8
    assert list(envelope.index) == told[len(told) - len(envelope) :]
    assert len(envelope) >= min(kept, len(told))
    assert len(envelope.low) == len(envelope.high) == len(envelope.work) == len(envelope)


@given(st.lists(st.integers(0, 500), unique=True, max_size=60), st.floats(-100, 40_000))
def test_since_is_the_first_span_that_begins_at_a_time_or_later(indices, time):
    envelope = Envelope(MINUTE, 100)
    for index in sorted(indices):
        envelope.add(index, 0.0, 0.0, 0.0)
    expected = next((i for i, each in enumerate(sorted(indices)) if each * MINUTE >= time), len(indices))
    assert envelope.since(time) == expected


@given(st.integers(4, 40), st.integers(0, 400))
def test_points_are_bounded_thinned_out_in_the_older_half_and_keep_the_first_and_the_newest(kept, count):
    points = Points(kept)
    for i in range(count):
        points.add(float(i), i / 2, i * 10.0)
        assert len(points) <= kept
        assert points.time[0] == 0.0
        assert points.time[-1] == i
    assert list(points.time) == sorted(points.time)
    assert [value / 10 for value in points.value] == list(points.time)
    newest = list(points.time)[-(kept // 4) :]
    assert newest == [float(i) for i in range(count - len(newest), count)]


def test_the_newest_point_is_lowered_and_never_raised():
    points = Points(10)
    points.add(0.0, 0.0, 50.0)
    points.add(1.0, 0.0, 70.0)
    points.lower(60.0)
    points.lower(65.0)
    assert list(points.value) == [50.0, 60.0]


def test_points_since_a_time_are_those_from_it_on():
    points = Points(10)
    for i in range(5):
        points.add(i * 10.0, i, i * 100.0)
    times, works, values = points.since(25.0)
    assert (list(times), list(works), list(values)) == ([30.0, 40.0], [3, 4], [300.0, 400.0])
    assert [list(each) for each in points.since(41.0)] == [[], [], []]


# --- a lane against a model that keeps everything -----------------------------------------------------


@settings(max_examples=60)
@given(series(), st.floats(0, 1), st.floats(0, 1))
def test_the_floor_between_two_times_is_the_least_of_the_whole_minutes_that_begin_between(samples, one, two):
    lane = lane_of(samples)
    open_minute = (BEGIN + samples[-1][0]) // MINUTE
    first = (BEGIN + samples[0][0]) // MINUTE * MINUTE
    span = lane.time - first
    since, until = first + span * min(one, two), first + span * max(one, two)
    within = [
        value * MIB
        for time, value in samples
        if since <= (BEGIN + time) // MINUTE * MINUTE < until and (BEGIN + time) // MINUTE < open_minute
    ]
    if lane.minutes:
        assert lane.floor(since, until) == min(within, default=None)


@pytest.mark.parametrize("minutes", [3, 59, 61, 700])
def test_the_floor_asked_for_from_before_a_lane_began_is_that_of_all_its_whole_minutes(minutes):
    lane = lane_of((minute * MINUTE, 9000 - minute) for minute in range(minutes + 1))
    assert lane.floor(0.0, lane.time) == (9000 - minutes + 1) * MIB
    assert lane.floor(BEGIN - HOUR, BEGIN + 2 * MINUTE) == 8999 * MIB


def test_the_floor_of_days_is_that_of_hours_and_then_of_the_newest_minutes():
    levels = [(minute * MINUTE, 5000 if minute in (100, 47 * 60 + 30) else 9000) for minute in range(48 * 60)]
    lane = lane_of(levels)
    assert lane.floor(BEGIN, BEGIN + 3 * HOUR) == 5000 * MIB
    assert lane.floor(BEGIN + 2 * HOUR, BEGIN + 47 * HOUR) == 9000 * MIB
    assert lane.floor(BEGIN + 3 * HOUR, lane.time) == 5000 * MIB  # in the hour that is open still


@settings(max_examples=60)
@given(series(), st.floats(60, 12 * HOUR))
def test_the_peak_of_a_span_is_the_most_of_the_minutes_that_begin_within_it(samples, span):
    lane = lane_of(samples)
    open_minute = lane.time // MINUTE
    within = [
        value * MIB
        for time, value in samples
        if (BEGIN + time) // MINUTE * MINUTE >= lane.time - span or (BEGIN + time) // MINUTE == open_minute
    ]
    assert lane.peak(span) == max(within)


def test_the_peak_of_days_is_found_by_the_hour():
    lane = lane_of((minute * MINUTE, 20_000 if minute == 100 else 5000) for minute in range(40 * 60))
    assert lane.peak(12 * HOUR) == 5000 * MIB
    assert lane.peak(48 * HOUR) == 20_000 * MIB


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_pace_is_the_work_done_a_second(share):
    lane = lane_of((i * 10.0, 5000, i * 10.0 * share, None) for i in range(3000))
    for span in (HOUR, 6 * HOUR, 24 * HOUR):
        assert lane.pace(span) == pytest.approx(share, rel=0.02)


def test_a_lane_that_has_just_begun_has_no_pace_and_no_floor():
    lane = lane_of([(0.0, 5000)])
    assert lane.pace(HOUR) == 0.0
    assert lane.floor(0.0, BEGIN + HOUR) is None
    assert lane.peak(HOUR) == 5000 * MIB


def test_however_long_it_lasts_a_lane_is_bounded():
    lane, chance = Lane(CARD), Random(1)
    for i in range(60_000):
        is_idle = i % 40 < 10
        lane.fold(BEGIN + i * 61.0, chance.randint(1000, 20_000) * MIB, i * 30.0, is_idle)
    for envelope, kept in (
        (lane.moments, MOMENTS_KEPT),
        (lane.minutes, MINUTES_KEPT),
        (lane.hours, HOURS_KEPT),
    ):
        assert kept <= len(envelope) <= kept * 9 / 8
    assert len(lane.rests) <= RESTS_KEPT
    assert len(lane.valleys) <= VALLEYS_KEPT
    assert len(lane.spikes) <= SPIKES_KEPT


# --- rests, valleys, spikes -----------------------------------------------------------------------------


def test_memory_is_at_rest_once_nothing_has_been_asked_for_two_minutes():
    lane = Lane(CARD)
    for second in range(0, 400, 10):
        came = lane.fold(BEGIN + second, 9000 * MIB, 0.0, True)
        assert (len(lane.rests) > 0) is (second >= IDLE_FOR)
        assert came is (second in (60, IDLE_FOR))  # after a minute a level stands
    assert list(lane.rests.value) == [9000 * MIB]


def test_a_rest_stands_at_the_least_that_was_held_in_it():
    held = [9000, 9000, 9000, 9000, 8000, 8500]
    lane = lane_of((i * MINUTE, each, 0.0, True) for i, each in enumerate(held))
    assert list(lane.rests.value) == [8000 * MIB]


def test_a_long_rest_counts_once_more_every_quarter_of_an_hour():
    lane = lane_of((i * MINUTE, 9000 + i, 0.0, True) for i in range(122))
    assert [time - BEGIN for time in lane.rests.time] == [IDLE_FOR + n * REST_BLOCK for n in range(8)]


@pytest.mark.parametrize("is_idle", [False, None])
def test_where_something_is_worked_at_or_nobody_tells_there_is_no_rest(is_idle):
    assert len(lane_of((i * MINUTE, 9000, 0.0, is_idle) for i in range(100)).rests) == 0


def test_a_valley_is_what_was_fallen_to_before_it_rose_again():
    held = [5000, 9000, 6000, 6100, 8000, 6500, 9000, 8990, 9000]
    lane = lane_of((i * MINUTE, each) for i, each in enumerate(held))
    assert [value / MIB for value in lane.valleys.value] == [6000, 6500]
    assert [time - BEGIN for time in lane.valleys.time] == [2 * MINUTE, 5 * MINUTE]


def test_a_dip_of_less_than_a_hundredth_of_the_card_is_no_valley():
    assert len(lane_of((i * MINUTE, 9000 - 100 * (i % 2)) for i in range(50)).valleys) == 0


def test_a_spike_is_as_high_as_it_rose_over_the_valleys_beside_it():
    held = [6000, 7000, 6000, 15_000, 6500, 7500, 6400, 7500]
    lane = lane_of((i * MINUTE, each) for i, each in enumerate(held))
    assert [value / MIB for value in lane.spikes.value] == [8500]  # one an hour, the largest


# --- load ----------------------------------------------------------------------------------------------


def test_busy_seconds_are_the_time_since_the_sample_before_times_what_is_told():
    load = Load()
    for time, duty in ((0.0, 1.0), (10.0, 0.5), (20.0, None), (30.0, 0.0)):
        load.fold(time, duty)
    assert load.busy == 0 + 5 + 5 + 0
    assert load.is_idle is True


def test_over_a_long_hole_nothing_is_counted_as_work():
    load = Load()
    load.fold(0.0, 1.0)
    load.fold(LONGEST_HOLE + 1, 1.0)
    assert load.busy == 0.0


def test_a_load_that_was_never_told_is_neither_idle_nor_busy():
    load = Load()
    load.fold(0.0, None)
    load.fold(10.0, None)
    assert load.is_idle is None
    assert load.busy == 0.0
