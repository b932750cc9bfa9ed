"""What the daemon costs beside its peers: all watch the same processes at the same time, once a second."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, not_measured, told
from benchmarks.house import House
from benchmarks.machine import GPUS, PROCESSES, fill, moving, sleepers
from benchmarks.processes import KIB, Use, use_of
from tests.nvml.driver import FakeDriver

PEERS = Path("build/peers/bin")
LOOP = "benchmarks/peer_loop.py"

WARM_UP = 15.0  # seconds: everybody has started, and lists and slow values were read once
WINDOW = 10.0  # seconds: two readings of every list
WINDOWS = 9

MEMORY_GOAL = 110.0  # MiB, of the daemon and its reader together
CALLS_GOAL = 16.0  # driver calls a second while no memory moves
MIB = KIB**2
MILLI = 1000.0
DAY = 86400.0

PEER_GOALS = {"nvitop-exporter": 1 / 5, "gpustat new_query": 1 / 4, "nvitop take_snapshots": 1 / 4}
"""The daemon's CPU time as a part of the peer's, at most."""


@dataclass(slots=True)
class Contender:
    """Somebody who watches. ``driver`` is its own, so that its calls can be counted."""

    name: str
    process: subprocess.Popen[bytes]
    driver: FakeDriver


@dataclass(frozen=True, slots=True)
class Window:
    """What a contender used within one window, a second. ``calls``: of the driver."""

    use: Use
    calls: float
    seconds: float


def measure() -> Iterator[Finding]:
    for name, moves in (("flat", False), ("moving", True)):
        yield from _measure(name, moves)


def _measure(memory: str, moves: bool) -> Iterator[Finding]:
    with ExitStack() as place:
        pids = place.enter_context(sleepers(GPUS * PROCESSES))
        folder = Path(place.enter_context(tempfile.TemporaryDirectory(prefix="vramwatch-cost-")))
        contenders = [place.enter_context(_daemon(folder, pids))]
        contenders += (place.enter_context(_peer(name, folder, pids)) for name in PEER_GOALS if _installed())
        drivers = [contender.driver for contender in contenders]
        place.enter_context(moving(drivers, pids) if moves else nullcontext())
        time.sleep(WARM_UP)
        windows = _watch(contenders)
        ended = [one.name for one in contenders if one.process.poll() is not None]
    yield from _of_daemon(memory, moves, windows["vramwatch"])
    for name, limit in PEER_GOALS.items():
        if name in windows and name not in ended:
            yield from _beside(memory, name, limit, windows)
        else:
            why = "it ended while it was watched" if name in ended else "make bench installs it in build/peers"
            yield not_measured(f"{memory}: CPU beside {name}", why)


def _watch(contenders: Sequence[Contender]) -> dict[str, list[Window]]:
    """Return what each contender used, window by window; one that ends is left out from there on."""
    windows: dict[str, list[Window]] = {one.name: [] for one in contenders}
    before = [_now(one) for one in contenders]
    for _ in range(WINDOWS):
        time.sleep(WINDOW)
        after = [_now(one) for one in contenders]
        for contender, (was, calls, at), (is_now, calls_now, now) in zip(
            contenders, before, after, strict=True
        ):
            windows[contender.name].append(Window(is_now - was, calls_now - calls, now - at))
        before = after
    return windows
