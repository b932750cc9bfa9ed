"""Growth per restart: each life settles at more than the one before it."""

from itertools import pairwise
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import QUANTUM, is_material
from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.trend import theil_sen
from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window


class RestartGrowth(BaseModel):
    """Each of the last runs of an owner's process settled at least one quantum above the one before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lives: int = Field(
        5,
        ge=3,
        le=32,
        description="Consecutive runs of a process that must each have settled higher than the one before.",
    )

    TRAITS: ClassVar = Traits(precedence=110, sees=frozenset({SubjectKind.OWNER}))

    def examine(self, window: Window) -> Verdict:
        members = window.members
        if members is None or len(members.lives) < self.lives:
            return Unknown("it has had too few lives")
        lives = members.lives[-self.lives :]
        began, bases = [life.began for life in lives], [life.base for life in lives]
        slope = theil_sen(began, bases)
        growth = bases[-1] - bases[0]
        if slope is None or not is_material(growth, window):
            return Clear()
        if any(later - earlier < QUANTUM for earlier, later in pairwise(bases)):
            return Clear()
        return Found(
            Evidence(
                f"each of the last {self.lives} lives settled at more than the one before, "
                f"by {show_bytes(round(growth))} in all",
                {
                    "growth_bytes": growth,
                    "growth_bytes_per_restart": growth / (self.lives - 1),
                    "lives": len(members.lives),
                    "last_base_bytes": bases[-1],
                },
                window.at(began[0]),
                window.at(window.now),
                self.lives,
            ),
            Rate(slope.low, slope.median, slope.high),
            (Cause.UNKNOWN,),
        )
