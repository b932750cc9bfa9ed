"""Event-time floor: what memory falls back to at every release rises, and the load does not."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.floors import judge_floor
from vramwatch.core.verdicts import Verdict
from vramwatch.core.windows import GROWING, Points, Window


@dataclass(frozen=True, slots=True)
class EventFloor:
    """The least of every ``block`` successive valleys rises as only growth does."""

    block: int = 3
    least_points: int = 9
    z: float = 3.4
    deepest_fall: float = 0.15
    least_steps: int = 5

    SEES: ClassVar = GROWING

    def examine(self, window: Window) -> Verdict:
        valleys = window.used.valleys
        floor = Points(len(valleys) + 1)
        for start in range(len(valleys) % self.block, len(valleys), self.block):
            lowest = min(range(start, start + self.block), key=valleys.value.__getitem__)
            floor.add(valleys.time[lowest], valleys.work[lowest], valleys.value[lowest])
        return judge_floor(
            window,
            floor,
            "after every release",
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
            rules_out_load=True,
        )
