"""Staircase and ratchet: memory goes up in steps and is never given back."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.floors import is_material, judge_floor
from vramwatch.core.verdicts import Clear, Verdict
from vramwatch.core.windows import GROWING, MINUTE, Points, Window


@dataclass(frozen=True, slots=True)
class Staircase:
    """The least of every ``block`` minutes never falls, whatever is done; ever new steps are taken.

    A ratchet by the largest input so far slows down, and is told apart by that.
    """

    block: int = 10
    least_points: int = 18
    z: float = 4.5
    deepest_fall: float = 0.05
    least_steps: int = 6

    SEES: ClassVar = GROWING

    def examine(self, window: Window) -> Verdict:
        minutes = window.used.minutes
        if not minutes or not is_material(minutes.low[-1] - minutes.low[0], window):
            return Clear()
        floor = Points(len(minutes) + 1)
        block = -1
        for place, index in enumerate(minutes.index):
            if index // self.block != block:
                block = index // self.block
                floor.add(index * MINUTE, minutes.work[place], minutes.low[place])
            else:
                floor.lower(minutes.low[place])
        return judge_floor(
            window,
            floor,
            "at the least of every ten minutes",
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
            rules_out_load=True,
        )
