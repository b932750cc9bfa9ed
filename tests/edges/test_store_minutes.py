"""Polls of which minutes alone are left come back with the envelope of what was read."""

import tempfile
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.edges.test_store_lasting import MIDNIGHT, at, opened, pasts, polls_at, tended
from tests.polls import gpu, holding, ledger, owner
from vramwatch.core.model import Event, EventKind, Fault, FaultKind, Gauge, Missing, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.core.series import samples
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.store import History

AN_HOUR_LATER = MIDNIGHT + 3600
CHAT = owner("chat")


def folded(path, polls):
    """Write ``polls``, and let go of the samples of every hour that has closed."""
    with closing(opened(path, raw=Seconds(0.0))) as store:
        for each in polls:
            store.write(each)
        tended(store, each.at)
    return path


def told(path, since=0.0, until=2e9):
    with closing(History.open(path)) as history:
        return list(history.polls(since, until, minutes=True))


def minute_by_minute(polls, kinds):
    """Return hour and minute -> series -> the values that were read, in their order."""
    found = defaultdict(lambda: defaultdict(list))
    for each in polls:
        for book in each.ledgers:
            for sample in samples(book):
                if sample.series.kind in kinds and sample.series.quantity == "used_bytes":
                    found[round(each.at.wall * 1000) // 60_000][sample.series].append(sample.value)
    return found


def one(second, *held, **more):
    """A poll of one GPU so many seconds after midnight; ``held``: GiB of the processes 7, 8, …"""
    moment = at(second + 1, MIDNIGHT + second)
    holdings = [holding(7 + n, Bytes(int(each * GIB)), CHAT) for n, each in enumerate(held)]
    return Poll(moment, (ledger(moment, *holdings, **more),))


def used(polls, pid=7):
    return [
        each.held / GIB
        for poll in polls
        for book in poll.ledgers
        for each in book.holdings
        if each.pid == pid
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pasts())
def test_of_every_minute_the_least_the_most_and_the_last_of_each_gpu_come_back_and_nothing_else(past):
    moments, chance, _, _ = past
    polls = [replace(each, missing=()) for each in polls_at(moments, chance)]
    kinds = {SubjectKind.GPU, SubjectKind.UNATTRIBUTED}
    with tempfile.TemporaryDirectory() as directory:
        found = told(folded(Path(directory) / "vramwatch.db", polls))
    was, come_back = minute_by_minute(polls, kinds), minute_by_minute(found, kinds)
    for minute, by_series in was.items():
        for series, values in by_series.items():
            back = come_back[minute][series]
            if series.kind is SubjectKind.GPU:
                assert {min(values), max(values), values[-1]} <= {*values} & {*back}
            assert {*back} <= {*values}


def test_a_fall_within_a_minute_is_told_from_above_and_a_rise_from_below(path):
    falling = [one(second, 20 - second / 10) for second in range(0, 60, 10)]
    rising = [one(60 + second, 15 + second / 10) for second in range(0, 60, 10)]
    found = told(folded(path, [*falling, *rising, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert used(found) == [20, 15, 15, 15, 20, 20]


def test_a_burst_within_a_minute_comes_back_between_what_it_rose_from_and_fell_to(path):
    polls = [one(second, 30 if second == 20 else 10) for second in range(0, 60, 10)]
    found = told(folded(path, [*polls, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert used(found) == [30, 10, 10]
    assert [each.at.wall - MIDNIGHT for each in found] == [0, 30, 50]


def test_of_a_minute_in_which_nothing_moved_its_last_poll_is_told(path):
    polls = [one(second, 10, utilization=second / 100) for second in range(0, 60, 10)]
    (found,) = told(folded(path, [*polls, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert found.at == polls[-1].at
    assert found.ledgers[0].is_fresh
    assert found.ledgers[0].reading.utilization == pytest.approx(0.25)


def test_what_nobody_holds_is_what_was_told_of_it_though_others_moved_in_other_seconds(path):
    """Two processes that hand 10 GiB to and fro: never was there more than the 10 MiB that nobody holds."""
    polls = [one(second, 20 if second % 20 else 10, 10 if second % 20 else 20) for second in range(0, 60, 10)]
    found = told(folded(path, [*polls, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert {book.unattributed for each in found for book in each.ledgers} == {
        book.unattributed for each in polls for book in each.ledgers
    }


def test_gauges_and_processes_come_back_with_the_minute(path):
    polls = [one(second, 10, gauges=(Gauge(7, "requests_total", 5.0 + second),)) for second in (0, 20, 40)]
    found = told(folded(path, [*polls, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert [gauge.value for each in found for gauge in each.ledgers[0].reading.gauges] == [5.0, 45.0, 45.0]
    assert found[0].ledgers[0].holdings[0].tenant.owner == CHAT


def test_a_process_that_left_is_not_there_in_the_minutes_after(path):
    polls = [one(0, 10, 5), one(30, 10, 5), one(60, 10), one(90, 10)]
    found = told(folded(path, [*polls, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert [len(each.ledgers[0].holdings) for each in found] == [2, 1]


def test_an_event_between_two_polls_that_are_told_comes_with_the_next_one(path):
    happened = Event(EventKind.OUT_OF_MEMORY, "out of memory", gpu().uuid, pid=7)
    polls = [one(second, 10) for second in range(0, 60, 10)]
    polls[2] = replace(polls[2], events=(happened,))
    (found,) = told(folded(path, [*polls, one(3600, 1)]), until=AN_HOUR_LATER - 1)
    assert found.events == (happened,)


def test_a_gpu_that_is_missing_at_a_poll_has_no_ledger_there(path):
    lost = Missing(gpu(), Fault(FaultKind.LOST, "fell off the bus"))
    blind = [Poll(at(second + 1, MIDNIGHT + second), missing=(lost,)) for second in (40, 50)]
    polls = [*(one(second, 10 + second) for second in (0, 10, 20, 30)), *blind, one(3600, 1)]
    found = told(folded(path, polls), until=AN_HOUR_LATER - 1)
    assert [(len(each.ledgers), len(each.missing)) for each in found] == [(1, 0), (1, 0), (0, 1)]


def test_minutes_are_followed_by_every_sample_and_are_told_only_if_asked_for(path):
    polls = [one(second, 10) for second in range(0, 3600 + 120, 10)]
    folded(path, polls)
    with closing(History.open(path)) as history:
        newer = [each.at for each in polls if each.at.wall >= AN_HOUR_LATER]
        assert [each.at for each in history.polls(0, 2e9)] == newer
        found = [each.at for each in history.polls(0, 2e9, minutes=True)]
        assert (len(found), found[60:]) == (60 + len(newer), newer)
        assert history.minutes_until(0, 2e9) == AN_HOUR_LATER - 10
        assert history.minutes_until(0, MIDNIGHT + 300) == MIDNIGHT + 300
        assert history.minutes_until(AN_HOUR_LATER, 2e9) is None
