"""What the verbs are told of the past."""

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.polls import BOOT, START, gpu, holding, instant, ledger, owner, poll, tenant
from vramwatch.core.model import (
    ClaimKind,
    Explanation,
    Fault,
    FaultKind,
    Gauge,
    GhostKind,
    Missing,
    ProcessState,
    SeriesKey,
    SubjectKind,
)
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.series import USED_BYTES
from vramwatch.core.units import GIB, MIB, Bytes
from vramwatch.store import History, Point, Store


@pytest.fixture
def store(path):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        yield store


@pytest.fixture
def history(store, path):
    with closing(History.open(path)) as history:
        yield history


def write_all(store, *polls):
    for each in polls:
        store.write(each)


def used_by_the_gpu(history):
    (row,) = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
    return row


def growing(store, *sizes):
    """A poll a second; what is used follows ``sizes`` in GiB."""
    write_all(store, *(poll(seq, used=Bytes(size * GIB)) for seq, size in enumerate(sizes, start=1)))


def test_an_empty_store_has_no_past(history):
    assert (history.latest(), history.at(START), history.span()) == (None, None, None)
    assert (history.series(), history.gaps(0, START), history.events(0, START)) == ([], [], [])
    assert (list(history.samples([], 0, START)), history.change(0, START)) == ([], {})


def test_before_the_first_poll_nothing_is_known(store, history):
    growing(store, 1, 2)
    assert history.at(START + 0.5) is None
    assert history.value_at(used_by_the_gpu(history), START + 0.5) is None
    assert history.span() == (START + 1, START + 2)


def test_a_span_begins_with_the_value_that_already_held(store, history):
    growing(store, 1, 1, 2, 2, 3)
    row = used_by_the_gpu(history)
    assert list(history.samples([row], START + 2.5, START + 4)) == [
        Point(START + 2.5, row, GIB),
        Point(START + 3, row, 2 * GIB),
    ]
    assert [point.value for point in history.samples([row], 0, START + 9)] == [GIB, 2 * GIB, 3 * GIB]
    assert [history.value_at(row, START + wall) for wall in (2, 3.9, 60)] == [GIB, 2 * GIB, 3 * GIB]


def test_a_series_that_ended_says_so_once(store, history):
    write_all(store, poll(1, holding(7)), poll(2), poll(3))
    store.close()
    (row,) = history.series(pid=7)
    assert [(point.wall, point.value) for point in history.samples([row], 0, START + 9)] == [
        (START + 1, GIB),
        (START + 2, None),
    ]
    assert list(history.samples([row], START + 2, START + 9)) == []


def test_several_series_are_told_in_the_order_of_time(store, history):
    write_all(store, *(poll(seq, holding(7, Bytes(seq * GIB)), holding(8)) for seq in range(1, 5)))
    walls = [point.wall for point in history.samples(history.series(), 0, START + 9)]
    assert walls == sorted(walls)
    assert len(set(walls)) == 4


def test_series_are_found_by_what_they_are_of(store, history):
    at = instant(1)
    write_all(
        store,
        Poll(at, (ledger(at, holding(7), holding(8, of=owner("chat"))), ledger(at, holding(9), on=gpu(1)))),
    )
    assert {row.key.gpu for row in history.series(gpu=gpu(1).uuid)} == {gpu(1).uuid}
    assert [row.process.key.pid for row in history.series(pid=8)] == [8]
    chat = history.series(owner="unit:chat.service")
    assert [(row.key.kind, row.owner.name) for row in chat] == [
        (SubjectKind.PROCESS, "chat"),
        (SubjectKind.OWNER, "chat"),
    ]
    both = history.series(owner="unit:llama.service", kind=SubjectKind.OWNER, quantity=USED_BYTES)
    assert [row.key.gpu for row in both] == [gpu(0).uuid, gpu(1).uuid]
    assert history.gpus() == [gpu(0), gpu(1)]


def test_change_tells_the_values_at_both_ends(store, history):
    write_all(store, poll(1, holding(7), holding(8)), poll(2, holding(7, Bytes(3 * GIB)), holding(9)))
    changes = history.change(START + 1, START + 2)
    held = {
        row.process.key.pid: changes[row.key]
        for row in history.series(kind=SubjectKind.PROCESS)
        if row.process
    }
    assert held == {7: (GIB, 3 * GIB), 8: (GIB, None), 9: (None, GIB)}
    total = SeriesKey(gpu().uuid, SubjectKind.GPU, "", "total_bytes")
    assert changes[total] == (80 * GIB, 80 * GIB)


def test_when_the_clock_steps_back_the_order_of_polls_stands(store, history):
    """Ten seconds pass, the clock goes back five, and five more pass."""
    walls = [*range(1, 11), *range(6, 11)]
    write_all(
        store,
        *(poll(seq, used=Bytes(seq * GIB), wall=START + wall) for seq, wall in enumerate(walls, start=1)),
    )
    assert history.latest().at == instant(15, START + 10)
    assert history.at(START + 5).at.seq == 5
    assert history.at(START + 8).at.seq == 13  # of the two moments called so, the newer
    points = list(history.samples([used_by_the_gpu(history)], START + 7.5, START + 9))
    assert [point.value // GIB for point in points] == [12, 8, 9, 13, 14]


# --- the law: what was written is what is told --------------------------------------------------

FIGURES = st.integers(min_value=0, max_value=9).map(lambda n: Bytes(n * 2 * MIB))
PIDS = (11, 12, 13)
OWNERS = {11: owner("llama"), 12: owner("llama"), 13: owner("chat")}
STATES = st.sampled_from(
    [(ProcessState.ALIVE, None), (ProcessState.HIDDEN, None), (ProcessState.ZOMBIE, GhostKind.ZOMBIE)]
)


@st.composite
def holdings(draw):
    """Who is on a GPU, in any order."""
    return [
        holding(
            pid,
            draw(st.none() | FIGURES),
            tenant=tenant(pid, OWNERS[pid], state=state, state_since=float(pid)),
            ghost=ghost,
            kinds=draw(st.frozensets(st.sampled_from(ClaimKind))),
            peak=draw(st.none() | FIGURES),
        )
        for pid in draw(st.lists(st.sampled_from(PIDS), unique=True))
        for state, ghost in [draw(STATES)]
    ]


@st.composite
def pasts(draw):
    """Polls of two GPUs that come, go, and fail; and the polls before which the daemon began anew."""
    polls, newest_lists, restarts = [], {}, draw(st.sets(st.integers(1, 8), max_size=2))
    for seq in range(1, draw(st.integers(2, 9)) + 1):
        at, ledgers, missing = instant(seq), [], []
        if draw(st.integers(0, 9)) == 0:
            missing.append(Missing(None, Fault(FaultKind.HUNG, "no answer")))
        for on in (gpu(0), gpu(1)) if not missing or missing[0].gpu else ():
            fate = draw(st.sampled_from(["read", "read", "read", "lost", "absent"]))
            if fate == "lost":
                missing.append(Missing(on, Fault(FaultKind.LOST, "fell off", "nvmlDeviceGetUUID", 15)))
            elif fate == "read":
                if on not in newest_lists or draw(st.booleans()):
                    newest_lists[on] = (at, draw(holdings()))
                listed, there = newest_lists[on]
                ledgers.append(
                    ledger(
                        at,
                        *(replace(each, peak=draw(st.none() | FIGURES)) for each in there),
                        on=on,
                        used=draw(FIGURES),
                        listed=listed,
                        explanations=draw(st.lists(st.sampled_from(Explanation), unique=True, max_size=2)),
                        utilization=draw(st.none() | st.floats(0, 1)),
                        temperature=draw(st.none() | st.floats(0, 99)),
                        gauges=tuple(
                            Gauge(each.pid, "torch_reserved_bytes", draw(FIGURES))
                            for each in there
                            if draw(st.booleans())
                        ),
                    )
                )
            if fate != "read":
                newest_lists.pop(on, None)
        pace = draw(
            st.none() | st.integers(0, 10_000).map(lambda share: Pace(1.0, 5.0, share / 10_000, None))
        )
        polls.append(Poll(at, tuple(ledgers), tuple(missing), pace=pace))
    return polls, restarts


class Kept:
    """What is kept of polls beyond their own: figures that are read now and then, as last read."""

    def __init__(self):
        self.gpus = {}  # Gpu -> figures of its Reading
        self.told = {}  # (Gpu, pid) -> peak and gauges of its process

    def of(self, poll):
        blind = {missing.gpu for missing in poll.missing}
        there = {each.gpu for each in poll.ledgers} | blind
        if None not in blind:
            self.gpus = {each: known for each, known in self.gpus.items() if each in there}
            self.told = {key: known for key, known in self.told.items() if key[0] in there}
        return replace(poll, ledgers=tuple(map(self.ledger, poll.ledgers)))

    def ledger(self, ledger):
        on, reading = ledger.gpu, ledger.reading
        figures = self.gpus.setdefault(on, {})
        figures |= {
            name: value
            for name in ("utilization", "temperature", "power")
            if (value := getattr(reading, name)) is not None
        }
        pids = {each.pid for each in ledger.holdings}
        self.told = {key: known for key, known in self.told.items() if key[0] != on or key[1] in pids}
        for each in ledger.holdings:
            told = self.told.setdefault((on, each.pid), {})
            told |= {"peak": each.peak} if each.peak is not None else {}
            told |= {gauge.quantity: gauge.value for gauge in reading.gauges if gauge.pid == each.pid}
        holdings = tuple(replace(h, peak=self.told[on, h.pid].get("peak")) for h in ledger.holdings)
        gauges = tuple(
            Gauge(pid, quantity, value)
            for pid in sorted(pids)
            for quantity, value in sorted(self.told[on, pid].items())
            if quantity != "peak"
        )
        peaks = {each.pid: each.peak for each in holdings if each.peak is not None}
        return replace(
            ledger, reading=replace(reading, **figures, peaks=peaks, gauges=gauges), holdings=holdings
        )


@settings(max_examples=40, deadline=None)
@given(pasts())
def test_every_moment_is_told_as_it_was_written(past):
    polls, restarts = past
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vramwatch.db"
        store = Store.open(path, "nvml", "0.1.0")
        for each in polls:
            if each.at.seq in restarts:
                store.close()
                store = Store.open(path, "nvml", "0.1.0")
            store.write(each)
        kept = Kept()
        store.close()
        with closing(History.open(path)) as history:
            expected = [kept.of(each) for each in polls]
            for each in expected:
                assert history.at(each.at.wall) == each
            assert history.latest() == expected[-1]
            assert [each.at for each in history.polls(0, 2e9)] == [each.at for each in polls]
            for each in polls:
                for book in history.at(each.at.wall).ledgers:
                    held = sum(h.held for h in book.holdings if h.held is not None)
                    assert held + book.unattributed == book.memory.used


def test_a_life_in_another_boot_is_another_run(store, history):
    write_all(store, poll(1), Poll(instant(2, boot_id="another"), ()))
    assert [history.at(START + seq).at.boot_id for seq in (1, 2)] == [BOOT, "another"]


def test_the_polls_of_a_span_are_those_whose_wall_lies_in_it_and_share_what_did_not_change(store, history):
    sizes = [5, 5, 5, 6, 6, 6, 6, 7]
    write_all(store, *(poll(seq, holding(7, Bytes(size * GIB))) for seq, size in enumerate(sizes, 1)))
    found = list(history.polls(START + 2, START + 6))
    assert [each.at.seq for each in found] == [2, 3, 4, 5, 6]
    books = [each.ledgers[0] for each in found]
    assert [book.holdings[0].held for book in books] == [5 * GIB, 5 * GIB, 6 * GIB, 6 * GIB, 6 * GIB]
    assert books[0].holdings is books[1].holdings
    assert books[2].reading is books[4].reading
