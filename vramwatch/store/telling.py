"""Whom to tell, as rows: steps, deliveries, silences, and what people said of incidents."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from vramwatch.core.incidents import Reason, Severity, State, Transition
from vramwatch.core.marks import Mark
from vramwatch.core.messages import MessageKind
from vramwatch.core.model import Instant
from vramwatch.core.policy import (
    Account,
    Acknowledgement,
    Case,
    Notice,
    Notify,
    Step,
    Told,
    Withheld,
    Withholding,
    openings_after,
)
from vramwatch.core.silences import Matcher, Silence
from vramwatch.store import attempts, incidents
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, storable
from vramwatch.store.spans import listed

DELIVERED = "delivered"
"""The outcome of a delivery that the receiver has taken."""

SUPERSEDED = "superseded"
"""The outcome of a delivery that was dissolved: newer notices had come."""

Accounts = Mapping[tuple[str, str], Account]
"""(Channel, incident) -> what it was told."""


class RemarkKind(StrEnum):
    ACK = "ack"
    RESOLVE = "resolve"
    FALSE_ALARM = Mark.FALSE_ALARM.value
    TRUE_ALARM = Mark.TRUE_ALARM.value


MARKED = frozenset(RemarkKind(each.value) for each in Mark)
"""What people say for whoever chooses the configuration later."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person said of an incident, and how severe it was then."""

    incident: str
    wall: float
    kind: RemarkKind
    author: str
    note: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as it stands in the store, with what became of its delivery; None: it has none yet."""

    id: int
    wall: float
    step: Step
    delivery: "DeliveryRow | None"


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """``due``: unix seconds of the next attempt, None where it is over; ``outcome`` None: not known yet."""

    id: int
    channel: str
    key: str
    kind: str
    made: float
    attempts: int
    due: float | None
    outcome: str | None
    detail: str
    ended: float | None
    reference: str | None


# --- steps ----------------------------------------------------------------------------------------


def write_steps(connection: Connection, steps: Iterable[Step], at: Instant) -> None:
    """Write what was decided at the poll ``at``; each incident stands in the store already."""
    for step in steps:
        newest = select(t.transition.c.id, t.transition.c.severity).where(
            t.transition.c.incident == step.incident
        )
        row = connection.execute(newest.order_by(t.transition.c.id.desc()).limit(1)).first()
        # None: its owner was forgotten since it was decided; the message in which it left may be so too
        if row is not None and _stands(connection, step):
            connection.execute(insert(t.step), _step_values(step, at, row))


def _stands(connection: Connection, step: Step) -> bool:
    """Whether the message in which ``step`` has left stands in the store; true where it has not left."""
    if isinstance(step, Withheld) or step.delivery is None:
        return True
    id = t.delivery.c.id
    return connection.scalar(select(id).where(id == step.delivery)) is not None


def _step_values(step: Step, at: Instant, newest: Any) -> Values:
    return storable(
        {
            "id": step.id or None,
            "seq": at.seq,
            "wall": at.wall,
            "incident": step.incident,
            "transition_id": newest.id,
            "channel": step.channel,
            "notice": step.notice.value,
            "severity": newest.severity,
            "due": None if isinstance(step, Withheld) else step.due,
            "withheld": step.reason.value if isinstance(step, Withheld) else None,
            "detail": step.detail if isinstance(step, Withheld) else "",
            "delivery": None if isinstance(step, Withheld) else step.delivery,
        }
    )


def steps_of(connection: Connection, incident: str) -> list[StepRow]:
    """Return every step of an incident, in the order in which they were decided; may be empty."""
    rows = connection.execute(
        select(t.step, *(each.label(f"d_{each.name}") for each in t.delivery.c))
        .select_from(t.step.outerjoin(t.delivery, t.delivery.c.id == t.step.c.delivery))
        .where(t.step.c.incident == incident)
        .order_by(t.step.c.id)
    )
    return [StepRow(row.id, row.wall, _step_of(row), _delivery_row(row)) for row in rows]


def _step_of(row: Row[Any]) -> Step:
    notice = Notice(row.notice)
    if row.withheld is None:
        return Notify(row.channel, row.incident, notice, row.due)
    return Withheld(row.channel, row.incident, notice, Withholding(row.withheld), row.detail)


def _delivery_row(row: Row[Any]) -> DeliveryRow | None:
    if row.d_id is None:
        return None
    return DeliveryRow(*(getattr(row, f"d_{name}") for name in DeliveryRow.__slots__))


# --- what the decision goes on from ---------------------------------------------------------------


def cases(connection: Connection, since: float) -> list[Case]:
    """Return every incident that is open, or has moved after ``since``, as it stands."""
    newest = select(func.max(t.transition.c.id)).group_by(t.transition.c.incident)
    is_wanted = (t.transition.c.state != State.RESOLVED.value) | (t.transition.c.wall > since)
    rows = connection.execute(incidents.SELECT.where(t.transition.c.id.in_(newest), is_wanted)).all()
    told = [incidents.transition_of(row) for row in rows]
    ids = [each.incident.id for each in told]
    openings, acknowledged = _openings(connection, ids), _acknowledged(connection, ids)
    return [Case(each, openings[each.incident.id], acknowledged.get(each.incident.id)) for each in told]


def _openings(connection: Connection, ids: Collection[str]) -> Mapping[str, tuple[float, ...]]:
    columns = t.transition.c
    of_them = columns.incident.in_(listed(ids)), columns.reason == Reason.ESTABLISHED.value
    found: dict[str, tuple[float, ...]] = defaultdict(tuple)
    for row in connection.execute(
        select(columns.incident, columns.wall).where(*of_them).order_by(columns.id)
    ):
        found[row.incident] = openings_after(found[row.incident], row.wall)
    return found


def _acknowledged(connection: Connection, ids: Collection[str]) -> Mapping[str, Acknowledgement]:
    """Return the newest acknowledgement of each; one that was given before the incident reopened is over."""
    columns = t.remark.c
    said = select(t.remark).where(columns.incident.in_(listed(ids)), columns.kind == RemarkKind.ACK.value)
    found = {
        row.incident: Acknowledgement(row.wall, row.author, row.note, Severity(row.severity))
        for row in connection.execute(said.order_by(columns.id))
    }
    closed = select(t.transition.c.incident, func.max(t.transition.c.wall).label("wall")).where(
        t.transition.c.incident.in_(listed(found)), t.transition.c.state == State.RESOLVED.value
    )
    for row in connection.execute(closed.group_by(t.transition.c.incident)):
        if row.wall >= found[row.incident].at:
            del found[row.incident]
    return found


def accounts(connection: Connection, ids: Collection[str]) -> Accounts:
    """Return what every channel was told of the incidents ``ids``."""
    judged = t.step.join(t.transition, t.transition.c.id == t.step.c.transition_id)
    steps = select(t.step, t.transition.c.pattern).select_from(judged)
    rows = connection.execute(steps.where(t.step.c.incident.in_(listed(ids))).order_by(t.step.c.id))
    found: dict[tuple[str, str], Account] = {}
    for row in rows:
        key = (row.channel, row.incident)
        reason = Withholding(row.withheld) if row.withheld else None
        if reason is Withholding.SUPERSEDED:  # what took its place follows
            reason = None
        told = Told(Notice(row.notice), row.wall, Severity(row.severity), row.pattern, reason)
        before = found.get(key, Account())
        found[key] = Account(before.sent, told) if reason else Account(told)
    return found


def all_silences(connection: Connection) -> list[Silence]:
    return [_silence_of(row) for row in connection.execute(select(t.silence).order_by(t.silence.c.since))]


def _silence_of(row: Row[Any]) -> Silence:
    return Silence(row.id, row.author, row.reason, row.since, row.until, Matcher(json.loads(row.matcher)))


def write_silence(connection: Connection, silence: Silence) -> None:
    """Keep ``silence``, in place of one of the same id."""
    values: Values = {
        "id": silence.id,
        "author": silence.author,
        "reason": silence.reason,
        "since": silence.since,
        "until": silence.until,
        "matcher": json.dumps(dict(silence.matcher.globs)),
    }
    statement = sqlite_insert(t.silence).values(storable(values))
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=storable(values)))


def write_remark(connection: Connection, remark: Remark) -> None:
    values = {name: getattr(remark, name) for name in Remark.__slots__}
    words = {"kind": remark.kind.value, "severity": remark.severity.value}
    connection.execute(insert(t.remark), storable({**values, **words}))


def remarks(connection: Connection, ids: Collection[str]) -> Mapping[str, tuple[Remark, ...]]:
    """Return what people said of the incidents ``ids``, of each in the order in which they did."""
    found: dict[str, tuple[Remark, ...]] = defaultdict(tuple)
    said = select(t.remark).where(t.remark.c.incident.in_(listed(ids))).order_by(t.remark.c.id)
    for row in connection.execute(said):
        told = Remark(
            *(row.incident, row.wall, RemarkKind(row.kind), row.author, row.note, Severity(row.severity))
        )
        found[row.incident] += (told,)
    return found


def marks(connection: Connection, ids: Collection[str]) -> Mapping[str, Mark]:
    """Return what those of the incidents ``ids`` were marked as that were; the newest word counts."""
    said = (each for told in remarks(connection, ids).values() for each in told)
    return {each.incident: Mark(each.kind.value) for each in said if each.kind in MARKED}


# --- which incident is meant ----------------------------------------------------------------------


def beginning(connection: Connection, text: str, most: int) -> list[str]:
    """Return the ids of incidents that begin with ``text``, at most so many, the newest first."""
    begins = func.substr(t.incident.c.id, 1, len(text)) == text
    ids = select(t.incident.c.id).where(begins).order_by(t.incident.c.opened.desc(), t.incident.c.id)
    return list(connection.scalars(ids.limit(most)))


def hosts(connection: Connection) -> list[str]:
    """Return what the machine was called in messages, the newest name first; empty: nobody kept it."""
    named = select(t.run.c.host).where(t.run.c.host.is_not(None)).group_by(t.run.c.host)
    return list(connection.scalars(named.order_by(func.max(t.run.c.id).desc())))


def case(connection: Connection, incident: str) -> Case:
    """Return an incident as it stands; it is known."""
    newest = incidents.SELECT.where(t.transition.c.incident == incident).order_by(None)
    row = connection.execute(newest.order_by(t.transition.c.id.desc()).limit(1)).one()
    acknowledged = _acknowledged(connection, [incident]).get(incident)
    return Case(incidents.transition_of(row), _openings(connection, [incident])[incident], acknowledged)


def transitions_of(connection: Connection, incident: str) -> list[Transition]:
    """Return how an incident moved, in the order in which it did."""
    rows = connection.execute(incidents.SELECT.where(t.transition.c.incident == incident))
    return [incidents.transition_of(row) for row in rows]


def takers(connection: Connection, ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Return incident -> the channels that have taken a message about it, in the order in which they did."""
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    taken = (
        select(t.step.c.incident, t.step.c.channel)
        .select_from(t.step.join(t.delivery, t.delivery.c.id == t.step.c.delivery))
        .where(t.step.c.incident.in_(listed(ids)), t.delivery.c.outcome == DELIVERED)
        .order_by(t.delivery.c.id)
    )
    for row in connection.execute(taken):
        if row.channel not in found[row.incident]:
            found[row.incident] += (row.channel,)
    return found


# --- letting go -----------------------------------------------------------------------------------


def drop(connection: Connection, kept: Any) -> None:
    """Let go of what was told of incidents that are not among ``kept``, a select of their ids.

    With them go messages that nothing stands for any more: those under way, and tests and digests, once
    they are over.
    """
    attempts.drop(connection, kept)
    connection.execute(delete(t.step).where(t.step.c.incident.not_in(kept)))
    connection.execute(delete(t.remark).where(t.remark.c.incident.not_in(kept)))
    told = select(t.step.c.delivery).where(t.step.c.delivery.is_not(None))
    is_of_nothing = t.delivery.c.due.is_(None) | (t.delivery.c.kind == MessageKind.INCIDENTS.value)
    connection.execute(delete(t.delivery).where(is_of_nothing, t.delivery.c.id.not_in(told)))


def forget(connection: Connection, owners: Collection[str]) -> None:
    """Delete what was told, and said, of the incidents of ``owners`` (keys)."""
    owner = t.incident.c.owner
    drop(connection, select(t.incident.c.id).where(owner.is_(None) | owner.not_in(listed(owners))))


def drop_until(connection: Connection, seq: int) -> None:
    """Let go of what was told of incidents of which nothing was judged after the poll ``seq``."""
    drop(connection, select(t.transition.c.incident).where(t.transition.c.seq > seq))
