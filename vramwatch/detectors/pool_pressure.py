"""Pool pressure: requests wait for a KV pool that is full, minute after minute."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.model import SubjectKind
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Unknown, Verdict
from vramwatch.core.windows import PRESSED_OVER, Window


@dataclass(frozen=True, slots=True)
class PoolPressure:
    """Requests waited, or were preempted, at a full pool in this ``share`` of the last half hour."""

    share: float = 0.6

    SEES: ClassVar = frozenset({SubjectKind.PROCESS})

    def examine(self, window: Window) -> Verdict:
        if window.waiting is None:
            return Unknown("it does not say what waits")
        pool = window.pool
        if pool is None:
            return Unknown("it has no pool, or tells nothing of it")
        if window.pressed < self.share:
            return Clear()
        return Found(
            Evidence(
                f"requests wait for a full pool of {show_bytes(round(pool.capacity))}: "
                f"{window.waiting:.0f} now, in {window.pressed:.0%} of the last half hour",
                {
                    "waiting_requests": window.waiting,
                    "pressed_share": window.pressed,
                    "pool_bytes": pool.capacity,
                },
                window.at(window.now - PRESSED_OVER),
                window.at(window.now),
                1,
            ),
            None,
            (Cause.KV_CACHE,),
        )
