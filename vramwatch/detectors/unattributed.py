"""Unattributed and ghost growth: a process goes, and its bytes stay without an owner."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.model import SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.units import MIB, Seconds, show_bytes, show_seconds
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Departure, Window
from vramwatch.quantities import Duration


class Unattributed(BaseModel):
    """After a process has exited, memory that belongs to no process appeared and stayed.

    Processes that are over and still listed are ghosts by themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settling: Annotated[Seconds, Duration("0s", "1h")] = Field(
        Seconds(120.0), description="How long the driver may take to free the memory of a process."
    )
    lasting: Annotated[Seconds, Duration("1m", "7d")] = Field(
        Seconds(900.0), description="After this time memory counts as left behind."
    )
    least_share: float = Field(
        0.01, ge=0.0, le=1.0, description="The least share of the capacity that must have been left behind."
    )
    alone: float = Field(
        0.04,
        ge=0.0,
        le=1.0,
        description="From this share of the capacity on, the exit of one process is enough.",
    )

    TRAITS: ClassVar = Traits(precedence=90, sees=frozenset({SubjectKind.UNATTRIBUTED}), always_told=True)

    def examine(self, window: Window) -> Verdict:
        least = max(256 * MIB, self.least_share * window.capacity)
        if window.ghosts >= least and window.now - window.ghosts_since >= self.lasting:
            return self._listed(window)
        over = [each for each in window.departures if window.now - each.time >= self.lasting]
        if not over:
            return Unknown("no process has left lately")
        left = [(each, stayed) for each in over if (stayed := self._stayed(window, each)) >= least]
        if not left or (len(left) < 2 and left[0][1] < self.alone * window.capacity):
            return Clear()
        return self._left(window, left)

    def _stayed(self, window: Window, departure: Departure) -> float:
        """Return the bytes that came when the process left and have stayed ever since."""
        floor = window.used.floor(departure.time + self.settling, window.now)
        return 0.0 if floor is None else floor - departure.unattributed

    def _left(self, window: Window, left: list[tuple[Departure, float]]) -> Found:
        first = left[0][0]
        total = window.used.last - first.unattributed
        span = window.now - first.time
        rate = total / span if len(left) > 1 else None
        return Found(
            Evidence(
                f"{len(left)} processes left and {show_bytes(round(total))} stayed that no process holds, "
                f"for {show_seconds(span)} by then",
                {"left_bytes": total, "departures": len(left), "span_seconds": span},
                window.at(first.time),
                window.at(window.now),
                len(left),
            ),
            None if rate is None else Rate(rate * 0.7, rate, rate * 1.3),
            (Cause.GHOST,),
        )

    def _listed(self, window: Window) -> Found:
        span = window.now - window.ghosts_since
        return Found(
            Evidence(
                f"{show_bytes(round(window.ghosts))} were held by exited processes, "
                f"for {show_seconds(span)} by then",
                {"ghost_bytes": window.ghosts, "span_seconds": span},
                window.at(window.ghosts_since),
                window.at(window.now),
                1,
            ),
            None,
            (Cause.GHOST,),
        )
