"""Decides whom to notify: ``decide`` is the whole decision, for one incident and one channel.

It compares how the incident stands with what the channel was told, so it can be called again at any time and
after any restart. It returns a step, or a withheld one with the reason. Pure.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, Severity, State, Transition
from vramwatch.core.model import SubjectKind
from vramwatch.core.silences import EVERYTHING, Matcher, QuietHours, Silence
from vramwatch.core.units import show_seconds
from vramwatch.core.verdicts import OUT_OF_MEMORY


class Notice(StrEnum):
    """What a channel is told of an incident."""

    OPENED = "opened"
    WORSE = "worse"  # its severity has risen, or memory ran out
    UPDATED = "updated"  # for channels that edit what they said: no one is called
    REPEATED = "repeated"
    RESOLVED = "resolved"


class Withholding(StrEnum):
    """Why a notice is not told."""

    FILTERED = "filtered"  # the channel does not take it: severity, or its filter
    OBSERVE = "observe"  # alerting.mode: observe
    SILENCED = "silenced"
    QUIET_HOURS = "quiet_hours"
    ACKNOWLEDGED = "acknowledged"
    FLAPPING = "flapping"
    SUPERSEDED = "superseded"  # a newer notice of the same incident took its place before it was sent


TOOK_ITS_PLACE = "a newer notice took its place"
"""What is said of a notice that was superseded."""

OPENINGS_KEPT = 32

OBSERVE = "observe"
"""The silence that a fresh service starts with: its id."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A configured way to tell people, as far as the decision goes. Seconds.

    ``edits``: what it was told can be changed in its place, so that updates call nobody.
    """

    name: str
    severities: frozenset[Severity] = frozenset(Severity)
    only: Matcher = EVERYTHING
    sends_resolved: bool = True
    quiet: QuietHours | None = None
    quiet_for: frozenset[Severity] = frozenset({Severity.WARNING})
    edits: bool = False
    group_wait: float = 30.0
    group_interval: float = 300.0
    repeat_interval: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """``flapping``: an incident that opened so often ``within`` seconds is told no more until it has
    ``settled`` for so long. ``large_ghost``: a share of the GPU; such a ghost is told while observing."""

    flapping: int = 4
    within: float = 6 * 3600.0
    settled: float = 3600.0
    large_ghost: float = 0.1


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person has it in hand: no repeats until its severity rises above ``severity``."""

    at: float  # unix seconds
    author: str
    note: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Case:
    """An incident as it stands, with what the decision needs of its past.

    ``openings``: when it was established, unix seconds, oldest first; bounded by whoever keeps it.
    ``given_up``: when remedies were, so that a person is needed (unix seconds); None: they were not.
    """

    newest: Transition
    openings: tuple[float, ...] = ()
    acknowledged: Acknowledgement | None = None
    given_up: float | None = None

    @property
    def incident(self) -> Incident:
        return self.newest.incident


@dataclass(frozen=True, slots=True)
class Told:
    """A notice that was decided for a channel, or withheld from it, and when (unix seconds)."""

    notice: Notice
    at: float
    severity: Severity
    pattern: str
    withheld: Withholding | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What one channel was told of one incident last, and what was withheld since."""

    sent: Told | None = None
    withheld: Told | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """To be told, not before ``due`` (unix seconds).

    ``id``: its number in the store, 0: the store gives it one. ``delivery``: in which message it left before
    it could be stored, None: in none.
    """

    channel: str
    incident: str
    notice: Notice
    due: float
    id: int = 0
    delivery: int | None = None


@dataclass(frozen=True, slots=True)
class Withheld:
    """Not told; ``detail`` says which silence, until when, by whom. ``id``: as that of Notify."""

    channel: str
    incident: str
    notice: Notice
    reason: Withholding
    detail: str
    id: int = 0


Step = Notify | Withheld


@dataclass(frozen=True, slots=True)
class Moment:
    """What holds for every decision that is made now (unix seconds)."""

    now: float
    silences: tuple[Silence, ...] = ()
    limits: Limits = Limits()


def decide(case: Case, channel: Channel, account: Account, moment: Moment) -> Step | None:
    """Return what is to be done for ``channel``; None: nothing that has not been decided before."""
    notice = called_for(case, channel, account, moment.now)
    if notice is None:
        return None
    obstacle = _obstacle(notice, case, channel, moment)
    incident = case.incident
    if obstacle is None:
        return Notify(channel.name, incident.id, notice, moment.now + channel.group_wait)
    reason, detail = obstacle
    before = account.withheld
    if before is not None and (before.notice, before.withheld) == (notice, reason):
        return None
    return Withheld(channel.name, incident.id, notice, reason, detail)


def account_after(account: Account, step: Step, case: Case, now: float) -> Account:
    """Return ``account`` once ``step`` was decided at ``now``."""
    reason = step.reason if isinstance(step, Withheld) else None
    judgement = case.incident.judgement
    told = Told(step.notice, now, judgement.severity, judgement.pattern, reason)
    return replace(account, withheld=told) if reason else Account(sent=told)


def called_for(case: Case, channel: Channel, account: Account, now: float) -> Notice | None:
    """Return what the channel has yet to be told, obstacles apart; None: nothing."""
    incident, sent = case.incident, account.sent
    is_known = sent is not None and sent.notice is not Notice.RESOLVED
    if incident.state is State.RESOLVED:
        return Notice.RESOLVED if is_known and channel.sends_resolved else None
    if incident.state is State.PENDING:
        return None
    if sent is None or not is_known:
        return Notice.OPENED
    if _is_worse(case, sent):
        return Notice.WORSE
    is_a_persons = case.given_up is not None and case.given_up > sent.at
    if is_a_persons or now - sent.at >= channel.repeat_interval:
        return Notice.REPEATED
    return Notice.UPDATED if channel.edits and case.newest.at.wall > sent.at else None


def _is_worse(case: Case, sent: Told) -> bool:
    judgement = case.incident.judgement
    if judgement.severity is Severity.CRITICAL and sent.severity is not Severity.CRITICAL:
        return True
    return judgement.pattern == OUT_OF_MEMORY != sent.pattern


Obstacle = tuple[Withholding, str]


def _obstacle(notice: Notice, case: Case, channel: Channel, moment: Moment) -> Obstacle | None:
    """Return the first of what keeps ``notice`` back, in the order in which a person would ask."""
    return (
        _filtered(notice, case, channel)
        or _silenced(case, moment)
        or _quiet(case, channel, moment.now)
        or _acknowledged(notice, case)
        or _flapping(notice, case, moment)
    )


def _filtered(notice: Notice, case: Case, channel: Channel) -> Obstacle | None:
    severity = case.incident.judgement.severity
    if notice in (Notice.UPDATED, Notice.RESOLVED):  # whoever heard of the beginning hears how it goes on
        return None
    if severity not in channel.severities:
        return Withholding.FILTERED, f"the channel does not take {severity}"
    if not channel.only.matches(case.incident, case.newest.scene):
        return Withholding.FILTERED, f"the channel takes {channel.only} alone"
    return None


def _silenced(case: Case, moment: Moment) -> Obstacle | None:
    for silence in moment.silences:
        if not silence.holds(moment.now) or not silence.matcher.matches(case.incident, case.newest.scene):
            continue
        if silence.id != OBSERVE:
            return Withholding.SILENCED, f"silence {silence.id} by {silence.author}: {silence.reason}"
        if not is_told_while_observing(case, moment.limits):
            return Withholding.OBSERVE, f"observing for {show_seconds(silence.until - moment.now)} more"
    return None


def is_told_while_observing(case: Case, limits: Limits) -> bool:
    """Whether it is too certain or too grave to wait: out-of-memory, a large ghost, a blind vramwatch."""
    incident, scene = case.incident, case.newest.scene
    if incident.subject.kind is SubjectKind.VRAMWATCH or incident.judgement.pattern == OUT_OF_MEMORY:
        return True
    if incident.subject.kind is not SubjectKind.UNATTRIBUTED or scene is None:
        return False
    return (scene.held_bytes or 0) >= limits.large_ghost * (scene.total_bytes or 0) > 0


def _quiet(case: Case, channel: Channel, now: float) -> Obstacle | None:
    end = channel.quiet.end(now) if channel.quiet else None
    if end is None or case.incident.judgement.severity not in channel.quiet_for:
        return None
    return Withholding.QUIET_HOURS, f"quiet hours for {show_seconds(end - now)} more"


def _acknowledged(notice: Notice, case: Case) -> Obstacle | None:
    told = case.acknowledged
    if told is None or notice in (Notice.OPENED, Notice.RESOLVED, Notice.UPDATED):
        return None
    if notice is Notice.WORSE and told.severity is not Severity.CRITICAL:
        return None
    return Withholding.ACKNOWLEDGED, f"acknowledged by {told.author}"


def _flapping(notice: Notice, case: Case, moment: Moment) -> Obstacle | None:
    limits = moment.limits
    if notice not in (Notice.OPENED, Notice.RESOLVED):
        return None
    recent = [each for each in case.openings if moment.now - each < limits.within]
    if len(recent) < limits.flapping or moment.now - case.newest.at.wall >= limits.settled:
        return None
    if notice is Notice.OPENED and _ends_within(limits.settled, case, moment):  # it would be told too late
        return None
    often = f"opened {len(recent)} times in {show_seconds(limits.within)}"
    return Withholding.FLAPPING, f"{often}; told once it has stood for {show_seconds(limits.settled)}"


def _ends_within(seconds: float, case: Case, moment: Moment) -> bool:
    """Return whether memory may end within so many seconds from now."""
    forecast = case.incident.judgement.forecast
    return isinstance(forecast, Exhaustion) and forecast.low - moment.now <= seconds


def openings_after(openings: tuple[float, ...], opened: float) -> tuple[float, ...]:
    """Return ``openings`` with one more, as many as a decision looks at."""
    return (*openings, opened)[-OPENINGS_KEPT:]
