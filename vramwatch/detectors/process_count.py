"""Process count: ever more processes of one owner, and none of them ends."""

from itertools import pairwise
from statistics import median
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.floors import is_material
from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.units import Seconds, show_bytes, show_seconds
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window
from vramwatch.quantities import Duration


class ProcessCount(BaseModel):
    """The last processes of an owner started one by one, and none has left since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arrivals: int = Field(5, ge=3, le=100, description="Number of processes that must have started.")
    spread: Annotated[Seconds, Duration("1m", "30d")] = Field(
        Seconds(1800.0),
        description="The least time over which they must have started; less is a single start of many.",
    )
    overdue: float = Field(
        3.0,
        ge=1.0,
        le=100.0,
        description=(
            "The growth is over once no process has started for this many times the usual time between two."
        ),
    )

    TRAITS: ClassVar = Traits(precedence=100, sees=frozenset({SubjectKind.OWNER}))

    def examine(self, window: Window) -> Verdict:
        members = window.members
        if members is None or len(members.began) <= self.arrivals:
            return Unknown("it has too few processes")
        newest = sorted(members.began, key=members.began.__getitem__)[-self.arrivals :]
        came = [members.began[key] for key in newest]
        between = [later - earlier for earlier, later in pairwise(came)]
        span, usual = came[-1] - came[0], median(between)
        grown = sum(members.held[key] for key in newest)
        has_rested = window.now - came[-1] > self.overdue * max(usual, 60.0)
        if members.ended >= came[0] or span < self.spread or has_rested or not is_material(grown, window):
            return Clear()
        rate = grown / len(newest) / (span / len(between))
        return Found(
            Evidence(
                f"{self.arrivals} more processes in {show_seconds(span)}, and none has ended: "
                f"{len(members.began)} now, {show_bytes(round(grown / len(newest)))} each",
                {"processes": len(members.began), "growth_bytes": grown, "between_seconds": usual},
                window.at(came[0]),
                window.at(window.now),
                self.arrivals,
            ),
            Rate(rate * 0.75, rate, rate * 1.25),
            (Cause.PROCESS_COUNT,),
        )
