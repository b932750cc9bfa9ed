"""What each call of the driver costs, and a whole poll: the real reader in this process, with a stop-watch.

    python -m benchmarks.gpu.calls POLLS

Standard output is one JSON object: {"functions": {name: {"calls": a poll, "wall": seconds, "cpu": seconds}},
"poll": {"wall": […], "cpu": […]}}; of a function the medians of one call.
"""

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from vramwatch.driver.calls import Driver, Target
from vramwatch.driver.reader import Reader
from vramwatch.driver.wire import Request, Slot


class TimedDriver(Driver):
    """Keeps the wall and the processor time of every call, by the function's name."""

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot)
        self.wall: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)

    def _make(
        self,
        group: str,
        target: Target,
        label: bytes,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return super()._make(group, target, label, function, arguments)
        finally:
            name = label.decode()
            self.wall[name].append(time.perf_counter() - wall)
            self.cpu[name].append(time.thread_time() - cpu)


def main(polls: int) -> None:
    driver = TimedDriver(Slot(Slot.create()))
    reader = Reader(driver, {})
    reader.answer(Request(None, True, {}))
    driver.wall.clear()
    driver.cpu.clear()
    wall, cpu = [], []
    for _ in range(polls):
        began, used = time.perf_counter(), time.thread_time()
        reader.answer(Request(None, False, {}))
        wall.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - used)
        time.sleep(0.05)
    reader.close()
    functions = {
        name: {
            "calls": len(each) / polls,
            "wall": statistics.median(each),
            "cpu": statistics.median(driver.cpu[name]),
        }
        for name, each in driver.wall.items()
        if len(each) >= polls
    }
    print(json.dumps({"functions": functions, "poll": {"wall": wall, "cpu": cpu}}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
