"""When growth and the peaks of a load together reach the capacity."""

from math import cos, pi

from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.peaks import DAY, Swing
from vramwatch.core.units import GIB, MIB

HOUR = 3600.0
CARD = 80.0 * GIB

rates = st.floats(0.01 * MIB, 10 * MIB)  # bytes a second
peaks = st.lists(st.floats(0, 79 * GIB), min_size=1, max_size=60)


def swing(values, span=HOUR):
    return Swing([span * i for i in range(len(values))], values, span)


@given(room=st.floats(1 * GIB, 40 * GIB), rate=rates)
def test_a_load_that_never_swings_runs_out_when_the_growth_has_filled_the_room(room, rate):
    waits = swing([CARD - room] * 24).waits(24 * HOUR, rate, CARD)
    assert waits.early <= waits.median <= waits.late
    assert room / rate <= waits.early
    assert waits.late <= room / rate + 2 * HOUR  # to the stretch of an hour that follows


def test_a_daily_load_runs_out_at_its_time_of_day():
    days = 5
    hours = [10 * GIB + 5 * GIB * cos(2 * pi * (hour - 15) / 24) for hour in range(24 * days)]
    now = days * DAY  # midnight
    waits = swing(hours).waits(now, GIB / DAY, 17.5 * GIB)
    assert 2 * DAY < waits.median < 4 * DAY
    for wait in (waits.early, waits.median, waits.late):
        assert 11 < (now + wait) % DAY / HOUR < 20


def test_a_peak_that_came_once_in_a_while_leaves_the_time_open():
    often, seldom = [40 * GIB] * 24, [40 * GIB] + [20 * GIB] * 23
    sure, unsure = (swing(values, 600.0).waits(24 * 600.0, MIB, 41 * GIB) for values in (often, seldom))
    assert sure.late - sure.early < unsure.late - unsure.early
    assert sure.median < unsure.median


def test_a_peak_that_would_not_fit_again_is_still_to_come():
    waits = swing([CARD + GIB, *[10 * GIB] * 9]).waits(10 * HOUR, MIB, CARD)
    assert 0 < waits.early < waits.median < waits.late


@given(values=peaks, rate=rates, now=st.floats(0, 2e9), span=st.sampled_from((600.0, HOUR)))
def test_a_wait_lies_in_its_interval_and_more_room_is_never_filled_sooner(values, rate, now, span):
    past = swing(values, span)
    first, second = past.waits(now, rate, CARD), past.waits(now, rate, CARD + GIB)
    assert 0 <= first.early <= first.median <= first.late
    for name in ("early", "median", "late"):
        assert getattr(second, name) >= getattr(first, name) - 1e-6 * (1 + getattr(first, name))


def test_peaks_that_differ_may_come_higher_than_any_so_far():
    waits = swing([10 * GIB, 20 * GIB, 15 * GIB]).waits(3 * HOUR, MIB, 30 * GIB)
    assert waits.early < 10 * 1024 < waits.late  # when the highest of them would be there
