"""A daemon that is killed between any two instructions loses nothing that it was told is stored."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing

from vramwatch.core.model import FaultKind
from vramwatch.store import History, Store

KILLS = 20
LONGEST = 0.03
"""Seconds that a writer is let write before it is killed: some twenty polls."""

WRITER = """
import sys
from pathlib import Path
from tests.polls import holding, owner, poll
from vramwatch.core.units import Bytes
from vramwatch.store import Store

sys.stdin.readline()  # everything is imported; now write
store = Store.open(Path(sys.argv[1]), "nvml", "0.1.0")
seq = store.next_seq()
while True:
    crowd = [holding(pid, Bytes(seq * pid), owner(str(pid % 3))) for pid in range(seq % 5, 9)]
    store.write(poll(seq, *crowd))
    print(seq, flush=True)
    seq += 1
"""


def start(path):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def write_until_killed(writer, after):
    """Return the last poll that ``writer`` was told is stored, killing it ``after`` seconds."""
    writer.stdin.write("\n")
    writer.stdin.flush()
    first = writer.stdout.readline()
    try:
        writer.wait(after)
    except subprocess.TimeoutExpired:
        writer.kill()
    written = [first, *writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdin.close()
    writer.stdout.close()
    return int(written[-1])


def test_a_daemon_killed_at_any_moment_loses_nothing_and_the_gap_is_known(tmp_path):
    path = tmp_path / "vramwatch.db"
    moments = random.Random(4)
    lives = []
    for _ in range(KILLS):
        lives.append(write_until_killed(start(path), moments.random() * LONGEST))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with closing(History.open(path)) as history:
            stored = history.latest().at.seq
            assert stored - lives[-1] in (0, 1)  # the last may have been stored, and not yet told
            lives[-1] = stored
    with closing(Store.open(path, "nvml", "0.1.0")) as store, closing(History.open(path)) as history:
        assert store.next_seq() == lives[-1] + 1
        (first, last), gaps = history.span(), history.gaps(*history.span())
        assert [gap.reason for gap in gaps] == [FaultKind.STOPPED] * (KILLS - 1)
        assert all("killed" in gap.detail and gap.until is not None for gap in gaps)
        assert last - first == lives[-1] - 1
