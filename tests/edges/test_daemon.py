"""The loop between two polls, with the time, the source and the store's faults handed in."""

import threading
from contextlib import closing

import pytest

from vramwatch.backlog import Backlog
from vramwatch.control.control import ControlError, Request
from vramwatch.core.attribution import Surroundings
from vramwatch.core.cadence import Rates
from vramwatch.core.errors import NoDeviceError, StoreError
from vramwatch.core.incidents import Terms
from vramwatch.core.model import (
    Claim,
    ClaimKind,
    EventKind,
    Fault,
    FaultKind,
    Gpu,
    Instant,
    Memory,
    Missing,
    ProcessFacts,
    ProcessKey,
    Reading,
    Readings,
    SubjectKind,
)
from vramwatch.core.poll import Poll
from vramwatch.core.ports import Feed
from vramwatch.core.series import USED_BYTES
from vramwatch.core.units import GIB, Bytes
from vramwatch.daemon import Daemon
from vramwatch.judging.watch import Watch
from vramwatch.pipeline import Pipeline
from vramwatch.store import History, Store

GPU = Gpu("GPU-hand", "0", "Hand-made")
SEEING = Readings(
    (
        Reading(
            GPU,
            Memory(Bytes(80 * GIB), Bytes(10 * GIB), Bytes(70 * GIB), Bytes(0)),
            (Claim(42, Bytes(9 * GIB), frozenset({ClaimKind.COMPUTE})),),
        ),
    )
)


def blind(kind=FaultKind.NO_DRIVER, detail="there is no driver"):
    return Readings(missing=(Missing(None, Fault(kind, detail)),))


class Hand:
    """Source, people and clock in one, all told beforehand: one (seconds, readings) a poll."""

    lag = 0.0

    def __init__(self, script, wall=1_700_000_000.0):
        self.script = list(script)
        self.base = wall
        self.seq = 0
        self.time = 0.0
        self.wall_step = 0.0
        self.is_released = False
        self.closed = False
        self.between = {}  # poll number -> what happens before it

    def now(self):
        self.seq += 1
        return Instant(self.seq, self.base + self.time + self.wall_step, 5000.0 + self.time, "hand")

    def wait(self, interval):
        if not self.script or self.closed:
            return None
        if self.seq in self.between:
            self.between.pop(self.seq)()
        self.time, self.next = self.script.pop(0)
        return self.now()

    def wake(self):
        pass

    def stop(self):
        self.closed = True

    def read(self, at, ask):
        return self.next

    def release(self):
        self.is_released = True

    def resume(self):
        self.is_released = False

    def close(self):
        self.closed = True

    def facts(self, pids, at):
        return {pid: ProcessFacts(ProcessKey("hand", pid, 7), name="server") for pid in pids}


def make(hand, path, watch=None, **options):
    store = Store.open(path, "hand", "test")
    hand.seq = store.next_seq() - 1
    feed = Feed(hand, hand, hand, live=True)
    pipeline = Pipeline(
        feed, engines=(), rules=(), rates=Rates(), owners={}, surroundings=Surroundings(hidden_pids=False)
    )
    return Daemon(feed, pipeline, watch or Watch({}, Terms()), store, **options)


def told(path, since=0.0, until=2e9):
    return [row.event for row in History.open(path).events(since, until)]


def every_second(count, readings=SEEING):
    return [(float(second), readings) for second in range(count)]


def test_what_was_read_is_stored_and_the_source_is_let_go(path):
    hand = Hand(every_second(5))
    make(hand, path).run()
    latest = History.open(path).latest()
    assert hand.closed
    assert latest.ledgers[0].memory.used == 10 * GIB
    assert latest.ledgers[0].holdings[0].held == 9 * GIB


def test_a_blind_daemon_goes_on_and_says_since_when_and_why(path):
    hand = Hand([*every_second(2), *((s, blind()) for s in (2.0, 3.0, 4.0)), (5.0, SEEING)])
    daemon = make(hand, path)
    said = []
    hand.between = {seq: lambda: said.append(daemon.vitals()) for seq in (4, 5)}
    daemon.run()
    assert "blind since" in said[0].blind
    assert "there is no driver" in said[0].blind
    assert said[0].blind == said[1].blind
    assert said[0].is_healthy
    assert not said[0].is_ready
    (gap,) = [gap for gap in History.open(path).gaps(0, 2e9) if gap.reason == FaultKind.NO_DRIVER]
    assert gap.until - gap.since == pytest.approx(3.0)


def test_a_required_gpu_that_is_not_there_ends_the_daemon_once_the_driver_has_answered(path):
    hand = Hand([(0.0, blind(FaultKind.STARTING, "the reader is starting")), *every_second(3, blind())])
    with pytest.raises(NoDeviceError, match=r"there is no driver.*make try"):
        make(hand, path, require_gpu=True).run()
    assert hand.closed


def test_a_required_gpu_that_is_lost_later_does_not_end_the_daemon(path):
    daemon = make(Hand([*every_second(2), (2.0, blind()), (3.0, blind())]), path, require_gpu=True)
    daemon.run()
    assert daemon.vitals().polls == 4


def ask_between(daemon, hand, seq, verb, **arguments):
    """Have ``verb`` asked by another thread, as the control socket does, before the poll ``seq`` + 1."""
    replies = []

    def ask():
        try:
            replies.append(daemon.answer(Request(verb, arguments, "alice (uid 1000, pid 9)")))
        except ControlError as refusal:
            replies.append(refusal)

    def begin():
        thread = threading.Thread(target=ask)
        thread.start()
        while daemon._errands.is_empty:
            pass

    hand.between[seq] = begin
    return replies


def test_a_release_lets_the_gpus_go_at_once_and_a_resume_takes_them_up(path):
    hand = Hand(every_second(9))
    daemon = make(hand, path)
    released = ask_between(daemon, hand, 3, "release", **{"for": "5m"})
    seen = []
    hand.between[5] = lambda: seen.append(hand.is_released)
    ask_between(daemon, hand, 6, "resume")
    daemon.run()
    assert released[0]["for_seconds"] == 300
    assert seen == [True]
    assert not hand.is_released
    events = told(path)
    assert [e.kind for e in events] == [EventKind.STARTED, EventKind.RELEASED, EventKind.RESUMED]
    assert "alice" in events[1].author
    (gap,) = [gap for gap in History.open(path).gaps(0, 2e9) if gap.reason == FaultKind.RELEASED]
    assert gap.until - gap.since == pytest.approx(3.0)


def test_a_release_ends_by_its_time_and_that_is_told(path):
    hand = Hand(every_second(12))
    daemon = make(hand, path)
    ask_between(daemon, hand, 2, "release", **{"for": "5s"})
    daemon.run()
    assert EventKind.RESUMED in [event.kind for event in told(path)]
    assert History.open(path).latest().ledgers


@pytest.mark.parametrize("span", ["soon", "0s", "9d", "-1"])
def test_a_release_of_no_sensible_length_is_refused_with_what_is_accepted(path, span):
    hand = Hand(every_second(5))
    daemon = make(hand, path)
    replies = ask_between(daemon, hand, 2, "release", **{"for": span})
    daemon.run()
    assert isinstance(replies[0], ControlError)
    assert not hand.is_released


def test_a_verb_that_fails_as_nobody_foresaw_is_refused_and_the_polls_go_on(path, caplog):
    hand = Hand(every_second(5))
    hand.release = lambda: 1 / 0
    daemon = make(hand, path)
    replies = ask_between(daemon, hand, 2, "release")
    daemon.run()
    assert isinstance(replies[0], ControlError)
    assert "ZeroDivisionError" in str(replies[0])
    assert daemon.vitals().polls == 5
    assert "ZeroDivisionError" in caplog.text


def test_resume_without_a_release_is_refused(path):
    hand = Hand(every_second(5))
    daemon = make(hand, path)
    replies = ask_between(daemon, hand, 2, "resume")
    daemon.run()
    assert "not released" in str(replies[0])


@pytest.mark.parametrize("step", [-86400.0, -120.0, 120.0, 86400.0])
def test_a_step_of_the_wall_clock_is_told_and_stops_no_poll(path, step):
    hand = Hand(every_second(6))
    hand.between[3] = lambda: setattr(hand, "wall_step", step)
    make(hand, path).run()
    (event,) = [event for event in told(path, since=-1e9, until=3e9) if event.kind is EventKind.CLOCK_STEP]
    assert f"{step:+.1f} s" in event.detail


def test_a_machine_that_slept_leaves_a_gap_with_its_reason(path):
    hand = Hand([(0.0, SEEING), (1.0, SEEING), (601.0, SEEING), (602.0, SEEING)])
    make(hand, path).run()
    (gap,) = [gap for gap in History.open(path).gaps(0, 2e9) if gap.reason == FaultKind.STALLED]
    assert gap.since == pytest.approx(hand.base + 2)
    assert gap.until == pytest.approx(hand.base + 601)


def test_a_locked_store_costs_no_poll_once_it_can_be_written_again(path, monkeypatch):
    real, faults = Store.write, iter([False, False, True, True, True, False])

    def sometimes(self, poll):
        if next(faults, False):
            raise StoreError(f"{path}: database is locked")
        real(self, poll)

    monkeypatch.setattr(Store, "write", sometimes)
    make(Hand(every_second(8)), path).run()
    with closing(History.open(path)) as history:
        used = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
        assert len(list(history.readings(used, 0, 2e9))) == 8 * len(used)


class FullDisk:
    """A store that cannot be written until there is room."""

    def __init__(self):
        self.has_room = False
        self.written = []

    def write(self, poll):
        if not self.has_room:
            raise StoreError("no space left on device")
        self.written.append(poll)

    def close(self):
        pass


def test_a_full_disk_keeps_the_newest_polls_in_bounded_memory_and_the_rest_becomes_a_known_gap(monkeypatch):
    monkeypatch.setattr("vramwatch.backlog.LIMIT", 100 * 2048)
    disk = FullDisk()
    backlog = Backlog(disk)
    for seq in range(1000):
        backlog.remember(Poll(Instant(seq, float(seq), float(seq), "hand")))
    assert backlog.fault == "no space left on device"
    disk.has_room = True
    backlog.remember(Poll(Instant(1000, 1000.0, 1000.0, "hand")))
    hole, *kept = disk.written
    assert (hole.at.seq, hole.missing[0].fault.kind) == (0, FaultKind.NOT_KEPT)
    assert [poll.at.seq for poll in kept] == list(range(900, 1001))
    assert backlog.fault is None
