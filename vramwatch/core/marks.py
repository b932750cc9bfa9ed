"""Scores a replay by the marks that people gave to incidents. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

from vramwatch.core.incidents import State, Subject, Transition
from vramwatch.core.model import SubjectKind


class Mark(StrEnum):
    """Whether it was right to call somebody."""

    FALSE_ALARM = "false_alarm"
    TRUE_ALARM = "true_alarm"


@dataclass(frozen=True, slots=True)
class Score:
    """One marked incident: when it fired then, and when it fires in the replay. Unix seconds; None: never.

    A good configuration fires for no false alarm, and for every true one, as early as before.
    """

    incident: str
    subject: Subject
    mark: Mark
    opened: float
    fired: float | None
    fires: float | None

    @property
    def later(self) -> float | None:
        """By how many seconds it fires later than then, negative: earlier; None: one of both never did."""
        return None if self.fired is None or self.fires is None else self.fires - self.fired


@dataclass(frozen=True, slots=True)
class _Firing:
    """A stretch in which an incident fired; ``until`` is inf where it has no end."""

    subject: Subject
    pid: int | None
    since: float
    until: float


def scores(
    marks: Mapping[str, Mark], then: Sequence[Transition], now: Sequence[Transition]
) -> tuple[Score, ...]:
    """Return how a replay does on each marked incident (id -> mark), in the order of their openings.

    ``then``: how incidents moved as it was said, from their openings on; ``now``: in the replay. What fires
    for the same Subject while the marked incident was open is the same growth, and so is what fires for the
    same process, where owners are named by other rules. Ids say nothing: they are made of when an incident
    opened. Of vramwatch's own incidents no replay tells.
    """
    by_id: dict[str, list[Transition]] = {}
    for move in then:
        if move.incident.id in marks and move.incident.subject.kind is not SubjectKind.VRAMWATCH:
            by_id.setdefault(move.incident.id, []).append(move)
    firing = list(_firing(now))
    found = [_score(marks[id], moves, firing) for id, moves in by_id.items()]
    return tuple(sorted(found, key=lambda each: each.opened))


def _score(mark: Mark, moves: Sequence[Transition], firing: Iterable[_Firing]) -> Score:
    incident, last = moves[0].incident, moves[-1]
    until = last.at.wall if last.incident.state is State.RESOLVED else inf
    pids = {each.incident.judgement.pid for each in moves} - {None}
    fires = [
        each.since
        for each in firing
        if each.since <= until and each.until >= incident.opened and _is_same(each, incident.subject, pids)
    ]
    fired = next((each.at.wall for each in moves if each.incident.state is State.FIRING), None)
    return Score(incident.id, incident.subject, mark, incident.opened, fired, min(fires) if fires else None)


def _is_same(firing: _Firing, subject: Subject, pids: Collection[int | None]) -> bool:
    return firing.subject == subject or (firing.subject.gpu == subject.gpu and firing.pid in pids)


def _firing(moves: Iterable[Transition]) -> Iterator[_Firing]:
    began: dict[str, _Firing] = {}
    for move in moves:
        incident, wall = move.incident, move.at.wall
        if incident.state is State.FIRING:
            began.setdefault(incident.id, _Firing(incident.subject, incident.judgement.pid, wall, inf))
        elif before := began.pop(incident.id, None):
            yield replace(before, until=wall)
    yield from began.values()
