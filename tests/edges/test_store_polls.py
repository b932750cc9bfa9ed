"""Stored polls come back one by one as they were judged, from open hours and from hours that have closed."""

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.edges.test_store_lasting import DAY, MIDNIGHT, hourly_polls, opened, polls_at, tended
from tests.edges.test_store_lasting import pasts as long_pasts
from tests.edges.test_store_reading import pasts as rich_pasts
from tests.polls import START, gpu, holding, instant, ledger, poll
from vramwatch.core.model import Event, EventKind, Origin
from vramwatch.core.poll import Poll
from vramwatch.core.series import samples
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.store import History


def read(each):
    """A poll with its peaks in both places, as a source tells them."""
    return replace(each, ledgers=tuple(map(_with_peaks, each.ledgers)))


def _with_peaks(book):
    peaks = {holding.pid: holding.peak for holding in book.holdings if holding.peak is not None}
    gauges = tuple(sorted(book.reading.gauges, key=lambda gauge: gauge.pid))
    return replace(book, reading=replace(book.reading, peaks=peaks, gauges=gauges))


def come_back(path, polls, restarts, tends=()):
    """Write ``polls``; at every restart, and at the end, what is after each of them is told as it was."""
    store = opened(path, raw=Seconds(9 * DAY))
    for place, each in enumerate(polls):
        store.write(each)
        if place in restarts:
            store.close()
            store = opened(path, raw=Seconds(9 * DAY))
        if place in tends:
            tended(store, each.at)
        if place in restarts or place in tends:
            assert list(store.polls_since(0)) == [read(each) for each in polls[: place + 1]]
    with closing(store):
        for since in (0, polls[len(polls) // 2].at.seq, polls[-1].at.seq):
            found = list(store.polls_since(since))
            assert found == [read(each) for each in polls if each.at.seq > since]
            told = [list(samples(book)) for each in found for book in each.ledgers]
            assert told == [
                list(samples(book)) for each in polls if each.at.seq > since for book in read(each).ledgers
            ]


@settings(max_examples=40, deadline=None)
@given(rich_pasts())
def test_every_poll_comes_back_with_what_was_read_at_it_and_no_more(past):
    polls, restarts = past
    with tempfile.TemporaryDirectory() as directory:
        come_back(Path(directory) / "vramwatch.db", polls, restarts)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(long_pasts())
def test_polls_come_back_the_same_before_and_after_their_hour_was_compacted(past):
    moments, chance, restarts, tends = past
    with tempfile.TemporaryDirectory() as directory:
        come_back(Path(directory) / "vramwatch.db", list(polls_at(moments, chance)), restarts, tends)


def test_ledgers_in_which_nothing_changed_share_all_but_their_instant(path):
    with closing(opened(path)) as store:
        for seq in range(1, 5):
            store.write(poll(seq, holding(7), holding(8)))
        first, *others = (each.ledgers[0] for each in store.polls_since(0))
        assert all(each.reading is first.reading and each.holdings is first.holdings for each in others)


def test_events_come_back_with_their_poll_and_all_that_is_judged_of_them(path):
    numbers = {"asked_bytes": 2147483648.0}
    happened = Event(EventKind.OUT_OF_MEMORY, "out of memory", gpu().uuid, None, 7, numbers, Origin.LOG)
    with closing(opened(path)) as store:
        store.write(poll(1, holding(7)))
        store.write(replace(poll(2, holding(7)), events=(happened,)))
        store.write(poll(3, holding(7)))
        assert [each.events for each in store.polls_since(0)] == [(), (happened,), ()]


def test_a_span_is_told_by_the_wall_clock(path):
    with closing(opened(path)) as store, closing(History.open(path)) as history:
        for seq in range(1, 10):
            store.write(poll(seq, holding(7, Bytes(seq * GIB))))
        assert [each.at.seq for each in history.polls(START + 3, START + 5.5)] == [3, 4, 5]
        assert list(history.polls(0, START)) == []


def test_a_process_on_two_gpus_is_one_tenant(path):
    with closing(opened(path)) as store:
        at = instant(1)
        store.write(Poll(at, tuple(ledger(at, holding(7), on=gpu(n)) for n in range(2))))
        (found,) = store.polls_since(0)
        one, other = (book.holdings[0].tenant for book in found.ledgers)
        assert one is other


def test_hours_of_which_minutes_alone_are_left_have_no_polls(path):
    with closing(opened(path, raw=Seconds(7200.0))) as store:
        for each in hourly_polls(6):
            store.write(each)
            tended(store, each.at)
        found = [each.at.wall for each in store.polls_since(0)]
        assert found[-1] == MIDNIGHT + 6 * 3600 - 60
        assert found[0] == MIDNIGHT + 3 * 3600


def test_polls_are_read_to_the_end_while_new_ones_are_written(path):
    with closing(opened(path)) as store:
        for seq in range(1, 6):
            store.write(poll(seq, holding(7, Bytes(seq * GIB))))
        told = []
        for each in store.polls_since(2):
            told.append(each.at.seq)
            store.write(poll(5 + len(told), holding(7), holding(50 + len(told))))
        assert told == [3, 4, 5]
        assert [len(each.ledgers[0].holdings) for each in store.polls_since(4)] == [1, 2, 2, 2]
