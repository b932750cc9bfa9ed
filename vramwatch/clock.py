"""The real clock: monotonic deadlines, boot time for durations, wall time for people."""

import time
from pathlib import Path
from queue import Empty, SimpleQueue

from vramwatch.core.model import Instant
from vramwatch.core.units import Seconds

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """Return the kernel's id of this boot; "unknown" where it has none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


class MonotonicClock:
    """Waits on the monotonic clock, so that a step of the wall clock moves no poll.

    Implements core.ports.Clock.
    """

    def __init__(self, first_seq: int) -> None:
        self._seq = first_seq - 1
        self._boot_id = read_boot_id()
        self._due = time.monotonic()
        self._calls: SimpleQueue[None] = SimpleQueue()  # put() is reentrant: a signal handler may call it
        self._stopped = False
        self.lag = Seconds(0.0)

    def now(self) -> Instant:
        self._seq += 1
        return Instant(self._seq, time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), self._boot_id)

    def wait(self, interval: Seconds) -> Instant | None:
        self._due += interval
        rest = self._due - time.monotonic()
        if rest > 0 and not self._stopped:
            if self._is_called_within(rest):
                self._due = time.monotonic()
            self.lag = Seconds(0.0)
        else:
            self.lag = Seconds(max(0.0, -rest))
            self._due = time.monotonic()
        return None if self._stopped else self.now()

    def wake(self) -> None:
        self._calls.put(None)

    def stop(self) -> None:
        self._stopped = True
        self._calls.put(None)

    def _is_called_within(self, seconds: float) -> bool:
        try:
            self._calls.get(timeout=seconds)
        except Empty:
            return False
        while not self._calls.empty():
            self._calls.get_nowait()
        return True
