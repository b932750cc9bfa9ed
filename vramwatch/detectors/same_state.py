"""Same-state growth: what is held at rest, with nothing asked and nothing waiting, rises and rises."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.floors import judge_floor
from vramwatch.core.verdicts import Verdict
from vramwatch.core.windows import GROWING, Window


@dataclass(frozen=True, slots=True)
class SameState:
    """The floor at rest rises as only growth does. Options as of core.floors.judge_floor."""

    least_points: int = 8
    z: float = 3.2
    deepest_fall: float = 0.15
    least_steps: int = 4

    SEES: ClassVar = GROWING

    def examine(self, window: Window) -> Verdict:
        return judge_floor(
            window,
            window.used.rests,
            "at rest",
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
        )
