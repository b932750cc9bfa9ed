"""A keeper of real readers over the test driver, polled with handed-in time."""

import os
import random
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import MIB, Process
from tests.waiting import PATIENCE
from vramwatch.core.model import Ask, FaultKind, Instant, MemoryBasis, Reading, Readings
from vramwatch.core.units import Seconds
from vramwatch.driver.keeper import Keeper

DEADLINE, START_DEADLINE = Seconds(1.0), Seconds(10.0)

EVERYTHING = Ask(lists=None, slow=True)
MEMORY_ALONE = Ask(lists=frozenset(), slow=False)
WITH_LISTS = Ask(lists=None, slow=False)


class Polls:
    """Reads through a Keeper at instants that the test chooses. Seconds."""

    def __init__(self, deadline: float = DEADLINE, start_deadline: float = START_DEADLINE) -> None:
        self.keeper = Keeper(Seconds(deadline), Seconds(start_deadline))
        self.now = 1000.0
        self._seq = 0

    def poll(self, ask: Ask = EVERYTHING, after: float = 1.0) -> Readings:
        self._seq += 1
        self.now += after
        return self.keeper.read(Instant(self._seq, self.now, self.now, "boot"), ask)

    def until_answered(self, ask: Ask = EVERYTHING) -> Readings:
        """Return the first poll to which a reader answers; starts may take several."""
        deadline = time.monotonic() + PATIENCE
        events = []
        while True:
            readings = self.poll(ask, after=0.5)
            events += readings.events
            if not any(missing.gpu is None for missing in readings.missing):
                return Readings(
                    readings.gpus,
                    readings.missing,
                    tuple(events),
                    readings.driver_seconds,
                    readings.driver_calls,
                )
            assert time.monotonic() < deadline, readings

    def reader(self) -> psutil.Process:
        """Return the one reader process that this process has."""
        (child,) = psutil.Process().children()
        return child


@contextmanager
def polling(
    driver: FakeDriver, deadline: float = DEADLINE, start_deadline: float = START_DEADLINE
) -> Iterator[Polls]:
    """Yield Polls whose readers find ``driver``."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in driver.environment().items():
            environment.setenv(name, value)
        polls = Polls(deadline, start_deadline)
        try:
            yield polls
        finally:
            driver.clear_faults()
            polls.keeper.close()


def wait_for_end(pid: int) -> None:
    """Return when ``pid``, a child of this process, has ended; it is not reaped."""
    with contextfd(os.pidfd_open(pid)) as fd:
        ready, _, _ = select.select([fd], [], [], PATIENCE)
    assert ready, f"{pid} still lives"


@contextmanager
def contextfd(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def tells_the_truth(reading: Reading, driver: FakeDriver) -> bool:
    """Whether ``reading`` is to the byte what the test driver holds."""
    (gpu,) = [gpu for gpu in driver.gpus if gpu.uuid == reading.gpu.uuid]
    memory, claims = reading.memory, reading.claims or ()
    told = {(claim.pid, claim.used) for claim in claims}
    return (
        memory.basis is MemoryBasis.V2
        and (memory.total, memory.used) == (gpu.total, gpu.used)
        and memory.used + memory.reserved + memory.free == memory.total
        and len(claims) == len(gpu.processes)
        and told == {(one.pid, one.used) for one in gpu.processes}
    )


def kill_at_random(driver: FakeDriver, rounds: int, seed: int) -> dict[str, int]:
    """Kill the reader ``rounds`` times at random moments of a poll and compare all that it says.

    Returns how many polls were answered truly and how many were gaps, by reason. Errors: AssertionError
    for a reading that is not the truth or a poll without readings and without a reason.
    """
    chance = random.Random(seed)
    counts = {"kills": 0, "true polls": 0, "gaps: crashed": 0, "gaps: starting": 0}
    with polling(driver) as polls:
        while counts["kills"] < rounds:
            _move_memory(driver, chance)
            readings = polls.poll(after=61.0)
            _judge(readings, driver, counts)
            if not readings.gpus:
                continue
            _move_memory(driver, chance)
            with _killing(polls.reader().pid, after=chance.uniform(0.0, 0.002)):
                readings = polls.poll(after=1.0)
            _judge(readings, driver, counts)
            counts["kills"] += 1
    return counts


def _move_memory(driver: FakeDriver, chance: random.Random) -> None:
    with driver.changing():
        for gpu in driver.gpus:
            count = chance.randrange(0, 9)
            gpu.set_processes(Process(1000 + n, chance.randrange(1, 4096) * 2 * MIB) for n in range(count))


def _judge(readings: Readings, driver: FakeDriver, counts: dict[str, int]) -> None:
    if readings.gpus:
        assert not readings.missing
        assert len(readings.gpus) == len(driver.gpus)
        assert all(tells_the_truth(reading, driver) for reading in readings.gpus), readings
        counts["true polls"] += 1
        return
    (missing,) = readings.missing
    reasons = {FaultKind.CRASHED: "gaps: crashed", FaultKind.STARTING: "gaps: starting"}
    assert missing.fault.kind in reasons, missing
    counts[reasons[missing.fault.kind]] += 1


@contextmanager
def _killing(pid: int, after: float) -> Iterator[None]:
    with contextfd(os.pidfd_open(pid)) as fd:
        timer = threading.Timer(after, signal.pidfd_send_signal, (fd, signal.SIGKILL))
        timer.start()
        try:
            yield
        finally:
            timer.join()
