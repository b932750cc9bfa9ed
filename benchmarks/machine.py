"""A server to measure on: real processes that hold the memory of GPUs that are not there."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import pi, sin
from typing import Self

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import MIB, Process

GPUS, PROCESSES = 8, 8
"""The full server: GPUs, and processes on each."""

FILLED = 0.8  # part of each GPU that is in use
SWING = 0.1  # by which a moving process grows and shrinks, as part of itself
TURN = 60.0  # seconds from one peak to the next
QUANTUM = 2 * MIB  # in which the driver hands out memory
STEP = 0.25  # seconds between two movements: between any two polls a second apart every GPU has moved


class Sleepers:
    """Real processes that do nothing; they end with this one, however it ends."""

    def __init__(self, count: int) -> None:
        self._started = [_sleeper() for _ in range(count)]

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self._started]

    def renew(self, place: int) -> None:
        """End the process in ``place`` and start another instead."""
        self._started[place].communicate()
        self._started[place] = _sleeper()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._started:
            one.communicate()


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE)


def fill(driver: FakeDriver, pids: Sequence[int], seconds: float = 0.0) -> None:
    """Share each GPU among its part of ``pids``, as it stands after ``seconds`` of movement."""
    each = len(pids) // len(driver.gpus)
    with driver.changing():
        for slot, gpu in enumerate(driver.gpus):
            size = FILLED * gpu.total / each
            gpu.set_processes(
                Process(pid, round(size * _swing(seconds, slot, rank / each) / QUANTUM) * QUANTUM)
                for rank, pid in enumerate(pids[slot * each : (slot + 1) * each])
            )


def _swing(seconds: float, slot: int, part: float) -> float:
    """The processes of a GPU are spread over half a turn: over a whole one, their sum would not move."""
    return 1 + SWING * sin(2 * pi * (seconds / TURN + slot / GPUS + part / 2))


@contextmanager
def moving(drivers: Sequence[FakeDriver], pids: Sequence[int]) -> Iterator[None]:
    """Let the memory of ``drivers`` grow and shrink meanwhile, process by process."""
    over = threading.Event()

    def move() -> None:
        seconds = 0.0
        while not over.wait(STEP):
            seconds += STEP
            for driver in drivers:
                fill(driver, pids, seconds)

    mover = threading.Thread(target=move, name="mover")
    mover.start()
    try:
        yield
    finally:
        over.set()
        mover.join()
