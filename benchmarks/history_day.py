"""Writes polls of a seeded server as a daemon does, in a process of its own, and says what it cost.

    python -m benchmarks.history_day STORE [--gpus 8] [--processes 6] [--seconds 86400] [--flat]

Prints one line of JSON: the fields of ``Cost``.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.history_load import HOUR, Load
from vramwatch.core.model import Instant
from vramwatch.core.units import Seconds
from vramwatch.store import Store

TEND_EVERY = 60  # polls
SLICE = Seconds(0.05)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process spent on writing polls. Bytes and seconds."""

    polls: int
    samples: int  # of processes and GPUs, as ``Load.series`` counts them
    changed: float  # part of the samples that differed from the one before
    stored: int  # the database with every hour closed and maintenance done; its log is empty then
    open_hour: int  # what it was larger while the last hour was open
    written: int  # passed to write(2): log, checkpoints and all; what the kernel merges is not taken off
    cpu: float  # without making up the polls
    slowest: float  # the longest single write or slice of maintenance
    rss: int


def write(
    store: Path, gpus: int = 8, processes: int = 6, seconds: int = 24 * HOUR, *, flat: bool = False
) -> Cost:
    """Write polls in a new process. Errors: CalledProcessError."""
    words = [str(store), "--gpus", gpus, "--processes", processes, "--seconds", seconds]
    command = [sys.executable, "-m", "benchmarks.history_day", *map(str, words), *["--flat"][: int(flat)]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return Cost(**json.loads(done.stdout))


def tend(store: Store, now: Instant) -> float:
    """Do all maintenance that is due; return the seconds of the longest slice."""
    longest, more = 0.0, True
    while more:
        began = time.perf_counter()
        more = store.tend(now, SLICE)
        longest = max(longest, time.perf_counter() - began)
    return longest


def _write(path: Path, load: Load, seconds: int) -> Cost:
    process = psutil.Process()
    spent = slowest = 0.0
    written_before = process.io_counters().write_chars
    with closing(Store.open(path, "benchmark", "benchmark")) as store:
        for poll in load.polls(seconds):
            began, cpu_began = time.perf_counter(), time.process_time()
            store.write(poll)
            slowest = max(slowest, time.perf_counter() - began)
            if poll.at.seq % TEND_EVERY == 0:
                slowest = max(slowest, tend(store, poll.at))
            spent += time.process_time() - cpu_began
        written = process.io_counters().write_chars - written_before
        rss = process.memory_info().rss
    with_open_hour = path.stat().st_size
    with closing(Store.open(path, "benchmark", "benchmark")) as store:
        for poll in load.polls(1, since=seconds):  # the first one of the next hour: the last one has closed
            store.write(poll)
        tend(store, poll.at)
    return Cost(
        polls=seconds,
        samples=seconds * load.series,
        changed=load.changes / (seconds * load.series),
        stored=path.stat().st_size,
        open_hour=with_open_hour - path.stat().st_size,
        written=written,
        cpu=spent,
        slowest=slowest,
        rss=rss,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history_day")
    parser.add_argument("store", type=Path)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=24 * HOUR)
    parser.add_argument("--flat", action="store_true")
    asked = parser.parse_args()
    load = Load(asked.gpus, asked.processes, flat=asked.flat)
    print(json.dumps(asdict(_write(asked.store, load, asked.seconds))))


if __name__ == "__main__":
    main()
