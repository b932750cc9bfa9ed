"""Whether the daemon's memory stays flat: the real one, with a clock that does not wait.

Its reader is a process of its own, as always; the GPUs' memory moves between any two polls, and now and
then a process ends and another takes its place.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, slope, told
from benchmarks.machine import GPUS, PROCESSES, Sleepers, fill
from benchmarks.processes import descendants, handed_bytes, rss_bytes
from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, MIB
from vramwatch import __version__
from vramwatch.assembly import assemble, watch
from vramwatch.config import load
from vramwatch.core.model import Instant
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.daemon import Daemon
from vramwatch.store import Store

POLLS = 100_000
SAMPLE_EVERY = 5_000  # polls
POLLS_A_DAY = 86_400
RENEW_EVERY = 100  # polls: 36 restarts an hour on the whole server
START = 1_700_000_000.0  # unix seconds; any moment will do

FLAT = 1.0
"""MiB that the memory may rise over all polls, extrapolated from the second half: noise of the allocator."""


class HandClock:
    """A clock that is moved by each poll and calls ``between`` before it. Implements core.ports.Clock."""

    lag = Seconds(0.0)  # a clock that waits for the poll is never ahead of it

    def __init__(self, first_seq: int, last_seq: int, between: Callable[[int], None]) -> None:
        self._seq = first_seq - 1
        self._last_seq = last_seq
        self._seconds = 0.0
        self._between = between

    def now(self) -> Instant:
        self._seq += 1
        return Instant(self._seq, START + self._seconds, self._seconds, "benchmark")

    def wait(self, interval: Seconds) -> Instant | None:
        if self._seq >= self._last_seq:
            return None
        self._seconds += interval
        self._between(self._seq)
        return self.now()

    def wake(self) -> None:
        """Nobody waits."""

    def stop(self) -> None:
        self._last_seq = self._seq


class Curve:
    """Moves the machine along before each poll and notes what the daemon holds. Polls, MiB."""

    def __init__(self, driver: FakeDriver, sleepers: Sleepers, renew_every: int | None) -> None:
        """``renew_every``: polls after which a process ends and another begins; None: never."""
        self.daemon: list[tuple[int, float]] = []
        self.reader: list[tuple[int, float]] = []
        self.handed: list[tuple[int, float]] = []  # to the kernel, to be written; bytes
        self._driver = driver
        self._sleepers = sleepers
        self._renew_every = renew_every

    def move(self, poll: int) -> None:
        if self._renew_every and poll % self._renew_every == 0:
            self._sleepers.renew(poll // self._renew_every % (GPUS * PROCESSES))
        pids = self._sleepers.pids
        fill(self._driver, pids, float(poll))
        if poll and poll % SAMPLE_EVERY == 0:
            (reader,) = set(descendants(os.getpid())) - set(pids)
            self.daemon.append((poll, rss_bytes(os.getpid()) / MIB))
            self.reader.append((poll, rss_bytes(reader) / MIB))
            self.handed.append((poll, handed_bytes(os.getpid())))


def measure() -> Iterator[Finding]:
    """Yield what both processes hold poll by poll, the rise over the second half, and the store's growth."""
    yield from _measure("the same processes", None)
    yield from _measure("36 restarts an hour", RENEW_EVERY)


def _measure(what: str, renew_every: int | None) -> Iterator[Finding]:
    with ExitStack() as place:
        sleepers = place.enter_context(Sleepers(GPUS * PROCESSES))
        driver = place.enter_context(FakeDriver(gpus=GPUS))
        place.enter_context(_found_by_children(driver))
        folder = Path(place.enter_context(tempfile.TemporaryDirectory(prefix="vramwatch-memory-")))
        curve = Curve(driver, sleepers, renew_every)
        stored = _run(folder / "vramwatch.db", curve.move)
    for name, points in (("daemon", curve.daemon), ("reader", curve.reader)):
        yield Finding(f"{what}: resident memory of the {name}", _listed(points))
        rise = Figures((_late_slope(points) * POLLS,))
        yield at_most(f"{what}: its rise over {POLLS} polls, by the second half", rise, FLAT, "MiB")
    yield told(f"{what}: growth of the store", Figures((stored / POLLS,)), "bytes a poll")
    a_day = Figures((_late_slope(curve.handed) * POLLS_A_DAY / GIB,))
    yield told(f"{what}: handed to the kernel to be written, second half", a_day, "GiB a day")


def _run(store_path: Path, between: Callable[[int], None]) -> int:
    """Let the daemon take all polls; return the bytes of its store."""
    config = load(None, {}, {})
    store = Store.open(store_path, config.source_name, __version__)
    live = config.source.open(store.newest())
    feed = Feed(live.source, live.people, HandClock(store.next_seq(), POLLS, between), live=True)
    Daemon(feed, assemble(config, feed, {}), watch(config), store).run()
    return store_path.stat().st_size


@contextmanager
def _found_by_children(driver: FakeDriver) -> Iterator[None]:
    """Let the processes that this one starts meanwhile find ``driver``."""
    before = dict(os.environ)
    os.environ.update(driver.environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _late_slope(points: Sequence[tuple[int, float]]) -> float:
    """Return the rise a poll over the second half, when all that is bounded has filled up."""
    return slope(points[len(points) // 2 :])


def _listed(points: Sequence[tuple[int, float]]) -> str:
    return " ".join(f"{mib:.1f}" for _, mib in points) + f" MiB, every {SAMPLE_EVERY} polls"
