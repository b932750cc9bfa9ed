"""Spike: a repeat of the largest one of the last days would not fit what is free today."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.model import SubjectKind
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Unknown, Verdict
from vramwatch.core.windows import DAY, HOUR, Window


@dataclass(frozen=True, slots=True)
class Spike:
    """The floor has risen since the largest spike of ``days``, and the two together exceed the capacity.

    The floor must have stood for ``standing`` seconds before and now, each within ``steady`` of the
    capacity, or it is the load that moves it and no spike that is rare. ``rare``: how many of its size there
    may have been.
    """

    days: float = 7.0
    standing: float = 3600.0
    steady: float = 0.05
    rare: int = 3

    SEES: ClassVar = frozenset({SubjectKind.GPU, SubjectKind.PROCESS})

    def examine(self, window: Window) -> Verdict:
        lane = window.used
        times, floors, heights = lane.spikes.since(lane.time - self.days * DAY)
        if not heights:
            return Unknown("there was no spike")
        place = max(range(len(heights)), key=heights.__getitem__)
        time, height = times[place], heights[place]
        if (
            lane.time - time < 2 * self.standing
            or sum(other >= 0.7 * height for other in heights) > self.rare
        ):
            return Clear()
        before, now = self._floor(window, time), self._floor(window, lane.time)
        if before is None or now is None:
            return Clear()
        free = window.capacity - window.taken - now
        if now - before < self.steady * window.capacity or height <= free:
            return Clear()
        return Found(
            Evidence(
                f"headroom {show_bytes(round(free))}, largest spike of {self.days:.0f} days "
                f"{show_bytes(round(height))}, {show_seconds(lane.time - time)} ago; "
                f"since then {show_bytes(round(now - before))} more are held",
                {
                    "headroom_bytes": free,
                    "spike_bytes": height,
                    "floor_then_bytes": before,
                    "floor_bytes": now,
                },
                window.at(time),
                window.at(lane.time),
                1,
            ),
            None,
            (Cause.SPIKE,),
        )

    def _floor(self, window: Window, until: float) -> float | None:
        """Return the floor that stood in the time before ``until``; None: it did not stand."""
        lane = window.used
        halves = [
            lane.floor(until - self.standing * (part + 1) / 2 - HOUR / 12, until - self.standing * part / 2)
            for part in range(2)
        ]
        known = [half for half in halves if half is not None]
        if len(known) < len(halves) or max(known) - min(known) > self.steady * window.capacity:
            return None
        return min(known)
