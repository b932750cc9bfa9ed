"""Out of memory: somebody says so, or a process ended right after the memory was full."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.units import show_bytes
from vramwatch.core.verdicts import Clear, Evidence, Found, Verdict
from vramwatch.core.windows import ANYWHERE, Window

INFERRED = "inferred"


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """An accident within the last ``remembered`` seconds. It is critical at once, whatever its cause."""

    remembered: float = 3600.0

    SEES: ClassVar = ANYWHERE

    def examine(self, window: Window) -> Verdict:
        recent = [each for each in window.accidents if window.now - each.time <= self.remembered]
        if not recent:
            return Clear()
        latest = recent[-1]
        tried = latest.numbers.get("tried_bytes")
        asked = f" when {show_bytes(round(tried))} more were asked for" if tried else ""
        told = (
            "inferred: it ended right after the memory was full"
            if latest.origin == INFERRED
            else latest.origin
        )
        return Found(
            Evidence(
                f"out of memory{asked} ({told})",
                {**latest.numbers, "accidents": len(recent), "held_bytes": window.used.last},
                window.at(recent[0].time),
                window.at(latest.time),
                len(recent),
                latest.flight,
            ),
            is_urgent=True,
        )
