"""Interfaces of the edges that the loop uses."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vramwatch.core.model import Ask, Gauge, Instant, ProcessFacts, ProcessKey, Readings, Tenant
from vramwatch.core.oom_sightings import Sighting
from vramwatch.core.units import Seconds
from vramwatch.core.workers import Worker
from vramwatch.sdk.wire import Answer, Clear


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


class Insides(Protocol):
    """What processes themselves say of their memory and their load: workers, engines."""

    def gauges(
        self, present: Mapping[str, Mapping[int, Tenant]], at: Instant
    ) -> Mapping[str, tuple[Gauge, ...]]:
        """Return what is known of those who are ``present`` (UUID -> pid -> who), by UUID.

        Never waits: what is asked of others is asked on threads of its own, and what is too old to hold at
        ``at`` is left out. An empty mapping is a normal answer.
        """
        ...


class Workers(Protocol):
    """The processes that enrolled, each for as long as its connection lives. Nothing here waits."""

    def enrolled(self) -> Mapping[ProcessKey, Worker]:
        """Return those who are connected now, with their newest report; may be empty."""
        ...

    def ask(self, key: ProcessKey, clear: Clear) -> str | None:
        """Send ``clear`` to a worker. Returns why that was not possible; None: it is on its way."""
        ...

    def signal(self, key: ProcessKey, name: str) -> str | None:
        """Send the signal of that name, as in "SIGURG", through the pidfd that was opened at enrolment.

        Only to whom consents to it by name and has a handler for it at this moment (SigCgt), with its
        registered uid. Returns why it was not sent; None: it was.
        """
        ...

    def answers(self) -> Sequence[tuple[ProcessKey, Answer]]:
        """Return what workers answered since the last call, oldest first; may be empty."""
        ...
