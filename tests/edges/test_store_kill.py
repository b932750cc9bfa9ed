"""A daemon that is killed between any two instructions loses nothing that it was told is stored."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

from vramwatch.core.errors import StoreError
from vramwatch.core.model import FaultKind
from vramwatch.store import History, Store

KILLS = 20
POLLS = (0, 1, 5, 20)
"""After how many polls a daemon may be killed: as it opens the store, at its first poll, or among many."""

LONGEST = 0.03
"""Seconds from there to its end."""

DAEMONS = """
import os
import sys
from pathlib import Path

import sqlalchemy.dialects.sqlite.pysqlite
from tests.polls import holding, owner, poll
from vramwatch.core.units import Bytes
from vramwatch.store import Store


def write_until_killed(path):
    print(os.getpid(), flush=True)
    store = Store.open(path, "nvml", "0.1.0")
    seq = store.next_seq()
    while True:
        crowd = [holding(pid, Bytes(seq * pid), owner(str(pid % 3))) for pid in range(seq % 5, 9)]
        store.write(poll(seq, *crowd))
        print(f"{seq}\\n", end="", flush=True)  # at once, so that no kill parts the line
        seq += 1


for _ in sys.stdin:
    daemon = os.fork()
    if not daemon:
        write_until_killed(Path(sys.argv[1]))
    os.waitpid(daemon, 0)
    print("over", flush=True)
"""


def one_life(daemons, polls, seconds):
    """Return the polls that one daemon was told are stored before it was killed: ``polls`` at least."""
    daemons.stdin.write("begin\n")
    daemons.stdin.flush()
    pid = int(daemons.stdout.readline())
    told = [int(daemons.stdout.readline()) for _ in range(polls)]
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return told + [int(line) for line in iter(daemons.stdout.readline, "over\n")]


def newest_stored(path):
    """Return the newest poll of a sound store, 0 if there is none yet."""
    try:
        with closing(History.open(path)) as history:
            newest = history.latest()
    except StoreError:
        return 0  # killed before there was a schema
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return newest.at.seq if newest else 0


def test_a_daemon_killed_at_any_moment_loses_nothing_and_the_gap_is_known(tmp_path):
    path = tmp_path / "vramwatch.db"
    moments = random.Random(4)
    ends = [0]
    command = [sys.executable, "-c", DAEMONS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemons:
        for _ in range(KILLS):
            told = one_life(daemons, moments.choice(POLLS), moments.random() * LONGEST)
            stored = newest_stored(path)
            assert stored - max([ends[-1], *told]) in (0, 1)  # the last may be stored and not yet told
            ends.append(stored)
    stops = sorted(set(ends) - {0})
    with closing(Store.open(path, "nvml", "0.1.0")) as store, closing(History.open(path)) as history:
        assert store.next_seq() == stops[-1] + 1
        gaps = history.gaps(*history.span())
        assert [gap.reason for gap in gaps] == [FaultKind.STOPPED] * (len(stops) - 1)
        assert [history.at(gap.since).at.seq for gap in gaps] == stops[:-1]
        assert all("killed" in gap.detail and gap.until is not None for gap in gaps)
