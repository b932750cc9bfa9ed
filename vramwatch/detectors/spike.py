"""Spike: a repeat of the largest one of the last days would not fit what is free today."""

from itertools import pairwise
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.lanes import DAY, HOUR
from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Unknown, Verdict
from vramwatch.core.windows import Window

SIMILAR = 0.7
"""A spike of this share of another's height is of its size."""


class Spike(BaseModel):
    """The floor has stepped up since the largest spike of the last days; a spike like that would no longer
    fit.

    Where load or swapped models move the floor no spike stands out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: float = Field(7.0, ge=0.1, le=40.0, description="For how many days spikes are remembered.")
    standing: int = Field(
        2,
        ge=1,
        le=168,
        description="Hours for which the floor must have been stable before its step, and after it.",
    )
    steady: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="How far the floor may move before its step, and after it, as a share of the capacity.",
    )
    rare: int = Field(3, ge=1, le=168, description="The largest number of spikes of that size.")

    TRAITS: ClassVar = Traits(
        precedence=160, sees=frozenset({SubjectKind.GPU, SubjectKind.PROCESS}), always_told=True
    )

    def examine(self, window: Window) -> Verdict:
        lane = window.used
        times, _, heights = lane.spikes.since(lane.time - self.days * DAY)
        if not heights:
            return Unknown("there was no spike")
        largest = max(range(len(heights)), key=heights.__getitem__)
        time, height = times[largest], heights[largest]
        if sum(other >= SIMILAR * height for other in heights) > self.rare:
            return Clear()
        floors = self._step(window, time)
        if floors is None:
            return Clear()
        before, now = floors
        free = window.capacity - window.taken - now
        if height <= free:
            return Clear()
        return Found(
            Evidence(
                f"headroom {show_bytes(max(0, round(free)))}, largest spike of {self.days:.0f} days "
                f"{show_bytes(round(height))}, {show_seconds(lane.time - time)} ago; "
                f"since then {show_bytes(round(now - before))} more are held",
                {
                    "headroom_bytes": free,
                    "spike_bytes": height,
                    "floor_then_bytes": before,
                    "floor_now_bytes": now,
                },
                window.at(time),
                window.at(lane.time),
                1,
            ),
            None,
            (Cause.SPIKE,),
        )

    def _step(self, window: Window, time: float) -> tuple[float, float] | None:
        """Return the floors before and after the one step up since ``time``; None: it was no one step."""
        lane = window.used
        hours, play = lane.hours, self.steady * window.capacity
        warm = lane.time - window.age + HOUR
        lows = list(hours.low[hours.since(max(warm, lane.time - self.days * DAY)) :])
        at_spike = hours.since(time - HOUR) - hours.since(max(warm, lane.time - self.days * DAY))
        steps = [place for place, (one, other) in enumerate(pairwise(lows), 1) if abs(other - one) > play]
        if len(steps) != 1 or steps[0] <= at_spike:
            return None
        before, after = lows[: steps[0]], lows[steps[0] :]
        if min(len(before), len(after)) < self.standing or min(after) - min(before) <= play:
            return None
        if max(before) - min(before) > play or max(after) - min(after) > play:
            return None
        return min(before), min(after)
