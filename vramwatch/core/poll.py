"""The result of one turn of the loop: what was read, and what was decided."""

from dataclasses import dataclass

from vramwatch.core.attempts import Ended
from vramwatch.core.incidents import Transition
from vramwatch.core.ladder import Action
from vramwatch.core.model import Event, FaultKind, Instant, Ledger, Missing
from vramwatch.core.policy import Step
from vramwatch.core.units import Seconds


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast vramwatch is reading, and why not faster. Seconds."""

    interval: Seconds
    list_interval: Seconds
    driver_share: float  # of wall time inside driver calls, smoothed; 0..1
    lowered_because: str | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """What one turn of the loop leaves to remember; stored in one transaction."""

    at: Instant
    ledgers: tuple[Ledger, ...] = ()
    missing: tuple[Missing, ...] = ()
    events: tuple[Event, ...] = ()
    pace: Pace | None = None
    transitions: tuple[Transition, ...] = ()  # of incidents, judged by this very poll
    steps: tuple[Step, ...] = ()  # whom to tell of incidents, decided at this very poll
    actions: tuple[Action, ...] = ()  # what to do about memory, decided at this very poll
    endings: tuple[Ended, ...] = ()  # what came of earlier attempts, known at this very poll

    @property
    def is_starting(self) -> bool:
        """Whether its source is still getting ready, so that nothing read says nothing yet."""
        return any(missing.fault.kind is FaultKind.STARTING for missing in self.missing)
