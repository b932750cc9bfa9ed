"""Same-state growth: what is held at rest, with nothing asked and nothing waiting, rises and rises."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import judge_floor
from vramwatch.core.traits import Traits
from vramwatch.core.verdicts import Verdict
from vramwatch.core.windows import Window


class SameState(BaseModel):
    """The floor at rest rises significantly.

    See core.floors.judge_floor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_points: int = Field(
        8, ge=4, le=256, description="Points of the floor that are needed after the warm-up."
    )
    z: float = Field(
        3.2, ge=1.0, le=20.0, description="How significant the rise must be: z of the Mann-Kendall test."
    )
    deepest_fall: float = Field(
        0.15,
        ge=0.0,
        le=1.0,
        description="How far it may have fallen in between, as a share of its growth.",
    )
    least_steps: int = Field(
        4, ge=1, le=256, description="The least number of steps in which it must have risen."
    )

    TRAITS: ClassVar = Traits(precedence=40, at_rest=True)

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
