"""The GPUs let go of at an operator's word, for as long as was said, and taken up again."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from vramwatch.control.control import ControlError, MisusedError, Request
from vramwatch.control.errands import Reply
from vramwatch.core.model import Event, EventKind, Fault, FaultKind, Instant, Missing
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.ports import Source
from vramwatch.core.units import Seconds, parse_seconds, show_seconds

RELEASE_DEFAULT, RELEASE_LONGEST = Seconds(900.0), Seconds(86400.0)
"""How long the GPUs are let go of when nobody says, and at most."""

RELEASED_INTERVAL = Seconds(1.0)
"""How often a released daemon turns: each turn is a known Gap, and resume takes effect at once."""


@dataclass(frozen=True, slots=True)
class Release:
    """The GPUs are let go of. Times: boottime seconds, wall seconds."""

    until: float
    until_wall: float
    author: str


class Releasing:
    """For the thread of the turns. ``note``: has an Event stored with the next poll."""

    def __init__(self, source: Source, note: Callable[[Event], None]) -> None:
        self._source = source
        self._note = note
        self._release: Release | None = None

    def let_go(self, request: Request, now: Instant) -> Reply:
        """Let go of the GPUs. Errors: ControlError where the span asked for is none."""
        try:
            asked = request.arguments.get("for")
            span = RELEASE_DEFAULT if asked is None else parse_seconds(str(asked))
        except ValueError as error:
            raise MisusedError(str(error)) from None
        if not 0 < span <= RELEASE_LONGEST:
            raise MisusedError(f"--for must be more than 0 and at most {show_seconds(RELEASE_LONGEST)}")
        self._release = Release(now.boottime + span, now.wall + span, request.author)
        self._source.release()
        self._note(Event(EventKind.RELEASED, f"for {show_seconds(span)}", author=request.author))
        return {"until": self._release.until_wall, "for_seconds": span}

    def take_up(self, request: Request) -> Reply:
        """Take the GPUs up again. Errors: ControlError where they are not released."""
        if self._release is None:
            raise ControlError("the GPUs are not released; nothing to resume")
        self._note(Event(EventKind.RESUMED, "the GPUs are taken up again", author=request.author))
        self._end()
        return {}

    def poll(self, at: Instant) -> Poll | None:
        """Return what is polled at ``at`` while the GPUs are released; None: they are not, or no longer."""
        release = self._release
        if release is None:
            return None
        if at.boottime >= release.until:
            ended = f"the time that {release.author} asked for is over; the GPUs are taken up again"
            self._note(Event(EventKind.RESUMED, ended))
            self._end()
            return None
        until = time.strftime("%H:%M:%S", time.localtime(release.until_wall))
        fault = Fault(FaultKind.RELEASED, f"released by {release.author} until {until}")
        return Poll(at, missing=(Missing(None, fault),), pace=Pace(RELEASED_INTERVAL, RELEASED_INTERVAL, 0.0))

    def _end(self) -> None:
        self._release = None
        self._source.resume()
