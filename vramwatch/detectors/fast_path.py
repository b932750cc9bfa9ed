"""Fast path: lower and upper hull rise together, block after block, and only minutes are left."""

from itertools import pairwise
from math import inf
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import QUANTUM
from vramwatch.core.lanes import MINUTE, MOMENT, Envelope, Lane
from vramwatch.core.traits import Traits
from vramwatch.core.units import Seconds, show_bytes, show_seconds
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window
from vramwatch.quantities import Duration

LEAST_MOMENTS = 3
"""Spans of ten seconds with samples that a block must have: its extremes are to mean something."""


class FastPath(BaseModel):
    """The last blocks of 30 s, 1, 2 or 5 minutes rise without exception, and evenly.

    The least of the newest must lie above all that was held in the half day before: a rise to where memory
    has been already is the load's. It takes a sample every 100 s or more often.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: int = Field(5, ge=3, le=10, description="Number of consecutive blocks that must rise.")
    horizon: Annotated[Seconds, Duration("1m", "6h")] = Field(
        Seconds(1800.0), description="Growth is urgent if less than this time is left."
    )
    starting: Annotated[Seconds, Duration("0s", "1d")] = Field(
        Seconds(300.0), description="How long after its start a process may still be loading."
    )
    least_share: float = Field(
        0.03, ge=0.001, le=1.0, description="Share of the capacity by which memory must have grown."
    )
    largest: float = Field(
        0.5, ge=0.2, le=1.0, description="The largest share of the growth that one block may contribute."
    )

    TRAITS: ClassVar = Traits(precedence=120, under_load=True)
    LENGTHS: ClassVar = (30.0, 60.0, 120.0, 300.0)

    def examine(self, window: Window) -> Verdict:
        if window.age < self.starting:
            return Unknown("it has just started")
        has_enough = False
        for length in self.LENGTHS:
            lows, highs = _blocks(window.used.moments, length, self.blocks)
            if len(lows) < self.blocks:
                continue
            has_enough = True
            rising = all(b - a >= QUANTUM for a, b in pairwise(lows))
            rising = rising and all(b >= a for a, b in pairwise(highs))
            if not rising:
                continue
            growth = lows[-1] - lows[0]
            rate = growth / (length * (self.blocks - 1))
            left = max(0.0, window.capacity - window.taken - window.used.last) / rate
            steps = sorted((b - a) / length for a, b in pairwise(lows))
            is_even = steps[-1] * length <= self.largest * growth
            if lows[-1] <= _before(window.used, length * self.blocks):
                continue  # it has been there before
            if left > self.horizon or growth < self.least_share * window.capacity or not is_even:
                continue
            return Found(
                Evidence(
                    f"minimum and maximum rose in each of the last {self.blocks} blocks of "
                    f"{show_seconds(length)}, by {show_bytes(round(growth))}; "
                    f"at this rate {show_seconds(left)} are left",
                    {
                        "growth_bytes": growth,
                        "block_seconds": length,
                        "left_seconds": left,
                    },
                    window.at(window.used.time - length * self.blocks),
                    window.at(window.used.time),
                    self.blocks,
                ),
                Rate(min(steps[0], rate), rate, max(steps[-1], rate)),
                is_urgent=True,
            )
        return Clear() if has_enough else Unknown("too few samples within minutes")


def _before(lane: Lane, span: float) -> float:
    """Return the most that was held in the half day before the last ``span`` seconds; -inf: nothing was."""
    begin = lane.moments.index[-1] * MOMENT + MOMENT - span
    start, stop = lane.moments.since(begin - span), lane.moments.since(begin)
    earlier = lane.minutes.high[: lane.minutes.since(begin - MINUTE)]
    return max((*earlier, *lane.moments.high[start:stop]), default=-inf)


def _blocks(moments: Envelope, length: float, count: int) -> tuple[list[float], list[float]]:
    """Return the extremes of the last ``count`` blocks, oldest first; fewer where a block has few samples."""
    size = round(length / MOMENT)
    if not moments:
        return [], []
    end = moments.index[-1] + 1
    lows: list[float] = []
    highs: list[float] = []
    place = len(moments)
    for block in range(count):
        begin = end - (block + 1) * size
        start = place
        while start > 0 and moments.index[start - 1] >= begin:
            start -= 1
        if place - start < LEAST_MOMENTS:
            break
        lows.append(min(moments.low[start:place]))
        highs.append(max(moments.high[start:place]))
        place = start
    return lows[::-1], highs[::-1]
