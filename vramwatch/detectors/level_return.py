"""Levels that return shifted: the memory comes back to equal states, each time a little higher."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.lanes import DAY
from vramwatch.core.recurrence import Return
from vramwatch.core.traits import Traits
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window

FOLLOWS = 0.25
"""The share of what half a day loses at the rate by which the floor of days must have risen at least."""


class LevelReturn(BaseModel):
    """Pairs of equal states agree on the rate at which memory grows.

    See core.recurrence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    majority: float = Field(
        4.0,
        ge=1.0,
        le=100.0,
        description=(
            'How many times the votes of its rival a rate needs. The rival is "no growth" or the '
            "same rate downwards, and has at least one vote."
        ),
    )
    lead: float = Field(2.5, ge=0.0, le=100.0, description="Votes that are needed in addition.")
    accuracy: float = Field(
        0.1,
        ge=0.01,
        le=1.0,
        description="Assumed error of the rate, as a share; it widens the forecast's interval.",
    )

    TRAITS: ClassVar = Traits(precedence=30, at_rest=True)

    def examine(self, window: Window) -> Verdict:
        lane = window.used
        if not window.tells_load and lane.time - lane.began < DAY:
            return Unknown("the load is not known, and a day, which has every load, is not over")
        found: list[tuple[Return, float, str]] = []
        least = self.majority + self.lead
        if peak := lane.returns.by_time.peak(least):
            found.append((peak, peak.rate, "by the clock"))
        if peak := lane.returns.by_work.peak(least):
            found.append((peak, peak.rate * lane.pace(DAY), "by the work done"))
        if not found:
            return Unknown("too few equal states have returned")
        best, rate, how = max(found, key=lambda each: each[0].majority)
        if best.votes < self.majority * max(best.rival, 1.0) + self.lead:
            return Clear()
        if not _daily_floor_follows(window, rate):
            return Clear()
        return Found(
            Evidence(
                f"returns to equal states agree that {show_bytes(round(rate * 3600))} an hour stay behind, "
                f"{how}: {best.votes:.0f} pairs agree, {best.unchanged:.0f} show none",
                {
                    "votes": best.votes,
                    "votes_unchanged": best.unchanged,
                    "votes_falling": best.falling,
                    "rate_bytes_per_second": rate,
                },
                window.at(lane.began),
                window.at(lane.time),
                round(best.votes),
            ),
            Rate(rate * (1 - self.accuracy), rate, rate * (1 + self.accuracy)),
        )


def _daily_floor_follows(window: Window, rate: float) -> bool:
    """Return whether the floor of the last half day lies above that of the day before, where there was one.

    Every level has risen, so the lowest has.
    """
    lane = window.used
    half = DAY / 2
    if lane.time - lane.began < 2 * DAY:
        return True
    now, before = lane.floor(lane.time - half, lane.time), lane.floor(lane.time - 3 * half, lane.time - half)
    return now is None or before is None or now - before >= FOLLOWS * rate * half
