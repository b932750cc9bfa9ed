"""Incidents and checkpoints in the store: as they were judged, as long as hours are kept, never doubled."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from importlib.resources import files

import pytest

from tests.edges.test_store_kill import newest_stored
from tests.edges.test_store_lasting import MIDNIGHT, hourly_polls, opened, tended
from tests.polls import START, holding, instant, owner, poll
from tests.verdicts import EVIDENCE, FULL, Chain, transition
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.scenes import Scene
from vramwatch.core.units import GIB, Bytes, Seconds
from vramwatch.store import History, Store
from vramwatch.store.migrations import APPLICATION_ID

DAY = 86400.0
STATE = {"version": 3, "windows": {"GPU-0": [1.1, 2.2, None, 1e300]}, "é": True}


def write(store, seq, *transitions, **more):
    store.write(replace(poll(seq, holding(7, Bytes(seq * GIB)), **more), transitions=transitions))


def moved(path, since=0.0, until=2e9):
    with closing(History.open(path)) as history:
        return history.incidents(since, until)


def rows(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


# --- transitions --------------------------------------------------------------------------------


def test_a_transition_comes_back_as_it_was_judged(path):
    resolved = transition(
        9, "ghost", State.RESOLVED, owner=None, rate=None, reason=Reason.CLEARED, pattern="ghost"
    )
    with closing(opened(path)) as store:
        write(store, 7, FULL)
        write(store, 9, resolved, transition(9, "third"))
    assert moved(path) == [FULL, resolved, transition(9, "third")]
    assert moved(path, START + 8) == [resolved, transition(9, "third")]
    assert moved(path, START, START + 6) == []


def test_what_is_open_is_told_by_its_newest_transition(path):
    with closing(opened(path)) as store:
        write(store, 1, transition(1, "a"), transition(1, "b"))
        write(store, 2, transition(2, "a", State.FIRING, reason=Reason.ESTABLISHED))
        write(store, 3, transition(3, "b", State.RESOLVED), transition(3, "c"))
        write(store, 4, transition(4, "a", State.FIRING, severity=Severity.CRITICAL, reason=Reason.UPDATED))
        with closing(History.open(path)) as history:
            told = history.open_incidents()
    assert [(each.at.seq, each.incident.id, each.incident.state) for each in told] == [
        (3, "c", State.PENDING),
        (4, "a", State.FIRING),
    ]


def test_a_transition_that_was_judged_late_stands_at_the_poll_that_was_judged(path):
    with closing(opened(path)) as store:
        write(store, 1)
        write(store, 2)
        write(store, 3, transition(1), transition(3))
        assert store.transitions_since(1) == {(3, "chat")}
        assert store.transitions_since(0) == {(1, "chat"), (3, "chat")}
    assert [each.at for each in moved(path)] == [instant(1), instant(3)]


def test_names_that_are_no_text_are_kept_and_told(path):
    odd = transition(1, "unit:\udcff", owner="unit:\udcff")
    with closing(opened(path)) as store:
        write(store, 1, odd)
    (found,) = moved(path)
    assert found.incident.subject.owner == "unit:\\udcff"


def test_a_poll_that_cannot_be_written_leaves_no_transition_behind(path, monkeypatch):
    with closing(opened(path)) as store:
        write(store, 1)
        with monkeypatch.context() as patched:
            patched.setattr("vramwatch.store.recording.encode", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                write(store, 2, transition(2))
        assert moved(path) == []
        write(store, 2, transition(2))
        write(store, 2, transition(2))  # its commit was reported as failed, and yet it stands
    assert moved(path) == [transition(2)]


def test_transitions_are_kept_as_long_as_hours(path):
    with closing(opened(path, raw=Seconds(3600), minutes=Seconds(7200), hours=Seconds(4 * 3600))) as store:
        for each in hourly_polls(10):
            hour, second = divmod(int(each.at.wall - MIDNIGHT), 3600)
            told = (transition(each.at, f"of-hour-{hour}"),) if second == 0 else ()
            if second == 0:
                told += (transition(each.at, "lasting"),)
            store.write(replace(each, transitions=told))
            tended(store, each.at)
        kept = {each.incident.id for each in moved(path)}
        assert kept == {"lasting", *(f"of-hour-{hour}" for hour in range(5, 10))}
        assert {id for (id,) in rows(path, "SELECT id FROM incident")} == kept


def test_a_forgotten_owners_incidents_go_with_it_and_the_checkpoint_too(path):
    with closing(opened(path)) as store:
        theirs = transition(1, "theirs", owner="unit:secret.service")
        others = transition(1, "others", owner="unit:chat.service")
        crowd = [holding(7, of=owner("secret")), holding(8, of=owner("chat"))]
        store.write(replace(poll(1, *crowd), transitions=(theirs, others)))
        store.write_checkpoint(instant(1), {"windows": ["unit:secret.service"]})
        assert store.forget("secret").incidents == 1
        assert store.checkpoint() is None
    assert moved(path) == [others]
    assert b"unit:secret.service" not in path.read_bytes()


def test_incidents_of_others_name_no_process_that_is_forgotten(path):
    curve = ((100.0, 1.0, 2.0),)
    flight = {"gpu": curve, "pid 7": curve, "pid 7 live": curve, "pid 77": curve}
    scene = Scene("0", "NVIDIA H100", 80, 70, 60, owner="secret", pid=7, program="python", user="eve-of-old")
    judged = transition(1, "ghost", owner=None, evidence=replace(EVIDENCE, flight=flight), pid=7)
    ghost = replace(judged, scene=scene)
    with closing(opened(path)) as store:
        crowd = [holding(7, of=owner("secret")), holding(77, of=owner("chat"))]
        store.write(replace(poll(1, *crowd), transitions=(ghost,)))
        assert store.forget("secret").incidents == 0
    (kept,) = moved(path)
    assert set(kept.incident.judgement.evidence.flight) == {"gpu", "pid 77"}
    assert kept.incident.judgement.pid is None
    assert kept.scene == Scene("0", "NVIDIA H100", 80, 70, 60)
    assert b"eve-of-old" not in path.read_bytes()


def test_a_store_of_the_second_schema_gains_incidents_and_keeps_its_history(path):
    steps = files("vramwatch.store.migrations")
    with closing(sqlite3.connect(path)) as connection:
        for name in ("0001_first.sql", "0002_hours.sql"):
            connection.executescript((steps / name).read_text())
        connection.execute("INSERT INTO schema_version (version, program) VALUES (1, '0'), (2, '0')")
        for table in ("sample", "ledger", "poll"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    with closing(opened(path)) as store:
        assert store.checkpoint() is None
        write(store, 1, FULL)
    assert moved(path) == [FULL]


# --- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_to_the_bit_and_the_newest_alone_is_kept(path):
    with closing(opened(path)) as store:
        assert store.checkpoint() is None
        write(store, 1)
        store.write_checkpoint(instant(1), {"count": 1})
        store.write_checkpoint(instant(1), STATE)
        assert store.checkpoint() == (instant(1), STATE)
    with closing(opened(path)) as store:
        assert store.checkpoint() == (instant(1), STATE)
    assert rows(path, "SELECT count(*) FROM checkpoint") == [(1,)]


def test_a_checkpoint_is_never_ahead_of_the_polls(path):
    store = opened(path)
    for seq in range(1, 6):
        store.write(poll(seq, holding(7)))
    assert store.waiting == 4
    store.write_checkpoint(instant(5), STATE)
    assert store.waiting == 0
    store._connection.close()  # as a kill does
    os.close(store._lock)
    with closing(opened(path)) as store:
        assert store.next_seq() == 6


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_and_the_polls_that_wait(path, monkeypatch):
    with closing(opened(path)) as store:
        for seq in range(1, 6):
            store.write(poll(seq, holding(7)))
        store.write_checkpoint(instant(5), {"count": 5})
        for seq in range(6, 9):
            store.write(poll(seq, holding(7)))
        with monkeypatch.context() as patched:
            patched.setattr("vramwatch.store.checkpoints.write", _full)
            with pytest.raises(StoreError, match="disk is full"):
                store.write_checkpoint(instant(8), {"count": 8})
        assert store.checkpoint() == (instant(5), {"count": 5})
        assert [each.at.seq for each in store.polls_since(5)] == [6, 7, 8]


def _full(*_):
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    "damage",
    [
        "state = x'00'",
        "state = 7",
        "state = substr(state, 1, 9)",
        "version = 2",
        "version = 'two'",
    ],
)
def test_a_checkpoint_that_is_damaged_or_newer_is_none_and_told(path, caplog, damage):
    with closing(opened(path)) as store:
        write(store, 1)
        store.write_checkpoint(instant(1), STATE)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE checkpoint SET {damage}")
    with closing(opened(path)) as store:
        assert store.checkpoint() is None
        assert len([each for each in caplog.records if "checkpoint not read seq=1" in each.message]) == 1
        store.write_checkpoint(instant(1), STATE)
        assert store.checkpoint() == (instant(1), STATE)


# --- kills --------------------------------------------------------------------------------------

KILLS, MOST_POLLS, LONGEST = 15, 30, 0.02

DAEMONS = """
import os
import sys
from dataclasses import replace
from pathlib import Path

import sqlalchemy.dialects.sqlite.pysqlite
from tests.polls import holding, owner, poll
from tests.verdicts import Chain
from vramwatch.core.units import Bytes, Seconds
from vramwatch.judging.judge import Judge
from vramwatch.store import Store


def judge_until_killed(path):
    print(os.getpid(), flush=True)
    store = Store.open(path, "nvml", "0.1.0")
    judge = Judge(Chain(), store)
    judge.begin()
    seq = store.next_seq()
    while True:
        crowd = [holding(pid, Bytes(seq * pid), owner(str(pid % 3))) for pid in range(seq % 5, 9)]
        each = judge.turn(poll(seq, *crowd))
        store.write(each)
        line = f"{seq} {len(each.transitions)}\\n"
        print(line, end="", flush=True)  # at once, so that no kill parts the line
        judge.catch_up(Seconds(0.005)) if judge.is_behind else judge.put_down(is_end=seq % 40 == 0)
        seq += 1


for _ in sys.stdin:
    daemon = os.fork()
    if not daemon:
        judge_until_killed(Path(sys.argv[1]))
    os.waitpid(daemon, 0)
    print("over", flush=True)
"""


def one_life(daemons, polls, seconds):
    """Let one daemon store so many polls, and kill it so many seconds later, wherever it is then.

    Return how many transitions it said are stored.
    """
    daemons.stdin.write("begin\n")
    daemons.stdin.flush()
    pid = int(daemons.stdout.readline())
    told = [daemons.stdout.readline() for _ in range(polls)]
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    told += iter(daemons.stdout.readline, "over\n")
    return sum(int(line.split()[1]) for line in told)


def test_however_often_it_is_killed_every_transition_is_stored_once_and_none_is_another(path):
    """What one uninterrupted life would have judged of the same polls stands in the store."""
    moments, told = random.Random(5), 0
    command = [sys.executable, "-c", DAEMONS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemons:
        for _ in range(KILLS):
            told += one_life(daemons, moments.randrange(MOST_POLLS), moments.random() * LONGEST)
            stored = len(moved(path)) if newest_stored(path) else 0
            assert stored >= told
            told = stored
    judged = []
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        watch = Chain()
        for each in store.polls_since(0):
            judged += watch.turn(each)
    found = moved(path)
    assert len(found) > 20
    keys = [(each.at.seq, each.incident.id) for each in found]
    assert len(set(keys)) == len(keys)
    assert found == judged[: len(found)]
    assert all(each.at.seq > found[-1].at.seq for each in judged[len(found) :])
