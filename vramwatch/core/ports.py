"""What the loop needs from the edges."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vramwatch.core.model import Ask, Instant, ProcessFacts, Readings
from vramwatch.core.oom_sightings import Sighting
from vramwatch.core.units import Seconds


class Clock(Protocol):
    """Owns time. A source of recorded or simulated readings brings its own."""

    @property
    def lag(self) -> Seconds:
        """How late the newest poll began. Seconds."""
        ...

    def now(self) -> Instant:
        """Return the present, with a ``seq`` that is larger at each call."""
        ...

    def wait(self, interval: Seconds) -> Instant | None:
        """Wait until ``interval`` after the previous due moment; return the Instant of the poll.

        A moment that was missed is not caught up: the next one counts from now. None: the input
        has ended, or ``stop`` was called.
        """
        ...

    def wake(self) -> None:
        """End the present wait at once; callable from any thread."""
        ...

    def stop(self) -> None:
        """Make this and every later wait return None; callable from any thread and from a signal."""
        ...


class Source(Protocol):
    """Where readings come from. Never raises for a driver's fault: it becomes a Missing."""

    def read(self, at: Instant, ask: Ask) -> Readings: ...

    def release(self) -> None:
        """Let go of every GPU and keep none open until ``resume``."""
        ...

    def resume(self) -> None: ...

    def close(self) -> None: ...


class People(Protocol):
    """Who stands behind a pid."""

    def facts(self, pids: Collection[int], at: Instant) -> Mapping[int, ProcessFacts]:
        """Return facts for every pid asked for; one that is gone has the state GONE or HIDDEN."""
        ...


class Sightings(Protocol):
    """What other programs' logs say, gathered on threads of its own."""

    def take(self) -> Sequence[Sighting]:
        """Return what has come since the last call, oldest first; never waits, may be empty."""
        ...

    def close(self) -> None:
        """Follow nothing any more; leaves no child and no thread."""
        ...


@dataclass(frozen=True, slots=True)
class Feed:
    """A source with the clock and the people that belong to it."""

    source: Source
    people: People
    clock: Clock
    live: bool  # False: recorded or simulated; such a feed wants a store of its own
