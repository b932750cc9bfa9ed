"""Out of memory: somebody says so, or a process ended right after the memory was full."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.model import Origin, SubjectKind
from vramwatch.core.traits import Traits
from vramwatch.core.units import Seconds, show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Verdict
from vramwatch.core.windows import Window
from vramwatch.quantities import Duration


class OutOfMemory(BaseModel):
    """An out-of-memory happened recently. It is critical at once, whatever its cause."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    remembered: Annotated[Seconds, Duration("1m", "7d")] = Field(
        Seconds(3600.0), description="How long an out-of-memory counts."
    )

    TRAITS: ClassVar = Traits(
        precedence=10,
        sees=frozenset({SubjectKind.PROCESS, SubjectKind.OWNER, SubjectKind.GPU}),
        always_told=True,
        is_accident=True,
    )

    def examine(self, window: Window) -> Verdict:
        recent = [each for each in window.accidents if window.now - each.time <= self.remembered]
        if not recent:
            return Clear()
        latest = recent[-1]
        tried = latest.numbers.get("tried_bytes")
        asked = f" when {show_bytes(round(tried))} more were asked for" if tried else ""
        running = latest.numbers.get("requests_running")
        at_work = f" while {running:g} request{'s' * (running != 1)} ran" if running else ""
        told = (
            "inferred: it ended right after the memory was full"
            if latest.origin == Origin.INFERRED
            else latest.origin
        )
        return Found(
            Evidence(
                f"out of memory{asked}{at_work} ({told})",
                {**latest.numbers, "accidents": len(recent), "held_bytes": window.used.last},
                window.at(recent[0].time),
                window.at(latest.time),
                len(recent),
                latest.flight,
            ),
            is_urgent=True,
        )
