"""What judging costs: folding a sample, examining a full window, keeping one, and replaying from file to end.

One GPU is read every minute for thirty days while everything that a window remembers fills up: it swaps
models of many sizes every few minutes, leaks under load, tells its layers, and is idle in between. Samples
are values of series: of a GPU, of what nobody holds, of each process, of each owner, and of each layer.
"""

import copy
import importlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType

from benchmarks.detection.recordings import Row, write
from benchmarks.findings import Figures, Finding, at_least, at_most, told
from benchmarks.processes import peak_bytes, rss_bytes
from benchmarks.replay import GOALS, RUNS, rows_of, written
from vramwatch.assembly import assemble
from vramwatch.cli.playing import play_file
from vramwatch.config import load
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.diagnosis import Diagnosis
from vramwatch.core.folding import Watched
from vramwatch.core.incidents import Terms
from vramwatch.core.lanes import Lane
from vramwatch.core.model import ProcessKey
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, KIB, MIB, Seconds
from vramwatch.core.windows import Window
from vramwatch.judging.watch import Watch
from vramwatch.recording.progress import Progress
from vramwatch.sources.replay import Replay
from vramwatch.store.checkpoints import pack

FOLD_GOAL = 5.0  # µs a sample
EXAMINATION_GOAL = 1.0  # ms
SERIES_GOAL = 64.0  # KiB
SERIES = 1_000
RESIDENT_GOAL = 180.0  # MiB, with so many series

DAYS = 30
START = 1_700_000_000
LAST_DAYS = 86_400
"""Seconds at the end of the recording of which examinations are timed: all is filled by then."""

MICRO, MILLI = 1e6, 1e3

RESIDENT = "from benchmarks.detection_cost import keep_full_windows; keep_full_windows({series})"


def measure() -> Iterator[Finding]:
    """Yield what each part of judging costs, beside its goal."""
    with tempfile.TemporaryDirectory(prefix="vramwatch-detection-") as folder:
        yield from _folding(Path(folder))
        full = Path(folder) / "full.csv"
        write(full, swapping(DAYS))
        yield from _examining(full)
        yield from _replaying(Path(folder))
    yield from _resident()


# --- folding ------------------------------------------------------------------------------------


def _folding(folder: Path) -> Iterator[Finding]:
    for pace in GOALS:
        file = written(folder, "fold", pace, gpus=8, processes=8, step=1, moments=600)
        yield at_most(
            f"folding, every second, {pace}", _fold_times(list(polls(file))), FOLD_GOAL, "µs a sample"
        )
    many = folder / "plateaus.csv"
    write(many, swapping(7))
    name = "folding, every minute, a plateau every three"
    yield at_most(name, _fold_times(list(polls(many))), FOLD_GOAL, "µs a sample")


def polls(file: Path) -> Iterator[Poll]:
    """Yield the polls of a recording, as the pipeline hands them on."""
    feed = Replay(files=(file,)).play(1, Progress())
    pipeline = assemble(load(None, {}, {}), feed, {})
    while at := feed.clock.wait(Seconds(1.0)):
        yield pipeline.turn(at)


def _fold_times(seen: Sequence[Poll]) -> Figures:
    """Return the µs a sample of each run, without any detector."""
    times = []
    for _ in range(RUNS):
        watch = Watch({}, Terms())
        began = time.process_time()
        for poll in seen:
            watch.turn(poll)
        spent = time.process_time() - began
        times.append(spent * MICRO / (len(seen) * len(lanes(watch))))
    return Figures(tuple(times))


def windows(watch: Watch) -> list[Window]:
    """Return all windows, most specific first."""
    return [each.window for gpu in watch._gpus.values() for each in gpu.all()]


def lanes(watch: Watch) -> list[Lane]:
    """Return what is kept of every series."""
    return [lane for window in windows(watch) for lane in (window.used, *window.layers.values())]


# --- a full window ------------------------------------------------------------------------------


class _Timed(Watch):
    """Examines from ``since`` on, unix seconds, and notes the CPU seconds that each took."""

    def __init__(self, since: float) -> None:
        super().__init__(DetectionOptions().detectors.on(), Terms())
        self.since = since
        self.times: list[float] = []

    def _examine(self, window: Window) -> Diagnosis | None:
        if window.wall < self.since:  # what was not looked at is folded all the same
            return None
        began = time.thread_time_ns()
        diagnosis = super()._examine(window)
        self.times.append((time.thread_time_ns() - began) / 1e9)
        return diagnosis


def _examining(file: Path) -> Iterator[Finding]:
    watch = _Timed(START + DAYS * 86_400 - LAST_DAYS)
    for poll in polls(file):
        watch.turn(poll)
    times = sorted(watch.times)
    mean = Figures((MILLI * sum(times) / len(times),))
    yield at_most(f"examination of a full window, mean of {len(times)}", mean, EXAMINATION_GOAL, "ms")
    high = Figures((MILLI * times[round(0.99 * (len(times) - 1))],))
    yield at_most("examination of a full window, 99th percentile", high, EXAMINATION_GOAL, "ms")
    sizes = Figures(tuple(size_of(lane) / KIB for lane in lanes(watch)))
    yield at_most("kept of a series of a full window", sizes, SERIES_GOAL, "KiB")


def swapping(days: int) -> Iterator[Row]:
    """Yield a GPU that swaps models every three minutes, leaks while it works, then rests."""
    chance = random.Random(5)
    lost, requests = 0.0, 0
    models = [2 * MIB * chance.randrange(1_000, 20_000) for _ in range(6)]
    held, is_idle = models[0], False
    for minute in range(days * 1_440):
        if minute % 3 == 0:
            held, is_idle = chance.choice(models), minute % 30 < 6
        if not is_idle:
            lost += 20 * GIB / (days * 1_440)
            requests += 10
        used = held + 2 * MIB * int(lost / (2 * MIB))
        at, duty = START + 60 * minute, 0.0 if is_idle else 0.8
        yield Row(at, "GPU-0", None, used + 700 * MIB, 80 * GIB, duty)
        yield Row(
            time=at,
            gpu="GPU-0",
            pid=1000,
            used=used,
            process_start=START - 60,
            owner="unit:swaps.service",
            torch_reserved=used - 600 * MIB,
            torch_allocated=used - 900 * MIB,
            engine_kv=(0 if is_idle else 100 * MIB * chance.randrange(1, 6)) + int(lost) // 8,
            requests_total=requests,
            requests_running=0 if is_idle else 4,
            requests_waiting=0,
        )


def size_of(thing: object) -> int:
    """Return the bytes of ``thing`` and of all that it alone leads to: no classes, functions, modules."""
    seen: set[int] = set()
    left = [thing]
    size = 0
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type | FunctionType | ModuleType):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        if isinstance(each, dict):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            left += each
        else:
            names = [name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ())]
            left += [getattr(each, name) for name in names if hasattr(each, name)]
    return size


# --- resident memory ----------------------------------------------------------------------------


def keep_full_windows(series: int) -> None:
    """Print what so many full series cost a process that has loaded what the daemon has: bytes, and seconds.

    By how much it grows, what is resident then, the most that was resident once a checkpoint has been made
    of them, the checkpoint's size, and the CPU seconds that it took. The reader is another process.
    """
    importlib.import_module("vramwatch.daemon")
    with tempfile.TemporaryDirectory(prefix="vramwatch-detection-") as folder:
        file = Path(folder) / "full.csv"
        write(file, swapping(DAYS))
        watch = Watch({}, Terms())
        for poll in polls(file):
            watch.turn(poll)
    (process,) = (window for window in windows(watch) if window.layers)
    (full,) = watch._gpus.values()
    before = rss_bytes(os.getpid())
    for pid in range(series):
        key = ProcessKey("benchmark", pid, 1)
        window = replace(process, used=copy.deepcopy(process.used), layers={}, load=full.load)
        full.processes[key] = Watched(window, pid)
    resident = rss_bytes(os.getpid())
    began = time.process_time()
    size = len(pack(watch.checkpoint(late=True)))
    spent = time.process_time() - began
    print(resident - before, resident, peak_bytes(os.getpid()), size, spent)


def _resident() -> Iterator[Finding]:
    command = (sys.executable, "-c", RESIDENT.format(series=SERIES))
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *sizes, spent = map(float, said.split())
    rise, resident, peak, size = (Figures((each / MIB,)) for each in sizes)
    yield told(f"resident memory of {SERIES} full series, beside what the daemon holds", rise, "MiB")
    name = f"resident memory of a process with the daemon's code and {SERIES} full series"
    yield at_most(name, resident, RESIDENT_GOAL, "MiB")
    yield at_most("the most of it while a checkpoint of them is made", peak, RESIDENT_GOAL, "MiB")
    yield told("the checkpoint, as it is kept", size, "MiB")
    yield told("CPU time that the checkpoint takes", Figures((spent,)), "s")


# --- replay -------------------------------------------------------------------------------------


def _replaying(folder: Path) -> Iterator[Finding]:
    for pace, goal in GOALS.items():
        server = written(folder, "judged", pace, gpus=8, processes=8, step=1, moments=3_000)
        name = f"replay from file to transitions, 8 GPUs, 8 processes each, every second, {pace}"
        yield at_least(name, _rates(server), goal, "rows/s")


def _rates(file: Path) -> Figures:
    rows = rows_of(file)
    config = load(None, {}, {})
    rates = []
    for _ in range(RUNS):
        began = time.process_time()
        play_file(file.name, file, None, config, lambda _: None)
        rates.append(rows / (time.process_time() - began))
    return Figures(tuple(rates))
