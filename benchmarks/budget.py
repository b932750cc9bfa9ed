"""Whether the budget of driver time holds when every process list is slow and all memory moves."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, told
from benchmarks.house import House
from benchmarks.machine import GPUS, PROCESSES, Sleepers, fill, moving
from tests.nvml.driver import FakeDriver
from tests.nvml.state import FUNCTIONS

LISTS = tuple(name for name in FUNCTIONS if "RunningProcess" in name)
DELAY = 5000  # microseconds in every call that lists processes
WARM_UP = 60.0  # seconds: what reading everything at the start has cost is paid back
SPAN = 180.0  # seconds
SHARE_GOAL = 0.5  # percent of wall time: the default of poll.driver_share
SENTENCE = "Reading more slowly"
MICRO = 1e-6
PERCENT = 100


def measure() -> Iterator[Finding]:
    """Yield the share of time inside calls as the driver counts it, and what the daemon says of it."""
    with ExitStack() as place:
        pids = place.enter_context(Sleepers(GPUS * PROCESSES)).pids
        driver = place.enter_context(FakeDriver(gpus=GPUS))
        fill(driver, pids)
        for name in LISTS:
            driver.delay(name, DELAY)
        folder = place.enter_context(tempfile.TemporaryDirectory(prefix="vramwatch-budget-"))
        house = House(Path(folder), driver.environment())
        place.enter_context(house.daemon())
        place.enter_context(moving([driver], pids))
        time.sleep(WARM_UP)
        before, began = _list_calls(driver), time.monotonic()
        time.sleep(SPAN)
        calls, seconds = _list_calls(driver) - before, time.monotonic() - began
        pace = json.loads(house.say("status", "--format", "json"))["pace"]
        says_so = SENTENCE in house.say("status")
    spent = Figures((calls * DELAY * MICRO / seconds * PERCENT,))
    yield at_most("slow lists: time inside list calls, by the driver's count", spent, SHARE_GOAL, "%")
    claimed = Figures((pace["driver_share_ratio"] * PERCENT,))
    yield at_most("slow lists: time inside all calls, as the daemon says", claimed, SHARE_GOAL, "%")
    yield told("slow lists: calls that list processes", Figures((calls / seconds,)), "/s")
    yield told("slow lists: interval between lists", Figures((pace["list_interval_seconds"],)), "s")
    because = str(pace["lowered_because"])
    yield Finding("slow lists: status says that the rates fell", because, "it says so", says_so)


def _list_calls(driver: FakeDriver) -> int:
    return sum(map(driver.calls, LISTS))
