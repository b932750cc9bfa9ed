"""Polls are judged once and in their order, whatever restarts, kills and faults lie between."""

import logging
import os
import random
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from tests import servers
from tests.edges.test_daemon import GPU, Hand, blind, every_second, make
from tests.polls import holding, instant, poll
from tests.verdicts import FULL, Chain, transition
from vramwatch.backlog import LOST_TRANSITIONS_KEPT, Backlog
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Reason, State, Terms
from vramwatch.core.model import Claim, ClaimKind, FaultKind, Memory, Reading, Readings
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, MIB, Bytes, Seconds
from vramwatch.judging.judge import CHECKPOINT_EVERY, Judge
from vramwatch.judging.watch import Watch
from vramwatch.store import History, Store
from vramwatch.store.damage import StoreDamaged

IDS = ("other", *(f"incident-{n}" for n in range(5)))
PIDS = (41, 42, 43, 44)


def moved(path):
    with closing(History.open(path)) as history:
        return history.incidents(0.0, 2e9)


def seen(chance, second, is_listed):
    """What is read at one second: always something new, so that every poll is committed at once."""
    if second % 2 and chance.random() < 0.1:
        return blind(detail=f"blind for the {second}th time")
    claims = None
    if is_listed or chance.random() < 0.3:
        claims = tuple(
            Claim(pid, Bytes(chance.randrange(1, 900) * 2 * MIB), frozenset({ClaimKind.COMPUTE}))
            for pid in PIDS
            if chance.random() < 0.8
        )
    used = Bytes(10 * GIB + second * 4096)
    memory = Memory(Bytes(80 * GIB), used, Bytes(80 * GIB - used), Bytes(0))
    slow = {"utilization": chance.random(), "power": chance.random() * 700} if claims else {}
    return Readings((Reading(GPU, memory, claims, **slow),))


def script(seed, seconds, starts):
    """What is read second by second, at odd times; a daemon that starts reads the list first."""
    chance = random.Random(seed)
    return [(second * 1.00037, seen(chance, second, second in starts)) for second in range(seconds)]


def live(path, told, since, until, watch, is_killed=False):
    """Run a daemon over a part of ``told``, to its clean end or to a kill after its last poll."""
    hand = Hand(told[since:until])
    daemon = make(hand, path, watch)
    if is_killed:
        daemon._end = lambda: let_go(daemon)
    daemon.run()


def let_go(daemon):
    """Leave everything as a kill does."""
    daemon._judge.close()
    store = daemon._store
    store._connection.close()
    os.close(store._lock)
    store._lock = None


@pytest.mark.parametrize("seed", range(6))
def test_a_restart_between_any_two_polls_changes_no_transition(tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    ends = sorted(chance.sample(range(1, 200), 12))
    told = script(seed, 200, {0, *ends})
    at_once, in_parts = tmp_path / "at_once.db", tmp_path / "in_parts.db"
    whole = Chain()
    live(at_once, told, 0, 200, whole)
    assert whole.seqs == list(range(1, 201))
    assert len(moved(at_once)) > 20
    if seed % 2:  # so little time that a daemon ends before it has caught up
        monkeypatch.setattr("vramwatch.daemon.CATCH_UP_LONGEST", 0.0)
        monkeypatch.setattr("vramwatch.daemon.CATCH_UP_LEAST", 0.001)
    for since, until in zip([0, *ends], [*ends, 200], strict=True):
        last = Chain()
        live(in_parts, told, since, until, last, is_killed=until < 200 and chance.random() < 0.5)
    if not seed % 2:
        assert last.state == whole.state
        assert moved(in_parts) == moved(at_once)
    monkeypatch.undo()
    watch, (_, readings) = Chain(), told[0]
    beyond = [(300.0 + second, readings) for second in range(3)]
    live(in_parts, beyond, 0, 3, watch)
    until = told[-1][0] + Hand([]).base
    assert [each for each in moved(in_parts) if each.at.wall < until + 1] == moved(at_once)


def test_after_a_clean_end_nothing_is_judged_again(path):
    told = script(1, 60, {0, 30})
    live(path, told, 0, 30, Chain())
    watch = Chain()
    live(path, told, 30, 60, watch)
    assert watch.seqs == list(range(31, 61))
    assert watch.state["count"] == 60


def test_after_a_kill_the_polls_since_the_checkpoint_are_judged_again_and_their_transitions_told_once(path):
    told = script(2, 60, {0, 30})
    live(path, told, 0, 30, Chain(), is_killed=True)
    before = moved(path)
    watch = Chain()
    live(path, told, 30, 60, watch)
    assert watch.seqs == list(range(1, 61))
    assert moved(path)[: len(before)] == before
    assert len({(each.at.seq, each.incident.id) for each in moved(path)}) == len(moved(path))


def test_a_checkpoint_is_written_every_hour(path, monkeypatch):
    written, real = [], Store.write_checkpoint
    monkeypatch.setattr(
        Store,
        "write_checkpoint",
        lambda self, at, state: (written.append(at.boottime), real(self, at, state)),
    )
    hand = Hand([(n * 5.0, blind()) for n in range(int(2.5 * CHECKPOINT_EVERY / 5))])
    make(hand, path, Chain()).run()
    assert written == [0.0, 5000 + 3600, 5000 + 7200, 5000 + hand.time]


def test_a_transition_and_the_poll_that_caused_it_are_one_transaction(path, monkeypatch):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(poll(1, holding(7)))
        store.write(replace(poll(2, holding(7)), transitions=(transition(2),)))  # otherwise unchanged
        assert store.waiting == 0
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("vramwatch.store.recording.write_waiting", _fail)
            with pytest.raises(StoreError, match="disk I/O error"):
                store.write(replace(poll(3, holding(8)), transitions=(transition(3),)))
        assert [each.at.seq for each in moved(path)] == [2]
        store.write(replace(poll(3, holding(8)), transitions=(transition(3),)))
    assert [each.at.seq for each in moved(path)] == [2, 3]


def _fail(*_, **__):
    raise sqlite3.OperationalError("disk I/O error")


def test_what_is_judged_while_the_store_cannot_be_written_is_stored_once_it_can(path, monkeypatch):
    told = script(3, 40, {0})
    live(path.with_name("sound.db"), told, 0, 40, Chain())
    real, faults = Store.write, iter([False] * 5 + [True] * 20)

    def sometimes(self, each):
        if next(faults, False):
            raise StoreError(f"{path}: database is locked")
        real(self, each)

    monkeypatch.setattr(Store, "write", sometimes)
    watch = Chain()
    live(path, told, 0, 40, watch)
    assert watch.seqs == list(range(1, 41))
    assert moved(path) == moved(path.with_name("sound.db"))


class FullDisk:
    def __init__(self):
        self.has_room, self.written = False, []

    def write(self, each):
        if not self.has_room:
            raise StoreError("no space left on device")
        self.written.append(each)


def test_transitions_outlive_polls_that_the_backlog_drops_and_are_bounded(monkeypatch):
    monkeypatch.setattr("vramwatch.backlog.LIMIT", 100 * 4096)
    disk = FullDisk()
    backlog = Backlog(disk)
    for seq in range(1, 2001):
        backlog.remember(Poll(instant(seq), transitions=(transition(seq),)))
    assert not backlog.is_empty
    disk.has_room = True
    backlog.remember(Poll(instant(2001)))
    hole, *kept = disk.written
    assert hole.missing[0].fault.kind is FaultKind.NOT_KEPT
    told = [each.at.seq for one in disk.written for each in one.transitions]
    assert told == list(range(2001 - len(told), 2001))
    assert len(hole.transitions) == LOST_TRANSITIONS_KEPT
    assert len(kept) == 101
    assert backlog.is_empty


def test_after_polls_were_dropped_a_checkpoint_is_written_at_once(path, monkeypatch):
    monkeypatch.setattr("vramwatch.backlog.LIMIT", 5 * 4096)
    told = script(4, 60, {0, 40})
    real, faults = Store.write, iter([False] * 5 + [True] * 20)

    def sometimes(self, each):
        if next(faults, False):
            raise StoreError(f"{path}: database is locked")
        real(self, each)

    monkeypatch.setattr(Store, "write", sometimes)
    whole = Chain()
    live(path, told, 0, 40, whole, is_killed=True)
    monkeypatch.undo()
    watch = Chain()
    live(path, told, 40, 60, watch)
    assert watch.state["count"] == 60
    assert watch.seqs[0] > 25


def test_polls_that_come_while_it_catches_up_wait_in_bounded_memory_and_none_is_missed(path, monkeypatch):
    monkeypatch.setattr("vramwatch.judging.judge.LONGEST_QUEUE", 10)
    live(path, script(5, 60, {0}), 0, 60, Chain(), is_killed=True)
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        watch = Chain()
        judge = Judge(watch, store)
        judge.begin()
        for seq in range(61, 96):
            each = judge.turn(poll(seq, holding(7, Bytes(seq * MIB)), wall=1_700_001_000.0 + seq))
            assert each.transitions == ()
            store.write(each)
            assert len(judge._queue) <= 10
            if seq % 10 == 0:
                judge.catch_up(Seconds(0.0005))
        while judge.is_behind:
            judge.catch_up(Seconds(9.0))
        assert watch.seqs == list(range(1, 96))


def test_lives_too_short_to_catch_up_still_come_nearer(path, monkeypatch):
    live(path, script(7, 60, {0}), 0, 60, Chain(), is_killed=True)
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        monkeypatch.setattr(store, "transitions_since", lambda _: {(n, i) for n in range(61) for i in IDS})
        reached = []
        for _ in range(3):
            watch = Chain()
            judge = Judge(watch, store)
            judge.begin()
            judge.catch_up(Seconds(0.0))
            for _ in range(10):
                judge._past = judge._judge_next(judge._past)
            judge.put_down(is_end=True)
            judge.close()
            reached.append(watch.state["count"])
    assert reached == [10, 20, 30]


def test_after_a_damaged_store_was_set_aside_a_checkpoint_is_written_at_once(path):
    hand = Hand(script(8, 20, {0}))
    daemon = make(hand, path, Chain())

    hand.between = {10: lambda: daemon._store._begin_anew(StoreDamaged("it is damaged"))}
    daemon._end = lambda: let_go(daemon)
    daemon.run()
    assert [each.name for each in path.parent.glob("*.corrupt-*")]
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        assert store.checkpoint() is not None


def test_a_checkpoint_that_cannot_be_read_is_told_once_and_judging_begins_anew(path, caplog):
    live(path, script(6, 10, {0}), 0, 10, Chain())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE checkpoint SET state = x'00'")
    watch = Chain()
    live(path, script(6, 20, {0, 10}), 10, 20, watch)
    assert watch.seqs == list(range(11, 21))
    assert [record.levelname for record in caplog.records if "checkpoint" in record.message] == ["ERROR"]


class Stubborn(Chain):
    def restore(self, state):
        raise ValueError("it is of version 9, and this vramwatch reads 8")


def test_a_checkpoint_that_the_watch_refuses_is_told_and_judging_begins_anew(path, caplog):
    live(path, script(6, 10, {0}), 0, 10, Chain())
    watch = Stubborn()
    live(path, script(6, 20, {0, 10}), 10, 20, watch)
    assert watch.seqs == list(range(11, 21))
    assert "it is of version 9" in caplog.text


class Deaf(Watch):
    """Was told of these polls."""

    def __init__(self):
        super().__init__({}, Terms())
        self.polls = []

    def turn(self, each):
        self.polls.append(each)
        return ()


def test_the_watch_is_told_of_released_starting_and_missing_polls_and_of_what_happened(path):
    hand = Hand([(0.0, blind(FaultKind.STARTING, "starting")), *every_second(3)[1:], (60.0, blind())])
    watch = Deaf()
    make(hand, path, watch).run()
    assert [[m.fault.kind for m in each.missing] for each in watch.polls] == [
        [FaultKind.STARTING],
        [],
        [],
        [FaultKind.STALLED],
        [FaultKind.NO_DRIVER],
    ]
    assert [each.kind.value for each in watch.polls[0].events] == ["started"]


def test_every_transition_is_one_line_of_the_log(path, caplog):
    class Once(Watch):
        def turn(self, each):
            return (
                (replace(FULL, at=each.at), transition(each.at, "x", rate=None)) if each.at.seq == 2 else ()
            )

    caplog.set_level(logging.INFO)
    make(Hand(every_second(3)), path, Once({}, Terms())).run()
    full, other = (r for r in caplog.records if r.message.startswith("incident="))
    assert full.levelname == "WARNING"
    assert full.message == (
        "incident=chat state=firing severity=critical cause=leak pattern=floor subject='unit:chat.service' "
        "gpu=GPU-00000000 pid=4104 rate_bytes_per_hour=4443300 exhaustion=2023-11-15T23:13:20+00:00 "
        "reason=established at=2023-11-14T22:13:21+00:00 sentence='grew by 3 MiB in 1 h'"
    )
    assert "rate_bytes_per_hour=None exhaustion=thin_evidence reason=seen" in other.message
    assert other.levelname == "INFO"


# --- what a person dismisses --------------------------------------------------------------------


def growing(count):
    """Polls a minute apart of one process whose bytes rise at every one."""
    chance = random.Random(3)
    return [
        servers.poll(n + 1, servers.one(60.0 * n, 6000.0 + 8 * n + chance.uniform(0, 60), 0.5))
        for n in range(count)
    ]


def judged_and_dismissed(path, polls, at, kills=()):
    """Judge and store ``polls``, dismiss what is open before the poll ``at``, be killed after ``kills``."""
    store, judge = None, None
    for each in polls:
        if judge is None:
            store = Store.open(path, "nvml", "0.1.0")
            judge = Judge(servers.watch(), store)
            judge.begin()
            while judge.is_behind:
                judge.catch_up(Seconds(10.0))
        if each.at.seq == at:
            with closing(History.open(path)) as history:
                for moved_last in history.open_incidents():
                    judge.dismiss(moved_last.incident)
        store.write(judge.turn(each))
        if each.at.seq in kills:
            judge.close()
            store._connection.close()  # as a kill does
            os.close(store._lock)
            judge = None
    store.close()
    return moved(path)


def test_what_is_dismissed_is_over_and_opens_again_when_the_growth_is_found_again(path):
    told = judged_and_dismissed(path, growing(600), 400)
    ids = {each.incident.id for each in told}
    reasons = [each.reason for each in told]
    assert len(ids) == 1
    place = reasons.index(Reason.DISMISSED)
    assert told[place].at.seq == 400
    assert told[place].incident.state is State.RESOLVED
    assert reasons[0] is Reason.SEEN
    assert reasons[place + 1] is Reason.RETURNED


def test_a_dismissal_outlives_a_kill_right_after_it(tmp_path):
    polls = growing(600)
    at_once = judged_and_dismissed(tmp_path / "at_once.db", polls, 400)
    assert judged_and_dismissed(tmp_path / "killed.db", polls, 400, kills=(300, 400, 401)) == at_once


def test_an_incident_that_stands_in_the_store_alone_can_be_dismissed(path):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        judge = Judge(Watch({}, Terms()), store)
        judge.begin()
        store.write(replace(judge.turn(poll(7, holding(7))), transitions=(FULL,)))
        judge.dismiss(FULL.incident)
        judge.dismiss(FULL.incident)
        store.write(judge.turn(poll(8, holding(7))))
    assert [each.reason for each in moved(path)] == [Reason.ESTABLISHED, Reason.DISMISSED]
