"""Near full with a rising floor: next to nothing is left, and the least of every hour rises."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from vramwatch.core.floors import QUANTUM, is_material
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import GROWING, HOUR, Window


@dataclass(frozen=True, slots=True)
class NearFull:
    """Less than ``room`` of the capacity is left at the peak, and each of the last ``hours`` had a higher floor.

    Flat is never near full: what an engine took at its start is its own.
    """

    room: float = 0.05
    hours: int = 6

    SEES: ClassVar = GROWING

    def examine(self, window: Window) -> Verdict:
        hours = window.used.hours
        lows = list(hours.low[-self.hours :])
        if len(lows) < self.hours or window.age < (self.hours + 1) * HOUR:
            return Unknown("it has not been watched long enough")
        growth = lows[-1] - lows[0]
        steps = [later - earlier for earlier, later in pairwise(lows)]
        if (
            window.room > self.room * window.capacity
            or min(steps) < QUANTUM
            or not is_material(growth, window)
        ):
            return Clear()
        rate = growth / (HOUR * len(steps))
        return Found(
            Evidence(
                f"{show_bytes(round(max(0, window.room)))} are left at the peak, and the least of each of the last "
                f"{self.hours} hours was higher than the one before, by {show_bytes(round(growth))} in all",
                {"growth_bytes": growth, "room_bytes": window.room, "hours": len(lows)},
                window.at(window.now - HOUR * self.hours),
                window.at(window.now),
                len(lows),
            ),
            Rate(min(steps) / HOUR, rate, max(steps) / HOUR),
        )
