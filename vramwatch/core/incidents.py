"""Incidents and their transitions: one growth is one incident, whichever series show it."""

from dataclasses import dataclass
from enum import StrEnum

from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.model import Instant, SubjectKind
from vramwatch.core.verdicts import Cause, Evidence, Rate, RuledOut


class State(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Severity(StrEnum):
    WARNING = "warning"
    CRITICAL = "critical"


class Reason(StrEnum):
    """Why an incident moved."""

    SEEN = "seen"  # a pattern was found; it is not established, or not material yet
    ESTABLISHED = "established"
    RETURNED = "returned"  # a resolved incident whose pattern is there again
    UPDATED = "updated"  # cause, severity or forecast have moved within the state
    CLEARED = "cleared"  # the pattern is no longer there
    RESTARTED = "restarted"  # the process that grew has ended
    GONE = "gone"  # its GPU, or what it was about, is no longer there
    EXPLAINED = "explained"  # a cause that is no fault accounts for it
    MERGED = "merged"  # another incident explains the same growth more specifically


@dataclass(frozen=True, slots=True)
class Subject:
    """What an incident is about: an Owner on a Gpu, else the unattributed bytes, else the Gpu itself.

    ``owner``: an Owner's key, where ``kind`` is OWNER.
    """

    gpu: str  # UUID
    kind: SubjectKind
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is believed of a Subject at one time. ``others``: patterns that say the same, as evidence."""

    pattern: str
    cause: Cause
    severity: Severity
    evidence: Evidence
    rate: Rate | None
    forecast: Exhaustion | Abstention  # times are unix seconds
    ruled_out: tuple[RuledOut, ...] = ()
    pid: int | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """``id``: made of its Subject and of when it opened, so that a replay gives the same one."""

    id: str
    subject: Subject
    opened: float  # unix seconds
    state: State
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class Transition:
    """A move of an Incident, or an update within its state; ``incident`` is as it stands afterwards."""

    at: Instant
    incident: Incident
    reason: Reason
