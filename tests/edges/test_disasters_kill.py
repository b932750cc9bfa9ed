"""A daemon killed at any moment, also while it closes hours: nothing that was stored is lost or changed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.polls import BOOT, START, holding, ledger, owner
from vramwatch.core.errors import StoreError
from vramwatch.core.model import Instant
from vramwatch.core.poll import Poll
from vramwatch.core.units import MIB, Bytes, Seconds
from vramwatch.store import History, Retention, Store

KILLS = 20
LONGEST = 0.3
"""Seconds from a writer's start to its end: opening, and some hundred polls with their maintenance."""

STEP = 60.0
"""Seconds of the clock between two polls: an hour closes every sixty."""

SLICE = Seconds(0.005)
FOR_EVER = Retention(raw=Seconds(1e9), minutes=Seconds(2e9), hours=Seconds(3e9))
PIDS = range(1, 6)

WRITERS = """
import os, sys
from pathlib import Path
import sqlalchemy.dialects.sqlite.pysqlite
from tests.edges.test_disasters_kill import write_until_killed

for _ in sys.stdin:
    writer = os.fork()
    if not writer:
        write_until_killed(Path(sys.argv[1]))
    os.waitpid(writer, 0)
    print("over", flush=True)
"""
"""Every writer is a fork of an interpreter that has imported all, so that its life is spent on writing."""


def held(seq):
    """What each process holds at a poll: every poll differs from the one before."""
    return {pid: seq * MIB + pid for pid in PIDS if (seq // 50 + pid) % 4}


def poll(seq):
    at = Instant(seq, START + STEP * seq, STEP * seq, BOOT)
    crowd = [holding(pid, Bytes(size), owner(str(pid % 2))) for pid, size in held(seq).items()]
    return Poll(at, (ledger(at, *crowd),))


def say(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def write_until_killed(path):
    say(os.getpid())
    store = Store.open(path, "nvml", "0.1.0", FOR_EVER)
    seq = store.next_seq()
    while True:
        taken = poll(seq)
        store.write(taken)
        say(seq)
        store.tend(taken.at, SLICE)
        seq += 1


def one_life(writers, seconds):
    """Return the newest poll that one writer was told is stored before it was killed; 0: none."""
    writers.stdin.write("begin\n")
    writers.stdin.flush()
    pid = int(writers.stdout.readline())
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return max((int(line) for line in iter(writers.stdout.readline, "over\n")), default=0)


def faults(path):
    """Return what SQLite finds wrong with the store."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        wrong = connection.execute("PRAGMA integrity_check").fetchall()
        return [*(each for each in wrong if each != ("ok",)), *connection.execute("PRAGMA foreign_key_check")]


def newest_stored(path):
    """Return the newest poll of the store, 0 if there is none yet."""
    try:
        with closing(History.open(path)) as history:
            newest = history.latest()
    except StoreError:
        return 0  # killed before there was a schema
    return newest.at.seq if newest else 0


def written(polls: int) -> dict[tuple[int, int], int]:
    """Return every reading of so many polls: (poll, pid) -> bytes."""
    return {(seq, pid): size for seq in range(1, polls + 1) for pid, size in held(seq).items()}


def readings(path: Path) -> dict[tuple[int, int], int]:
    """Return every reading that the store holds: (poll, pid) -> bytes."""
    with closing(History.open(path)) as history:
        rows = [row for row in history.series(quantity="used_bytes") if row.process]
        points = history.readings(rows, *history.span())
        return {
            (round((point.wall - START) / STEP), point.series.process.key.pid): point.value
            for point in points
        }


def lives(path: Path, kills: int, seed: int = 4) -> Iterator[tuple[int, int, list[object]]]:
    """Kill writers at random moments; yield what each was told, what is stored, and what is wrong."""
    moments = random.Random(seed)
    command = [sys.executable, "-c", WRITERS, str(path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    ) as writers:
        for _ in range(kills):
            told = one_life(writers, moments.random() * LONGEST)
            stored = newest_stored(path)
            yield told, stored, faults(path) if stored else []


def test_a_daemon_killed_at_any_moment_loses_and_changes_nothing_that_was_stored(tmp_path):
    path = tmp_path / "vramwatch.db"
    before = 0
    for told, stored, wrong in lives(path, KILLS):
        assert wrong == []
        assert stored - max(before, told) in (0, 1)  # the last may be stored and not yet told
        before = stored
    assert before > 2 * 3600 / STEP  # hours were closed meanwhile
    assert readings(path) == written(before)
