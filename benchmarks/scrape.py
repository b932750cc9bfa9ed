"""What a scrape of a large server costs: 8 GPUs with 64 owners each, over HTTP, in both formats."""

import time
from collections.abc import Iterator
from itertools import cycle
from statistics import median

from benchmarks.findings import Figures, Finding, at_most, told
from tests.polls import gpu, holding, instant, ledger, owner, tenant
from tests.scrapes import OPENMETRICS, ask, board, serving
from vramwatch.core.model import Holding, Instant, Ledger, Pod
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, Bytes

GPUS, OWNERS = 8, 64
SCRAPES, RUNS = 20, 5
GOAL = 20.0
"""Milliseconds of CPU a scrape may take."""


def measure() -> Iterator[Finding]:
    boards = cycle((board(_poll()), board(_poll())))  # another each time, as after another poll
    with serving(lambda: next(boards)) as port:
        for name, accept in (("text", "text/plain"), ("OpenMetrics", OPENMETRICS)):
            size = len(ask(port, Accept=accept)[2])
            runs = Figures(tuple(_cpu(port, accept) for _ in range(RUNS)))
            yield at_most(f"a scrape of {GPUS} GPUs x {OWNERS} owners, {name}, CPU", runs, GOAL, "ms")
            yield told(f"its size, {name}", Figures((size / 1024,)), "KiB")


def _cpu(port: int, accept: str) -> float:
    """Return the CPU time of one scrape in milliseconds, of server and client together."""
    times = []
    for _ in range(SCRAPES):
        before = time.process_time()
        ask(port, Accept=accept)
        times.append(1000 * (time.process_time() - before))
    return median(times)


def _poll() -> Poll:
    at = instant(1)
    return Poll(at, tuple(_ledger(at, number) for number in range(GPUS)))


def _ledger(at: Instant, number: int) -> Ledger:
    def one(pid: int) -> Holding:
        pod = Pod(f"uid-{pid}", f"chat-{pid}-7d9f8c6b5-x2x9z", "prod", "server")
        return holding(pid, Bytes(GIB), tenant=tenant(pid, owner(f"chat-{pid}"), pod=pod))

    return ledger(at, *(one(1000 * number + each) for each in range(OWNERS)), on=gpu(number))
