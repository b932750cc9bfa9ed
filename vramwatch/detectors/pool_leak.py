"""Pool leak: KV is used though nothing runs or waits, and ever more of it."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import BYTES, SHARE, judge_floor
from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.verdicts import Unknown, Verdict
from vramwatch.core.windows import Window


class PoolLeak(BaseModel):
    """The used part of a preallocated pool at rest rises significantly; evictable cache does not count as
    used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    least_points: int = Field(
        6, ge=4, le=256, description="Points of the floor that are needed after the warm-up."
    )
    z: float = Field(
        2.6, ge=1.0, le=20.0, description="How significant the rise must be: z of the Mann-Kendall test."
    )
    deepest_fall: float = Field(
        0.1,
        ge=0.0,
        le=1.0,
        description="How far it may have fallen in between, as a share of its growth.",
    )
    least_steps: int = Field(
        4, ge=1, le=256, description="The least number of steps in which it must have risen."
    )

    TRAITS: ClassVar = Traits(
        precedence=20, sees=frozenset({SubjectKind.PROCESS}), always_told=True, at_rest=True, in_pool=True
    )

    def examine(self, window: Window) -> Verdict:
        if window.running is None:
            return Unknown("it does not say when nothing runs")
        pool = window.pool
        if pool is not None:
            seen, lane, scale = pool, pool.used, BYTES
        elif window.fullness is not None and window.is_flat:
            seen, lane, scale = window, window.fullness, SHARE
        else:
            return Unknown("it has no pool, or tells nothing of it")
        return judge_floor(
            seen,
            lane.rests,
            "of the pool while nothing runs or waits",
            scale=scale,
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
        )
