"""Incidents and their transitions: one growth is one incident, whichever series show it.

``advance`` is the whole decision about a Subject: it takes what is believed and ``now``, and returns
transitions, each with its reason. Pure.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.model import Instant, SubjectKind
from vramwatch.core.scenes import Scene
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
    CLEARED = "cleared"  # the pattern is gone
    RESTARTED = "restarted"  # the process that grew has ended
    GONE = "gone"  # its GPU, or what it was about, is no longer there
    EXPLAINED = "explained"  # a harmless cause explains it
    DISMISSED = "dismissed"  # a person says that it is over; what is found again opens it again
    SWITCHED_OFF = "switched_off"  # the detectors that found it no longer look
    STALE = "stale"  # what it was judged by was lost, and it was not found again


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
    """What is believed of a Subject at one time.

    ``others``: patterns that say the same, as evidence. ``alternatives``: causes that what is known cannot
    tell from the one that is named.
    """

    pattern: str
    cause: Cause
    severity: Severity
    evidence: Evidence
    rate: Rate | None
    forecast: Exhaustion | Abstention  # times are unix seconds
    ruled_out: tuple[RuledOut, ...] = ()
    pid: int | None = None
    others: tuple[str, ...] = ()
    alternatives: tuple[Cause, ...] = ()


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
    """A move of an Incident, or an update within its state; ``incident`` is as it stands afterwards.

    ``scene``: who stood where at the poll that was judged; None: nobody has looked, or could.
    """

    at: Instant
    incident: Incident
    reason: Reason
    scene: Scene | None = None


CLEAR_SHARE = 0.1
"""Of the time left: who has days to act need not hear of every hour in which a slow growth was not seen."""


@dataclass(frozen=True, slots=True)
class Terms:
    """When an incident moves. Seconds, unless said otherwise.

    ``warn_horizon``: it fires where half of the forecasts end within. ``hold``: a pattern must have been
    found for so long, by two looks at least; ``unexplained``: and so long nothing may have explained it
    away. ``clear_after``: it is over when the pattern was not found for so long, or for a tenth of the time
    that was left, at most ``clear_latest``. ``critical_median``, ``critical_early``: critical where the
    median, or the early bound, lies within; ``relief``: by so many times these it must lie beyond to be a
    warning again. ``moved``: the share by which the time left must change to be told again, which is not
    before ``update_every`` or a quarter of the time left, at least ``update_least``. ``reopen_within``: what
    returns so soon opens its incident again.
    """

    warn_horizon: float = 7 * 86400.0
    hold: float = 60.0
    clear_after: float = 3600.0
    clear_latest: float = 86400.0
    critical_median: float = 2 * 3600.0
    critical_early: float = 1800.0
    relief: float = 1.5
    moved: float = 0.25
    update_every: float = 3600.0
    update_least: float = 120.0
    reopen_within: float = 7 * 86400.0
    unexplained: float = 2 * 3600.0


Left = tuple[float, float]
"""Seconds to the early bound and to the median of exhaustion; inf where nobody can say."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What a look at a Subject came to. ``judgement`` None: nothing was found.

    ``fires``: whether it is material at all (a cause that is a fault, and an end that is near enough, or
    a pattern that is told whenever it is seen). ``at_once``: without ``hold``. ``is_over``: what had grown
    has come back, and ``judgement`` says why.
    """

    judgement: Judgement | None
    fires: bool = False
    at_once: bool = False
    left: Left = (inf, inf)
    explained: bool = False
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How a Subject stands: its incident, open or closed, and what counts for its next move.

    Times are seconds that do not step. ``looks``: how often in a row the pattern was found.
    ``unseen_since``: since when it is known from history alone, None: it is not; inf: from the next poll on.
    """

    incident: Incident | None = None
    first_found: float = 0.0
    last_found: float = 0.0
    looks: int = 0
    told_at: float = 0.0
    told_left: float = 0.0
    closed_at: float = 0.0
    explained_at: float = -inf
    unseen_since: float | None = None

    @property
    def is_open(self) -> bool:
        return self.incident is not None and self.incident.state is not State.RESOLVED

    @property
    def is_firing(self) -> bool:
        return self.incident is not None and self.incident.state is State.FIRING


Move = tuple[Standing, tuple[Transition, ...]]


def advance(
    standing: Standing, subject: Subject, belief: Belief, at: Instant, now: float, *, terms: Terms
) -> Move:
    """Return how ``subject`` stands after a look at ``now``, and what is to be told of it."""
    if belief.judgement is None:
        return _quiet(standing, at, now, terms)
    if not standing.is_open:
        standing, opened = _open(standing, subject, belief.judgement, at, now, terms=terms)
        standing = replace(standing, told_left=belief.left[1])
        standing, moved = _found(standing, belief, belief.judgement, at, now, terms=terms)
        return standing, (opened, *moved)
    return _found(standing, belief, belief.judgement, at, now, terms=terms)


def close(standing: Standing, at: Instant, now: float, reason: Reason) -> Move:
    """Return the standing with its incident resolved for ``reason``; nothing is told where none is open."""
    incident = standing.incident
    if incident is None or not standing.is_open:
        return replace(standing, looks=0), ()
    closed = replace(incident, state=State.RESOLVED)
    after = Standing(closed, closed_at=now, explained_at=standing.explained_at)
    return after, (Transition(at, closed, reason),)


def adopt(transition: Transition, then: float) -> Standing:
    """Return how a Subject stands of which history alone tells; ``transition`` is its newest, of ``then``."""
    forecast = transition.incident.judgement.forecast
    left = forecast.at - transition.at.wall if isinstance(forecast, Exhaustion) else inf
    return Standing(transition.incident, then, then, 0, then, left, unseen_since=inf)


def is_stale(standing: Standing, now: float, terms: Terms) -> bool:
    """Return whether an incident of history has not been found again for as long as any is waited for."""
    since = standing.unseen_since
    return standing.is_open and since is not None and now - since >= terms.clear_latest


def severity(left: Left, before: Severity | None, terms: Terms) -> Severity:
    """Return how severe it is with these seconds left; from critical it takes relief to come down."""
    factor = terms.relief if before is Severity.CRITICAL else 1.0
    early, median = left
    is_critical = early <= factor * terms.critical_early or median <= factor * terms.critical_median
    return Severity.CRITICAL if is_critical else Severity.WARNING


def _quiet(standing: Standing, at: Instant, now: float, terms: Terms) -> Move:
    if not standing.is_open or standing.unseen_since is not None:  # a window that is new shows nothing yet
        return (replace(standing, looks=0) if standing.looks else standing), ()
    left = standing.told_left if standing.told_left < inf else 0.0
    patience = max(terms.clear_after, min(terms.clear_latest, CLEAR_SHARE * left))
    if now - standing.last_found < patience:
        return replace(standing, looks=0), ()
    return close(standing, at, now, Reason.CLEARED)


def _found(
    standing: Standing, belief: Belief, judgement: Judgement, at: Instant, now: float, *, terms: Terms
) -> Move:
    """Move the open incident of ``standing``, or leave it as it is."""
    standing = replace(
        standing,
        last_found=now,
        looks=standing.looks + 1,
        explained_at=now if belief.explained else standing.explained_at,
        unseen_since=None,
    )
    incident = standing.incident
    if incident is None:
        return standing, ()
    if belief.is_over or (incident.state is State.FIRING and belief.explained):
        closed = replace(incident, state=State.RESOLVED, judgement=judgement)
        after = Standing(closed, closed_at=now, explained_at=now)
        return after, (Transition(at, closed, Reason.EXPLAINED),)
    if incident.state is State.PENDING and belief.fires and _is_ready(standing, belief, now, terms):
        moved, reason = replace(incident, state=State.FIRING, judgement=judgement), Reason.ESTABLISHED
    elif _has_moved(standing, incident.judgement, belief, judgement, now, terms=terms):
        moved, reason = replace(incident, judgement=judgement), Reason.UPDATED
    else:
        return standing, ()
    standing = replace(standing, incident=moved, told_at=now, told_left=belief.left[1])
    return standing, (Transition(at, moved, reason),)


def _is_ready(standing: Standing, belief: Belief, now: float, terms: Terms) -> bool:
    """Return whether a pattern has been found for long enough, and nothing has explained it away lately."""
    has_held = standing.looks >= 2 and now - standing.first_found >= terms.hold
    return belief.at_once or (has_held and now - standing.explained_at >= terms.unexplained)


def _open(
    standing: Standing, subject: Subject, judgement: Judgement, at: Instant, now: float, *, terms: Terms
) -> tuple[Standing, Transition]:
    """Open an incident, or the last one again, if the pattern has returned soon enough."""
    before = standing.incident
    if before is not None and now - standing.closed_at <= terms.reopen_within:
        incident, reason = replace(before, state=State.PENDING, judgement=judgement), Reason.RETURNED
    else:
        opened = Incident(_id(subject, at), subject, at.wall, State.PENDING, judgement)
        incident, reason = opened, Reason.SEEN
    after = Standing(incident, now, now, 0, now, explained_at=standing.explained_at)
    return after, Transition(at, incident, reason)


def _has_moved(
    standing: Standing, before: Judgement, belief: Belief, after: Judgement, now: float, *, terms: Terms
) -> bool:
    left = belief.left
    if after.severity is not before.severity or (belief.at_once and after.pattern != before.pattern):
        return True
    if now - standing.told_at < max(terms.update_least, min(terms.update_every, left[1] / 4)):
        return False
    had, has = (isinstance(each.forecast, Exhaustion) for each in (before, after))
    if after.cause is not before.cause or had is not has:
        return True
    expected = max(0.0, standing.told_left - (now - standing.told_at))
    return left[1] < inf and abs(left[1] - expected) > max(terms.moved * left[1], terms.update_least)


def _id(subject: Subject, at: Instant) -> str:
    """Return twelve hexadecimal digits that name the incident ``subject`` opens at ``at``."""
    words = f"{subject.gpu}\n{subject.kind}\n{subject.owner or ''}\n{at.wall:.3f}"
    return hashlib.sha256(words.encode()).hexdigest()[:12]
