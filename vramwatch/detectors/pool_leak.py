"""Pool leak: KV is used though nothing runs or waits, and ever more of it."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.floors import judge_floor
from vramwatch.core.model import SubjectKind
from vramwatch.core.verdicts import Unknown, Verdict
from vramwatch.core.windows import Window


@dataclass(frozen=True, slots=True)
class PoolLeak:
    """What is used of a preallocated pool at rest rises as only growth does; evictable cache is no use.

    Options as of core.floors.judge_floor.
    """

    least_points: int = 6
    z: float = 2.6
    deepest_fall: float = 0.1
    least_steps: int = 4

    SEES: ClassVar = frozenset({SubjectKind.PROCESS})

    def examine(self, window: Window) -> Verdict:
        if window.running is None:
            return Unknown("it does not say when nothing runs")
        pool = window.pool
        if pool is None:
            return Unknown("it has no pool, or tells nothing of it")
        return judge_floor(
            pool,
            pool.used.rests,
            "of the pool while nothing runs or waits",
            least_points=self.least_points,
            z=self.z,
            deepest_fall=self.deepest_fall,
            least_steps=self.least_steps,
        )
