"""Incidents of vramwatch itself: it reads no GPU, cannot store or send, is misconfigured, or the figures of
its probe have drifted. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vramwatch.core.forecast import Abstention
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import (
    Belief,
    Judgement,
    Reason,
    Severity,
    Standing,
    State,
    Subject,
    Terms,
    Transition,
    advance,
)
from vramwatch.core.model import FaultKind, Instant, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.core.verdicts import Cause, Evidence

BLIND, CHANNEL, CONFIGURATION, PROBE, STORE = "blind", "channel", "configuration", "probe", "store"

HELD: Mapping[str, float] = {BLIND: 60.0, CHANNEL: 120.0, CONFIGURATION: 0.0, PROBE: 0.0, STORE: 60.0}
"""Seconds that each must last before people are told: a driver restarts, a receiver is updated."""

CLEAR_AFTER = 60.0

MEANT = frozenset(
    {FaultKind.RELEASED, FaultKind.STARTING, FaultKind.STOPPED, FaultKind.RECORDED, FaultKind.ENDED}
)
"""Faults that somebody asked for, or that are over by themselves."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong now. ``name``: its kind, and of a channel or a probe its name; ``sentence``: the rest.

    ``numbers``: behind the sentence, keys with their units; ``since`` (unix seconds) and ``count``: of what
    they were held against. Without them it is what this poll shows.
    """

    name: str
    sentence: str
    severity: Severity = Severity.WARNING
    numbers: Mapping[str, float] = field(default_factory=dict)
    since: float | None = None
    count: int = 1

    @property
    def kind(self) -> str:
        return self.name.partition(" ")[0]


def blindness(poll: Poll) -> Trouble | None:
    """Return that nothing at all can be read, against what was meant; None: something can."""
    if poll.ledgers or not poll.missing or any(each.fault.kind in MEANT for each in poll.missing):
        return None
    return Trouble(BLIND, f"no GPU can be read: {poll.missing[0].fault.detail}", Severity.CRITICAL)


class Troubles:
    """How each trouble stands. Told at every poll what is wrong at it."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}

    def take_up(self, open_ones: Iterable[Transition], now: float) -> None:
        """Go on from incidents that were open when the daemon ended; ``now``: see ``turn``.

        One that has opened anew since stays as it is.
        """
        for each in open_ones:
            incident = each.incident
            if incident.subject.kind is SubjectKind.VRAMWATCH and incident.state is not State.RESOLVED:
                name = incident.subject.owner or ""
                if not self._standings.get(name, Standing()).is_open:
                    self._standings[name] = Standing(incident, now, now, told_at=now)

    def let_go(self, moved: Iterable[Transition]) -> None:
        """Take in which of them a person dismissed; what is still wrong opens again."""
        for each in moved:
            name, incident = each.incident.subject.owner or "", each.incident
            if each.reason is Reason.DISMISSED and incident.subject.kind is SubjectKind.VRAMWATCH:
                self._standings[name] = Standing(incident, closed_at=each.at.boottime)

    def turn(self, troubles: Iterable[Trouble], at: Instant, now: float) -> tuple[Transition, ...]:
        """Return how incidents move. ``now``: seconds that do not step."""
        wrong = {each.name: each for each in troubles}
        moved: list[Transition] = []
        for name in [*wrong, *(name for name in self._standings if name not in wrong)]:
            trouble = wrong.get(name)
            before = self._standings.get(name, Standing())
            if trouble is None and not before.is_open:
                continue
            belief = Belief(None) if trouble is None else _belief(trouble, before, at)
            hold = HELD.get(name.partition(" ")[0], 0.0)
            terms = Terms(hold=hold, clear_after=CLEAR_AFTER, clear_latest=CLEAR_AFTER, unexplained=0.0)
            subject = Subject("", SubjectKind.VRAMWATCH, name)
            after, transitions = advance(before, subject, belief, at, now, terms=terms)
            self._standings[name] = after if after.is_open else replace(after, looks=0)
            moved += transitions
        return tuple(moved)


def _belief(trouble: Trouble, before: Standing, at: Instant) -> Belief:
    opened = before.incident.opened if before.is_open and before.incident else at.wall
    since = opened if trouble.since is None else trouble.since
    evidence = Evidence(trouble.sentence, trouble.numbers, since, at.wall, trouble.count)
    judgement = Judgement(
        trouble.kind, Cause.UNKNOWN, trouble.severity, evidence, None, Abstention(NoForecast.NO_RATE)
    )
    return Belief(judgement, fires=True, at_once=HELD.get(trouble.kind, 0.0) == 0.0)
