"""The clock of the simulated server: hurries through the past, then goes on with the present."""

from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX
from time import monotonic

from vramwatch.core.model import Instant
from vramwatch.core.units import Seconds
from vramwatch.scenario.server import UPTIME


class SimulatedClock:
    """A core.ports.Clock that is behind the present at first and runs at ``speed`` until it has caught up.

    In the past no moment is missed: each wait moves the time by exactly its interval and lasts at
    least ``interval / speed``, so what is polled does not depend on the machine. Once the present is
    reached the time goes on as a real one and is never ahead of it. After ``end`` it has ended.
    """

    lag = Seconds(0.0)  # simulated time is late for nobody

    def __init__(
        self,
        *,
        begin: float,
        boot_id: str,
        first_seq: int,
        speed: float = 1.0,
        start: Seconds = Seconds(0),
        reached: Seconds = Seconds(0),
        is_read: bool = False,
        end: Seconds | None = None,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """``begin``: unix seconds at which the simulated time begins, from which all others count.

        ``start``: the present; ``reached``: from when on it is to be read; ``is_read``: that moment itself
        was read before; ``monotonic``: the real seconds.
        """
        self._begin = begin
        self._boot_id = boot_id
        self._seq = first_seq
        self._speed = speed
        self._start = start
        self._end = inf if end is None else end
        self._monotonic = monotonic
        self._opened = self._due = monotonic()
        self._time = reached
        self._polled = is_read
        self._caught_up = False
        self._stopped = False
        self._calls: SimpleQueue[None] = SimpleQueue()  # put() is reentrant, so a signal may call it

    def now(self) -> Instant:
        """Return the present; in the simulated past the time stands still between two polls."""
        return self._instant(max(self._time, self._present()) if self._caught_up else self._time)

    def wait(self, interval: Seconds) -> Instant | None:
        """Return the Instant of the next poll, the first one at once; None at the end or after ``stop``."""
        target = Seconds(self._time + interval) if self._polled else self._time
        if target > self._end:
            return None
        self._rest_until_due(target, interval)
        self._polled = True
        return None if self._stopped else self._instant(self._time)

    def wake(self) -> None:
        self._calls.put(None)

    def stop(self) -> None:
        self._stopped = True
        self._calls.put(None)

    def _rest_until_due(self, target: Seconds, interval: Seconds) -> None:
        self._caught_up = self._caught_up or target > self._present()
        if self._caught_up:
            self._rest_until(self._opened + target - self._start)
            late = self._present() - target
            self._time = target if 0 <= late < interval else Seconds(target + late)
        elif self._polled:
            self._due = max(self._due + interval / self._speed, self._monotonic())
            self._rest_until(self._due)
            self._time = target

    def _present(self) -> Seconds:
        return Seconds(self._start + self._monotonic() - self._opened)

    def _rest_until(self, moment: float) -> None:
        while not self._stopped and (left := moment - self._monotonic()) > 0:
            try:
                self._calls.get(timeout=min(left, TIMEOUT_MAX))
            except Empty:
                continue
            break
        while not self._calls.empty():
            self._calls.get_nowait()

    def _instant(self, time: Seconds) -> Instant:
        self._seq += 1
        return Instant(self._seq - 1, self._begin + time, UPTIME + time, self._boot_id)
