"""Daily floor: the least of a whole day and night rises from day to day, over days of any load."""

from itertools import pairwise
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import is_material
from vramwatch.core.lanes import HOUR
from vramwatch.core.traits import Traits
from vramwatch.core.trend import theil_sen
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window

DAY_HOURS = 24
MOST_DAYS = 14


class DailyFloor(BaseModel):
    """The minimum of each of the last days is above that of the day before: a day contains every load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_days: int = Field(4, ge=2, le=14, description="Number of whole days that must have been observed.")
    even: float = Field(
        0.3,
        ge=0.0,
        le=1.0,
        description=(
            "How much the day with the least rise, and the latest day, must have risen, as a "
            "share of the mean rise."
        ),
    )

    TRAITS: ClassVar = Traits(precedence=60, by_days=True)

    def examine(self, window: Window) -> Verdict:
        hours = window.used.hours
        warm = window.used.time - window.age + HOUR
        start = hours.since(warm)
        days: list[float] = []
        end = len(hours)
        while end > start and len(days) < MOST_DAYS:
            begin = hours.since((hours.index[end - 1] + 1 - DAY_HOURS) * HOUR)
            if begin < start or hours.index[end - 1] + 1 - hours.index[begin] < DAY_HOURS:
                break
            if end - begin < DAY_HOURS // 2:
                break
            days.append(min(hours.low[begin:end]))
            end = begin
        days.reverse()
        if len(days) < self.least_days:
            return Unknown(f"{len(days)} of {self.least_days} whole days after the warm-up")
        steps = [b - a for a, b in pairwise(days)]
        growth = days[-1] - days[0]
        mean = growth / len(steps)
        if not is_material(growth, window) or min(steps) < self.even * mean or steps[-1] < self.even * mean:
            return Clear()
        slope = theil_sen([24 * HOUR * i for i in range(len(days))], days)
        if slope is None:
            return Clear()
        return Found(
            Evidence(
                f"the minimum of a whole day rose on each of {len(steps)} days, by "
                f"{show_bytes(round(growth))} in all and at least {show_bytes(round(min(steps)))} a day",
                {
                    "growth_bytes": growth,
                    "days": len(days),
                    "least_day_bytes": min(steps),
                    "last_day_bytes": steps[-1],
                },
                window.at(window.used.time - 24 * HOUR * len(days)),
                window.at(window.used.time),
                len(days),
            ),
            Rate(min(steps) / (24 * HOUR), slope.median, max(steps) / (24 * HOUR)),
        )
