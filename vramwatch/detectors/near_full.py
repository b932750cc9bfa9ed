"""Near full with a rising floor: next to nothing is left, and what is held at rest rises."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.floors import is_material, rise
from vramwatch.core.trend import theil_sen
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import DAY, GROWING, Window


@dataclass(frozen=True, slots=True)
class NearFull:
    """Less than ``room`` of the capacity is left at the peak, and the rests of the last day never fell.

    So little time is left that ``least_points`` of them, in ``least_steps`` steps, have to do. Flat is
    never near full: what an engine took at its start is its own.
    """

    room: float = 0.05
    least_points: int = 8
    least_steps: int = 5

    SEES: ClassVar = GROWING

    def examine(self, window: Window) -> Verdict:
        lane = window.used
        times, _, values = lane.rests.since(lane.time - DAY)
        if len(values) < self.least_points:
            return Unknown("it was not at rest often enough")
        seen = rise(times, values)
        slope = theil_sen(times, values)
        is_steady = seen.is_clean and seen.steps >= self.least_steps and is_material(seen.growth, window)
        if slope is None or not is_steady or window.room > self.room * window.capacity:
            return Clear()
        room = show_bytes(max(0, round(window.room)))
        return Found(
            Evidence(
                f"{room} are left at the peak, and what is held at rest rose by "
                f"{show_bytes(round(seen.growth))} in {seen.steps} steps",
                {"growth_bytes": seen.growth, "room_bytes": window.room, "steps": seen.steps},
                window.at(times[0]),
                window.at(times[-1]),
                len(values),
            ),
            Rate(slope.low, slope.median, slope.high),
        )
