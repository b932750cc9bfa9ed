"""Idle creep: memory rises while nothing at all is asked, and does not fall."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import BEGUN, WARM_UP, is_material
from vramwatch.core.lanes import MINUTE
from vramwatch.core.saturation import saturation
from vramwatch.core.traits import Traits
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import IDLE_DUTY, Window

SETTLING = 4
"""Minutes of an idle stretch that count for nothing: what the work before left is still being given back."""


class IdleCreep(BaseModel):
    """Over consecutive idle minutes, rises far outweigh falls and continue in a straight line.

    Every minute of its curve has been seen: what does not slow down yet need not be waited for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_minutes: int = Field(
        45, ge=5, le=720, description="Number of idle minutes that must have been observed."
    )
    rising_share: float = Field(
        0.1, ge=0.0, le=1.0, description="Share of the idle minutes in which memory must rise."
    )
    falls: float = Field(
        0.1, ge=0.0, le=1.0, description="How much memory may fall in total, as a share of its total rise."
    )

    TRAITS: ClassVar = Traits(precedence=70, at_rest=True, sees_curve=True)

    def examine(self, window: Window) -> Verdict:
        if window.load.duty is None:
            return Unknown("the load is not known")
        lows = window.used.minutes.low
        if not lows or not is_material(lows[-1] - min(lows), window):
            return Clear()
        changes = _idle_changes(window)
        if len(changes) < self.least_minutes:
            return Unknown(f"{len(changes)} of {self.least_minutes} idle minutes")
        rises = [change for _, change in changes if change > 0]
        risen, fallen = sum(rises), -sum(change for _, change in changes if change < 0)
        late = sum(change for _, change in changes[len(changes) // 2 :])
        grown = risen - fallen
        is_steady = len(rises) >= self.rising_share * len(changes) and late >= grown / 4
        if not is_material(grown, window) or fallen > self.falls * risen or not is_steady:
            return Clear()
        changes = changes[_onset(changes, BEGUN * grown) :]
        if _is_slowing(changes):
            return Unknown("it slows down, as a cache does that fills")
        grown = sum(change for _, change in changes)
        fallen = -sum(change for _, change in changes if change < 0)
        begin, end = changes[0][0] - MINUTE, changes[-1][0]
        idle = len(changes) * MINUTE
        rate = grown / (end - begin)
        return Found(
            Evidence(
                f"{show_bytes(round(grown))} more in {show_seconds(idle)} without a request; "
                f"{show_bytes(round(fallen))} came back",
                {
                    "growth_bytes": grown,
                    "fallen_bytes": fallen,
                    "idle_seconds": idle,
                    "minutes_rising": sum(change > 0 for _, change in changes),
                },
                window.at(begin),
                window.at(end),
                len(changes),
            ),
            Rate(rate * 0.8, rate, rate * 1.2),
        )


def _onset(changes: Sequence[tuple[float, float]], least: float) -> int:
    """Return the place of the change with which growth began: before it less than ``least`` had come."""
    sums = list(accumulate(change for _, change in changes))
    return max((place for place, risen in enumerate(sums[:-1], 1) if risen < least), default=0)


def _is_slowing(changes: Sequence[tuple[float, float]]) -> bool:
    """Return whether what was held slows down over the idle minutes, by the first sign of it."""
    held = list(accumulate(change for _, change in changes))
    curve = saturation([place * MINUTE for place in range(len(held))], held)
    return curve is not None and curve.evidence > 0


def _idle_changes(window: Window) -> list[tuple[float, float]]:
    """Return (time, bytes) of every step between two idle minutes that follow each other, settled."""
    minutes = window.used.minutes
    settled = window.used.time - window.age + WARM_UP
    changes = []
    idle = 0
    steps = pairwise(zip(minutes.index, minutes.work, minutes.low, strict=True))
    for (before, work_before, low_before), (now, work, low) in steps:
        idle = idle + 1 if now == before + 1 and work - work_before <= IDLE_DUTY * MINUTE else 0
        if idle > SETTLING and now * MINUTE >= settled:
            changes.append((now * MINUTE, low - low_before))
    return changes
