"""How many rows of a recording are played a second, through the pipeline and up to where they are judged.

Two recordings, each once with memory that mostly stands still and once with memory that always moves: a
server with 8 GPUs of 8 processes each, read every second, and one GPU with two processes, read every
minute. Utilisation moves at every row of a GPU, as it does in life.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_least
from vramwatch.assembly import assemble
from vramwatch.config import load
from vramwatch.core.units import GIB, MIB, Seconds
from vramwatch.recording.progress import Progress
from vramwatch.sources.replay import Replay

RUNS = 5
GOALS = {"flat": 100_000, "busy": 20_000}
"""Rows a second on one core, without what judging them costs."""

MOVES = {"flat": 0.01, "busy": 1.0}
"""The share of rows of processes that say something else than a moment before."""

TOTAL = 80 * GIB
START = 1_700_000_000
HEADER = "time,gpu,pid,used_bytes,total_bytes,utilization,process_start,owner"


def measure() -> Iterator[Finding]:
    """Yield the rows a second of each recording."""
    with tempfile.TemporaryDirectory(prefix="vramwatch-replay-") as folder:
        for pace, goal in GOALS.items():
            server = written(Path(folder), "server", pace, gpus=8, processes=8, step=1, moments=3_000)
            yield at_least(f"8 GPUs, 8 processes each, every second, {pace}", _rates(server), goal, "rows/s")
            single = written(Path(folder), "single", pace, gpus=1, processes=2, step=60, moments=40_000)
            yield at_least(f"1 GPU, 2 processes, every minute, {pace}", _rates(single), goal, "rows/s")


def written(
    folder: Path, name: str, pace: str, *, gpus: int, processes: int, step: int, moments: int
) -> Path:
    """Write a recording of memory that moves at ``pace``, read every ``step`` seconds; return its file."""
    chance = random.Random(4)
    held = {(gpu, rank): 8 * GIB for gpu in range(gpus) for rank in range(processes)}
    file = folder / f"{name}-{pace}.csv"
    with file.open("w") as stream:
        stream.write(f"{HEADER}\n")
        for moment in range(moments):
            at = START + moment * step
            for gpu in range(gpus):
                for rank in range(processes):
                    if chance.random() < MOVES[pace]:
                        held[gpu, rank] = 8 * GIB + chance.randrange(500) * 2 * MIB
                used = sum(held[gpu, rank] for rank in range(processes)) + 600 * MIB
                stream.write(f"{at},GPU-{gpu},,{used},{TOTAL},{chance.randrange(101) / 100},,\n")
                for rank in range(processes):
                    pid = 1000 + gpu * processes + rank
                    stream.write(f"{at},GPU-{gpu},{pid},{held[gpu, rank]},,,{START - 60 - rank},job-{rank}\n")
    return file


def rows_of(file: Path) -> int:
    """Return how many rows a recording has, without its header."""
    with file.open() as stream:
        return sum(1 for _ in stream) - 1


def _rates(file: Path) -> Figures:
    """Return the rows a second of each run."""
    rows = rows_of(file)
    return Figures(tuple(rows / _seconds(file) for _ in range(RUNS)))


def _seconds(file: Path) -> float:
    began = time.process_time()
    feed = Replay(files=(file,)).play(1, Progress())
    pipeline = assemble(load(None, {}, {}), feed, {})
    while at := feed.clock.wait(Seconds(1.0)):
        pipeline.turn(at)
    return time.process_time() - began
