"""Staircase and ratchet: memory goes up in steps and is never given back."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import is_material, judge_floor
from vramwatch.core.traits import Traits
from vramwatch.core.verdicts import Clear, Verdict
from vramwatch.core.windows import Window


class Staircase(BaseModel):
    """The minimum of every few minutes never falls, whatever the load, and keeps rising in steps.

    A ratchet by the largest input so far slows down, and is told apart by that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: int = Field(
        10, ge=1, le=60, description="Number of minutes whose minimum is one point of the floor."
    )
    least_points: int = Field(
        18, ge=4, le=256, description="Points of the floor that are needed after the warm-up."
    )
    z: float = Field(
        4.5, ge=1.0, le=20.0, description="How significant the rise must be: z of the Mann-Kendall test."
    )
    deepest_fall: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="How far it may have fallen in between, as a share of its growth.",
    )
    least_steps: int = Field(
        6, ge=1, le=256, description="The least number of steps in which it must have risen."
    )

    TRAITS: ClassVar = Traits(precedence=80, under_load=True)

    def examine(self, window: Window) -> Verdict:
        minutes = window.used.minutes
        if not minutes or not is_material(minutes.low[-1] - minutes.low[0], window):
            return Clear()
        return judge_floor(
            window,
            minutes.least_of(self.block),
            "at the minimum of every ten minutes",
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
            rules_out_load=True,
        )
