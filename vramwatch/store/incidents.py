"""Transitions of incidents as rows, and rows as transitions again."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import (
    Incident,
    Judgement,
    Reason,
    Severity,
    State,
    Subject,
    Transition,
)
from vramwatch.core.instants import kept_instant
from vramwatch.core.model import Instant, ProcessKey, SubjectKind
from vramwatch.core.scenes import Scene, nameless
from vramwatch.core.verdicts import Cause, Evidence, Rate, RuledOut, without_pids
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, join_words, split_words, storable
from vramwatch.store.spans import listed

Stand = tuple[int, str]
"""Seq of the poll that was judged, id of the incident: all that one does at one poll is stored at once."""

SELECT = (
    select(t.transition, *(t.incident.c[name] for name in ("gpu", "kind", "owner", "opened")))
    .select_from(t.transition.join(t.incident, t.incident.c.id == t.transition.c.incident))
    .order_by(t.transition.c.seq, t.transition.c.id)
)
"""What ``transition_of`` reads, in the order in which it was judged."""


def write(connection: Connection, transitions: Iterable[Transition]) -> None:
    """Write ``transitions``, with the incidents that are new in them. Errors: SQLAlchemyError."""
    for each in transitions:
        incident = sqlite_insert(t.incident).on_conflict_do_nothing()
        connection.execute(incident, _incident_values(each.incident))
        connection.execute(insert(t.transition), _transition_values(each))


def standing(connection: Connection, after: int) -> set[Stand]:
    """Return what is stored of polls after ``after``."""
    columns = t.transition.c
    rows = connection.execute(select(columns.seq, columns.incident).where(columns.seq > after))
    return {(row.seq, row.incident) for row in rows}


def dismissed(connection: Connection, after: int) -> Mapping[int, tuple[Incident, ...]]:
    """Return the incidents that a person dismissed at polls after ``after``, by the seq of the poll."""
    found: dict[int, tuple[Incident, ...]] = defaultdict(tuple)
    theirs = t.transition.c.seq > after, t.transition.c.reason == Reason.DISMISSED.value
    for moved in map(transition_of, connection.execute(SELECT.where(*theirs))):
        found[moved.at.seq] += (moved.incident,)
    return found


def stand_of(transition: Transition) -> Stand:
    """Return what ``standing`` tells of ``transition`` once it is stored."""
    return transition.at.seq, str(storable({"id": transition.incident.id})["id"])


def of_open_ones() -> Select[Any]:
    """Return a select of the newest transition of every incident that is not resolved."""
    newest = select(func.max(t.transition.c.id)).group_by(t.transition.c.incident)
    is_open = t.transition.c.state != State.RESOLVED.value
    return SELECT.where(t.transition.c.id.in_(newest), is_open)


def last_moves(since: float, until: float) -> Select[Any]:
    """Return a select of the newest transition, as of ``until``, of every incident that was open in the span.

    Unix seconds. Of one that was resolved in between, that is the resolution.
    """
    columns = t.transition.c
    newest = select(func.max(columns.id)).where(columns.wall <= until).group_by(columns.incident)
    was_open = or_(columns.state != State.RESOLVED.value, columns.wall >= since)
    return SELECT.where(columns.id.in_(newest), was_open)


def firing() -> Select[Any]:
    """Return a select of the ids of incidents that fire."""
    newest = select(func.max(t.transition.c.id)).group_by(t.transition.c.incident)
    fires = t.transition.c.state == State.FIRING.value
    return select(t.transition.c.incident).where(t.transition.c.id.in_(newest), fires)


def drop_until(connection: Connection, seq: int) -> None:
    """Let go of what was judged of polls up to ``seq``, and of incidents of which nothing is left."""
    connection.execute(delete(t.transition).where(t.transition.c.seq <= seq))
    connection.execute(delete(t.incident).where(t.incident.c.id.not_in(select(t.transition.c.incident))))


def forget(connection: Connection, owners: Collection[str], lives: Collection[ProcessKey]) -> int:
    """Delete the incidents of ``owners`` (keys), and the checkpoint, which may know them; return how many.

    Incidents of others, as of their whole Gpu, name the processes ``lives`` no more.
    """
    theirs = t.incident.c.owner.in_(listed(owners))
    moves = t.transition.c.incident.in_(select(t.incident.c.id).where(theirs))
    connection.execute(delete(t.transition).where(moves))
    connection.execute(delete(t.checkpoint))
    count = connection.execute(delete(t.incident).where(theirs)).rowcount
    _forget_lives(connection, lives)
    return count


def _forget_lives(connection: Connection, lives: Collection[ProcessKey]) -> None:
    pids: dict[str, set[int]] = defaultdict(set)
    for key in lives:
        pids[key.boot_id].add(key.pid)
    columns = t.transition.c
    named = select(columns.id, columns.boot_id, columns.pid, columns.evidence, columns.scene)
    for row in connection.execute(named.where(columns.boot_id.in_(listed(pids)))).all():
        values = _nameless(row, pids[row.boot_id])
        if values:
            connection.execute(update(t.transition).where(columns.id == row.id).values(values))


def _nameless(row: Any, pids: Collection[int]) -> Values:
    """Return what of a transition changes where it must not name ``pids`` any more; may be empty."""
    values: Values = {}
    told = json.loads(row.evidence)
    flight = without_pids(told["flight"], pids)
    if len(flight) < len(told["flight"]):
        values["evidence"] = _json({**told, "flight": flight})
    if row.pid in pids:
        values["pid"] = None
    scene = None if row.scene is None else Scene(**json.loads(row.scene))
    if scene and scene.pid in pids:
        values["scene"] = _json(asdict(nameless(scene)))
    return values


def transition_of(row: Row[Any]) -> Transition:
    """Return the Transition of a row of ``SELECT``. Errors: ValueError, TypeError, LookupError."""
    judgement = Judgement(
        row.pattern,
        Cause(row.cause),
        Severity(row.severity),
        _evidence_of(json.loads(row.evidence)),
        None if row.rate_median is None else Rate(row.rate_low, row.rate_median, row.rate_high),
        _forecast_of(row),
        tuple(_ruled_out_of(each) for each in json.loads(row.ruled_out)),
        row.pid,
        tuple(split_words(row.others)),
        tuple(Cause(word) for word in split_words(row.alternatives)),
    )
    subject = Subject(row.gpu, SubjectKind(row.kind), row.owner)
    incident = Incident(row.incident, subject, row.opened, State(row.state), judgement)
    at = Instant(row.seq, row.wall, row.boottime, row.boot_id)
    scene = None if row.scene is None else Scene(**json.loads(row.scene))
    return Transition(at, incident, Reason(row.reason), scene)


def _evidence_of(told: dict[str, Any]) -> Evidence:
    flight = {
        name: tuple((at, low, high) for at, low, high in points) for name, points in told["flight"].items()
    }
    return Evidence(**{**told, "flight": flight})


def _forecast_of(row: Row[Any]) -> Exhaustion | Abstention:
    if row.exhaustion_at is None:
        return Abstention(NoForecast(row.abstention))
    return Exhaustion(row.exhaustion_at, row.exhaustion_low, row.exhaustion_high)


def _ruled_out_of(told: dict[str, Any]) -> RuledOut:
    return RuledOut(**{**told, "cause": Cause(told["cause"])})


def _incident_values(incident: Incident) -> Values:
    subject = incident.subject
    return storable(
        {
            "id": incident.id,
            "gpu": subject.gpu,
            "kind": subject.kind.value,
            "owner": subject.owner,
            "opened": incident.opened,
        }
    )


def _transition_values(transition: Transition) -> Values:
    at, incident, judged = kept_instant(transition.at), transition.incident, transition.incident.judgement
    rate, forecast = judged.rate, judged.forecast
    seen = forecast if isinstance(forecast, Exhaustion) else None
    return storable(
        {
            **asdict(at),
            "incident": incident.id,
            "state": incident.state.value,
            "severity": judged.severity.value,
            "cause": judged.cause.value,
            "pattern": judged.pattern,
            "pid": judged.pid,
            "rate_low": rate and rate.low,
            "rate_median": rate and rate.median,
            "rate_high": rate and rate.high,
            "exhaustion_at": seen and seen.at,
            "exhaustion_low": seen and seen.low,
            "exhaustion_high": seen and seen.high,
            "abstention": forecast.reason.value if isinstance(forecast, Abstention) else None,
            "reason": transition.reason.value,
            "evidence": _json(_evidence(judged.evidence)),
            "ruled_out": _json([_ruled_out(each) for each in judged.ruled_out]),
            "others": join_words(judged.others),
            "alternatives": join_words(judged.alternatives),
            "scene": _json(asdict(transition.scene)) if transition.scene else None,
        }
    )


def _evidence(told: Evidence) -> Values:
    return {
        "sentence": told.sentence,
        "numbers": dict(told.numbers),
        "since": told.since,
        "until": told.until,
        "count": told.count,
        "flight": told.flight,
    }


def _ruled_out(told: RuledOut) -> Values:
    return {"cause": told.cause.value, "sentence": told.sentence, "numbers": dict(told.numbers)}


def _json(told: object) -> str:
    return json.dumps(told, separators=(",", ":"))
