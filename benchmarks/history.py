"""What history costs: bytes a sample, bytes written, questions, and lives that end by kill -9.

    python -m benchmarks.history [PART…]

Without parts everything is measured, in about half an hour. The exit code is 1 if a goal was missed.
"""

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import history_queries
from benchmarks.findings import Figures, Finding, at_most, not_measured, show, told
from benchmarks.history_day import Cost, write
from benchmarks.history_load import DAY, HOUR, Load
from benchmarks.history_ninety import DAYS, build, load
from benchmarks.history_prometheus import blocks_bytes
from tests.edges.test_disasters_kill import lives, readings, written

GIB, MIB, MILLI = 1024**3, 1024**2, 1000

SAMPLE_GOAL = 0.5  # bytes a sample
WRITTEN_GOAL = 0.5  # GiB a day on a busy server; a tenth of it where nothing moves
FLAT_PART = 0.1
RSS_GOAL = 110.0  # MiB: of the whole daemon, whose reader comes on top of this process

KILLS = 200

CURVE_HOURS = 3
CURVE_GPUS, CURVE_PROCESSES, CURVE_DAYS = (1, 2, 4, 8), (1, 3, 6, 12), (0.25, 0.5, 1)


def day(folder: Path) -> Iterator[Finding]:
    """A day of polls of eight GPUs with six processes each, beside Prometheus on the same samples."""
    busy = write(folder / "busy" / "history.db")
    yield Finding("a busy day", f"{busy.samples} samples, {busy.changed:.1%} of them changes")
    ours = Figures((busy.stored / busy.samples,))
    yield at_most("bytes a sample, the whole database", ours, SAMPLE_GOAL)
    yield told("an hour that is still open: more", Figures((busy.open_hour / MIB,)), "MiB")
    theirs = blocks_bytes(Load(), DAY, folder)
    if theirs is None:
        yield not_measured("bytes a sample, Prometheus", "there is no promtool")
    else:
        limit = theirs / busy.samples
        yield at_most("bytes a sample, beside Prometheus' blocks", ours, limit)
    yield at_most("a busy day: written", Figures((busy.written / GIB,)), WRITTEN_GOAL, "GiB")
    yield from _spent("a busy day", busy)
    flat = write(folder / "flat" / "history.db", flat=True)
    yield at_most("a flat day: written", Figures((flat.written / GIB,)), FLAT_PART * WRITTEN_GOAL, "GiB")
    yield told("a flat day: stored", Figures((flat.stored / MIB,)), "MiB")


def _spent(name: str, cost: Cost) -> Iterator[Finding]:
    yield told(f"{name}: CPU", Figures((cost.cpu / cost.polls * MILLI,)), "ms a poll")
    yield told(f"{name}: longest write or slice", Figures((cost.slowest * MILLI,)), "ms")
    yield at_most(f"{name}: RSS of the writing process", Figures((cost.rss / MIB,)), RSS_GOAL, "MiB")


def growth(folder: Path) -> Iterator[Finding]:
    """How the database grows with GPUs, processes and hours; each curve moves one of them."""
    curves: dict[str, dict[float, tuple[int, int, int]]] = {
        f"{CURVE_HOURS} h of GPUs with 6 processes": {n: (n, 6, CURVE_HOURS) for n in CURVE_GPUS},
        f"{CURVE_HOURS} h of 8 GPUs, by processes on each": {n: (8, n, CURVE_HOURS) for n in CURVE_PROCESSES},
        "8 GPUs with 6 processes, by days": {n: (8, 6, round(n * 24)) for n in CURVE_DAYS},
    }
    for name, points in curves.items():
        for along, (gpus, processes, hours) in points.items():
            path = folder / "history.db"
            cost = write(path, gpus, processes, hours * HOUR)
            for each in folder.glob("history.db*"):
                each.unlink()
            said = f"{cost.stored / MIB:.2f} MiB, {cost.stored / cost.samples:.3f} bytes a sample"
            yield Finding(f"{name}: {along}", said)


def ninety(folder: Path) -> Iterator[Finding]:
    """Ninety days in one database, asked while a process writes it."""
    path = folder / "history.db"
    began = time.monotonic()
    build(path)
    samples = DAYS * DAY * load().series
    yield told("ninety days: built", Figures((time.monotonic() - began,)), "s")
    yield told("ninety days: database", Figures((path.stat().st_size / MIB,)), "MiB")
    size = Figures((path.stat().st_size / samples,))
    yield at_most(f"ninety days: bytes a sample ({samples} samples)", size, SAMPLE_GOAL)
    yield from history_queries.measure(path)


def kills(folder: Path) -> Iterator[Finding]:
    """A writer killed at random moments, also within maintenance."""
    path, before, lost, wrong = folder / "history.db", 0, 0, 0
    for last, stored, faults in lives(path, KILLS):
        lost += stored - max(before, last) not in (0, 1)
        wrong += bool(faults)
        before = stored
    yield Finding("kill -9", f"{KILLS} times, {before} polls, an hour closes every 60")
    yield at_most("kill -9: stores that lost a committed poll", Figures((float(lost),)), 0.0)
    yield at_most("kill -9: stores that integrity_check finds fault with", Figures((float(wrong),)), 0.0)
    differing = float(len(readings(path).items() ^ written(before).items()))
    yield at_most("kill -9: readings that differ from those written", Figures((differing,)), 0.0)


PARTS = {"kills": kills, "day": day, "growth": growth, "ninety": ninety}


def measure(names: Sequence[str] = tuple(PARTS)) -> Iterator[Finding]:
    """Yield the findings of the parts named."""
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="vramwatch-history-") as folder:
            yield from PARTS[name](Path(folder))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.history", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of: {', '.join(PARTS)}")
    parts = parser.parse_args(arguments).parts or tuple(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    findings = list(measure(parts))
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{os.cpu_count()} processors"
    )
    show(findings)
    return int(any(one.reached is False for one in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
