"""What the daemon costs beside its peers: all watch the same processes at the same time, once a second."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from benchmarks.findings import Figures, Finding, at_most, not_measured, told
from benchmarks.house import House
from benchmarks.machine import GPUS, PROCESSES, Sleepers, fill, moving
from benchmarks.processes import Use, use_of
from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, MIB

WARM_UP = 15.0  # seconds: everybody has started, and lists and slow values were read once
WINDOW = 15.0  # seconds: three readings of every list
WINDOWS = 6

MEMORY_GOAL = 110.0  # MiB, of the daemon and its reader together
CALLS_GOAL = 16.0  # driver calls a second while no memory moves
MILLI = 1000
DAY = 86400  # seconds

OURS = "vramwatch"
PEERS = Path("build/peers/bin")
LOOP = (str(PEERS / "python"), "benchmarks/peer_loop.py")
PEER_COMMANDS = {
    "nvitop-exporter": (str(PEERS / "nvitop-exporter"), "--interval", "1", "--port"),
    "gpustat": (*LOOP, "gpustat", "new_query"),
    "nvitop": (*LOOP, "nvitop", "take_snapshots"),
}
PEER_GOALS = {"nvitop-exporter": 1 / 5, "gpustat": 1 / 4, "nvitop": 1 / 4}
"""The daemon's CPU time as a part of the peer's, at most."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who watches. ``driver`` is its own, so that its calls can be counted."""

    name: str
    process: subprocess.Popen[bytes]
    driver: FakeDriver


@dataclass(frozen=True, slots=True)
class Mark:
    """What a contender had used at one moment. Monotonic seconds; ``calls`` of its driver."""

    at: float
    use: Use
    calls: int


def measure() -> Iterator[Finding]:
    """Yield what the daemon uses, and its CPU beside each peer's, for memory that rests and that moves."""
    yield from _measure("flat")
    yield from _measure("moving")


def _measure(memory: Literal["flat", "moving"]) -> Iterator[Finding]:
    with ExitStack() as place:
        pids = place.enter_context(Sleepers(GPUS * PROCESSES)).pids
        folder = Path(place.enter_context(tempfile.TemporaryDirectory(prefix="vramwatch-cost-")))
        contenders = [place.enter_context(_daemon(folder, pids))]
        if PEERS.exists():
            contenders += [place.enter_context(_peer(name, folder, pids)) for name in PEER_COMMANDS]
        if memory == "moving":
            place.enter_context(moving([one.driver for one in contenders], pids))
        time.sleep(WARM_UP)
        marks = _watch([one for one in contenders if one.process.poll() is None])
    yield from _of_daemon(memory, marks[OURS])
    yield from _beside_peers(memory, marks)


def _watch(contenders: Sequence[Contender]) -> dict[str, list[Mark]]:
    """Return what each had used at the borders of the windows. Errors: OSError when one ends meanwhile."""
    marks: dict[str, list[Mark]] = {one.name: [] for one in contenders}
    for number in range(1 + WINDOWS):
        time.sleep(WINDOW if number else 0.0)
        for one in contenders:
            marks[one.name].append(Mark(time.monotonic(), use_of(one.process.pid), one.driver.total_calls()))
    return marks


def _rate(marks: Sequence[Mark], count: Callable[[Mark], float]) -> Figures:
    """Return how much ``count`` grew a second, window by window."""
    return Figures(tuple((count(b) - count(a)) / (b.at - a.at) for a, b in pairwise(marks)))


def _cpu(marks: Sequence[Mark]) -> Figures:
    return _rate(marks, lambda mark: mark.use.cpu * MILLI)


def _of_daemon(memory: str, marks: Sequence[Mark]) -> Iterator[Finding]:
    yield told(f"{memory}: CPU of the daemon and its reader", _cpu(marks), "ms/s")
    resident = Figures(tuple(mark.use.rss / MIB for mark in marks))
    yield at_most(f"{memory}: resident memory of both", resident, MEMORY_GOAL, "MiB")
    calls = _rate(marks, lambda mark: mark.calls)
    if memory == "flat":
        yield at_most("flat: driver calls", calls, CALLS_GOAL, "/s")
    else:
        yield told(f"{memory}: driver calls", calls, "/s")
    yield told(f"{memory}: wakeups", _rate(marks, lambda mark: mark.use.wakeups), "/s")
    written = _rate(marks, lambda mark: mark.use.written * DAY / GIB)
    yield told(f"{memory}: written to disk by a store minutes old", written, "GiB a day")


def _beside_peers(memory: str, marks: Mapping[str, Sequence[Mark]]) -> Iterator[Finding]:
    for peer, limit in PEER_GOALS.items():
        name = f"{memory}: CPU as a part of {peer}'s"
        if peer not in marks:
            why = "it ended by itself" if PEERS.exists() else f"not in {PEERS}; make bench installs it"
            yield not_measured(name, why)
            continue
        yield told(f"{memory}: CPU of {peer}", _cpu(marks[peer]), "ms/s")
        yield told(f"{memory}: driver calls of {peer}", _rate(marks[peer], lambda mark: mark.calls), "/s")
        yield at_most(name, _cpu(marks[OURS]).over(_cpu(marks[peer])), limit)


@contextmanager
def _daemon(folder: Path, pids: Sequence[int]) -> Iterator[Contender]:
    with FakeDriver(gpus=GPUS) as driver:
        fill(driver, pids)
        with House(folder, driver.environment()).daemon() as process:
            yield Contender(OURS, process, driver)


@contextmanager
def _peer(name: str, folder: Path, pids: Sequence[int]) -> Iterator[Contender]:
    command = [*PEER_COMMANDS[name], *([_free_port()] if name == "nvitop-exporter" else [])]
    with FakeDriver(gpus=GPUS) as driver, (folder / f"{name}.log").open("wb") as log:
        fill(driver, pids)
        environment = {**os.environ, **driver.environment()}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield Contender(name, process, driver)
        finally:
            process.kill()
            process.wait()


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])
