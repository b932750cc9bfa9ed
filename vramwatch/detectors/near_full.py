"""Near full with a rising floor: next to nothing is left, and what is held at rest rises."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import is_material, rise
from vramwatch.core.lanes import DAY
from vramwatch.core.traits import Traits
from vramwatch.core.trend import theil_sen
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window


class NearFull(BaseModel):
    """Almost nothing is left at the peak, and the rests of the last day never fell.

    Flat is never near full: what an engine took at its start is its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    room: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Nearly full: less than this share of the capacity is left at the peak.",
    )
    least_points: int = Field(8, ge=4, le=256, description="Number of rests needed within the last day.")
    least_steps: int = Field(
        5, ge=1, le=256, description="The least number of steps in which they must have risen."
    )

    TRAITS: ClassVar = Traits(precedence=150)

    def examine(self, window: Window) -> Verdict:
        lane = window.used
        times, _, values = lane.rests.since(lane.time - DAY)
        if len(values) < self.least_points:
            return Unknown("it was not at rest often enough")
        seen = rise(times, values)
        is_steady = seen.is_clean and seen.steps >= self.least_steps and is_material(seen.growth, window)
        if not is_steady or window.room > self.room * window.capacity:
            return Clear()
        slope = theil_sen(times, values)
        if slope is None:
            return Clear()
        room = show_bytes(max(0, round(window.room)))
        return Found(
            Evidence(
                f"{room} are left at the peak, and memory held at rest rose by "
                f"{show_bytes(round(seen.growth))} in {seen.steps} steps",
                {"growth_bytes": seen.growth, "room_bytes": window.room, "steps": seen.steps},
                window.at(times[0]),
                window.at(times[-1]),
                len(values),
            ),
            Rate(slope.low, slope.median, slope.high),
        )
