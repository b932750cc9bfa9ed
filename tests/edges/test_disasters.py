"""What becomes of the history when the clock is set or the machine sleeps; with the time handed in."""

from contextlib import closing

import pytest

from tests.edges.test_daemon import GPU, Hand, make
from vramwatch.core.model import Claim, ClaimKind, EventKind, FaultKind, Instant, Memory, Reading, Readings
from vramwatch.core.units import GIB, MIB, Bytes, Seconds
from vramwatch.store import History, Store

HOUR, DAY = 3600.0, 86_400.0
EVER = (0.0, 8e9)
PLENTY = Seconds(60.0)
STEP = 10.0
"""Seconds between two polls: the longest that is no gap yet."""

TURNS = 10_000
"""Slices of maintenance after which a store that still asks for more never ends."""


def reading(held):
    """One process that holds ``held`` MiB, on a GPU where nothing else is."""
    used = Bytes(held * MIB)
    memory = Memory(Bytes(80 * GIB), used, Bytes(80 * GIB - used), Bytes(0))
    return Readings((Reading(GPU, memory, (Claim(42, used, frozenset({ClaimKind.COMPUTE})),)),))


def every(step, count, since=0.0, held=1):
    """A poll every ``step`` seconds, each with one MiB more than the one before."""
    return [(since + number * step, reading(held + number)) for number in range(count)]


def live(path, script, steps=()):
    """Run a daemon through ``script``; ``steps``: (poll, seconds by which the wall clock then moves)."""
    hand = Hand(script)
    for poll, seconds in steps:
        hand.between[poll] = lambda by=seconds: move_wall(hand, by)
    make(hand, path).run()
    return hand


def move_wall(hand, seconds):
    hand.wall_step += seconds


def tend(path, now):
    """Do all maintenance that is due at ``now``."""
    with closing(Store.open(path, "hand", "test")) as store:
        for _ in range(TURNS):
            if not store.tend(now, PLENTY):
                return
    pytest.fail("maintenance never ends")


def after(hand, seconds=0.0):
    """The moment ``seconds`` after the newest poll."""
    return Instant(hand.seq + 1, hand.base + hand.time + hand.wall_step + seconds, 5000.0 + hand.time, "hand")


def held(path, since=EVER[0], until=EVER[1]):
    """Every reading of the process, in MiB, in the order in which they are told."""
    with closing(History.open(path)) as history:
        rows = [row for row in history.series(pid=42, quantity="used_bytes") if row.process]
        return [round(point.value / MIB) for point in history.readings(rows, since, until)]


def kinds(path):
    with closing(History.open(path)) as history:
        return [row.event.kind for row in history.events(*EVER)]


@pytest.mark.parametrize("step", [-DAY, DAY])
def test_a_clock_set_by_a_day_is_told_and_no_reading_is_lost(path, step):
    live(path, every(1.0, 20), [(10, step)])
    assert kinds(path).count(EventKind.CLOCK_STEP) == 1
    assert held(path) == list(range(1, 21))


@pytest.mark.parametrize("step", [-DAY, DAY])
def test_a_clock_set_by_a_day_leaves_every_reading_where_it_was_also_when_the_hours_are_closed(path, step):
    hand = live(path, every(STEP, 600), [(300, step)])
    tend(path, after(hand, 2 * HOUR))
    assert held(path) == list(range(1, 601))


def test_a_clock_that_was_a_day_ahead_and_is_set_right_costs_no_history(path):
    hand = live(path, every(STEP, 600), [(200, DAY), (400, -DAY)])
    tend(path, after(hand, 2 * HOUR))
    assert held(path) == list(range(1, 601))
    start = hand.base
    assert held(path, start, start + 199 * STEP) == list(range(1, 201))


def test_who_held_what_is_answered_for_both_lives_of_an_hour_that_came_twice(path):
    hand = live(path, every(STEP, 720), [(360, -HOUR)])
    tend(path, after(hand, 2 * HOUR))
    twice = held(path, hand.base, hand.base + HOUR - 1.0)
    assert twice == list(range(1, 721))


def test_a_machine_that_slept_has_a_known_gap_and_its_readings_before_and_after(path):
    asleep = 8 * HOUR
    hand = live(path, every(1.0, 10) + every(1.0, 10, since=9.0 + asleep, held=11))
    tend(path, after(hand, 2 * HOUR))
    assert held(path) == list(range(1, 21))
    with closing(History.open(path)) as history:
        slept = [gap for gap in history.gaps(*EVER) if gap.reason is FaultKind.STALLED]
        (gap,) = slept
        assert gap.until - gap.since == pytest.approx(asleep, abs=5.0)
        middle = (gap.since + gap.until) / 2
        rows = history.series(pid=42, quantity="used_bytes")
        assert not any(history.steps(rows, middle - HOUR, middle + HOUR, 60.0).values())


def test_a_clock_that_is_a_century_ahead_for_a_minute_does_not_take_the_history_with_it(path):
    century = 36_525 * DAY
    hand = live(path, every(STEP, 720), [(700, century)])
    tend(path, after(hand, 1.0))
    assert held(path)[:700] == list(range(1, 701))
