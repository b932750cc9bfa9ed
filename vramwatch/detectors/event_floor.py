"""Event-time floor: what memory falls back to at every release rises, and the load does not."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import judge_floor
from vramwatch.core.traits import Traits
from vramwatch.core.verdicts import Verdict
from vramwatch.core.windows import Window


class EventFloor(BaseModel):
    """The minimum of every few successive valleys rises significantly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: int = Field(
        3, ge=1, le=20, description="Number of releases whose minimum is one point of the floor."
    )
    least_points: int = Field(
        9, ge=4, le=256, description="Points of the floor that are needed after the warm-up."
    )
    z: float = Field(
        3.4, ge=1.0, le=20.0, description="How significant the rise must be: z of the Mann-Kendall test."
    )
    deepest_fall: float = Field(
        0.15,
        ge=0.0,
        le=1.0,
        description="How far it may have fallen in between, as a share of its growth.",
    )
    least_steps: int = Field(
        5, ge=1, le=256, description="The least number of steps in which it must have risen."
    )

    TRAITS: ClassVar = Traits(precedence=50, under_load=True)

    def examine(self, window: Window) -> Verdict:
        return judge_floor(
            window,
            window.used.valleys.least_of(self.block),
            "after every release",
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
            rules_out_load=True,
        )
