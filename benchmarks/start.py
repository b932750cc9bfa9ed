"""How long a daemon takes until its first reading is stored, and how long `status` takes to show one."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, told
from benchmarks.house import House
from benchmarks.machine import GPUS, PROCESSES, Sleepers, fill
from benchmarks.timing import BARE, milliseconds
from tests.nvml.driver import FakeDriver

TIMES = 10
GOAL = 1.0  # seconds
SETTLED = 2.0  # seconds of history for status to read


def measure() -> Iterator[Finding]:
    """Yield the time from the spawn to the first stored value, and of status beside a daemon and without."""
    with Sleepers(GPUS * PROCESSES) as sleepers, FakeDriver(gpus=GPUS) as driver:
        fill(driver, sleepers.pids)
        starts = Figures(tuple(_start(driver) for _ in range(TIMES)))
        beside, after, bare = _statuses(driver)
    yield at_most("start to first stored reading", starts, GOAL, "s")
    yield told("vramwatch status beside a daemon", beside, "ms")
    yield told("vramwatch status from a store alone", after, "ms")
    yield told("python -c pass", bare, "ms")


def _start(driver: FakeDriver) -> float:
    with tempfile.TemporaryDirectory(prefix="vramwatch-start-") as folder:
        house = House(Path(folder), driver.environment())
        began = time.monotonic()
        with house.daemon():
            return house.wait_for_readings() - began


def _statuses(driver: FakeDriver) -> tuple[Figures, Figures, Figures]:
    with tempfile.TemporaryDirectory(prefix="vramwatch-start-") as folder:
        house = House(Path(folder), driver.environment())
        with house.daemon():
            house.wait_for_readings()
            time.sleep(SETTLED)
            beside = _times(house)
        after = _times(house)
    return beside, after, Figures(tuple(milliseconds(BARE) for _ in range(TIMES)))


def _times(house: House) -> Figures:
    command = house.command("status")
    return Figures(tuple(milliseconds(command, house.environment) for _ in range(TIMES)))
