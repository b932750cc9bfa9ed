"""Messages on their way as rows: what waits, what is under way, and what became of it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from vramwatch.core.incidents import State, Transition
from vramwatch.core.messages import Heard, MessageKind
from vramwatch.core.outgoing import Carried, Course, Delivered, Delivery, Outcome, Rejected, Retry, Waiting
from vramwatch.core.policy import TOOK_ITS_PLACE, Notice, Withholding
from vramwatch.store import incidents
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, storable
from vramwatch.store.spans import listed
from vramwatch.store.telling import DELIVERED, SUPERSEDED


def waiting(connection: Connection, channel: str, most: int, besides: Collection[str] = ()) -> list[Waiting]:
    """Return the notices that have not left yet, the ``most`` that were decided first, in that order.

    ``besides``: of which incidents none is wanted.
    """
    columns = t.step.c
    is_waiting = [columns.channel == channel, columns.delivery.is_(None), columns.withheld.is_(None)]
    if besides:
        is_waiting.append(columns.incident.not_in(listed(besides)))
    return list(_notices(connection, select(t.step).where(*is_waiting).order_by(columns.id).limit(most)))


def under_way(connection: Connection, channel: str) -> list[tuple[Delivery, float]]:
    """Return the deliveries that are not over, each with when its next attempt is due (unix seconds)."""
    is_due = t.delivery.c.due.is_not(None), t.delivery.c.channel == channel
    rows = connection.execute(select(t.delivery).where(*is_due).order_by(t.delivery.c.id)).all()
    return [(_delivery_of(connection, row), row.due) for row in rows]


def _delivery_of(connection: Connection, row: Row[Any]) -> Delivery:
    theirs = select(t.step).where(t.step.c.delivery == row.id, t.step.c.withheld.is_(None))
    notices = tuple(_notices(connection, theirs.order_by(t.step.c.id)))
    return Delivery(
        row.channel,
        row.key,
        row.made,
        notices,
        MessageKind(row.kind),
        row.text,
        row.id,
        row.attempts,
        is_uncertain=bool(row.uncertain) or row.outcome is None,  # it was begun, and then we were killed
    )


def _notices(connection: Connection, wanted_steps: Select[Any]) -> Iterator[Waiting]:
    steps = connection.execute(wanted_steps).all()
    known = _transitions(connection, {row.transition_id for row in steps})
    for row in steps:
        if row.transition_id in known:
            found = known[row.transition_id]
            yield Waiting(row.id, row.channel, Notice(row.notice), row.wall, row.due, found)


def _transitions(connection: Connection, ids: Collection[int]) -> Mapping[int, Transition]:
    found = incidents.SELECT.where(t.transition.c.id.in_(listed(ids)))
    return {row.id: incidents.transition_of(row) for row in connection.execute(found)}


def begin(connection: Connection, delivery: Delivery, due: float) -> int:
    """Keep that an attempt at ``delivery`` begins, before it does; return its id. ``due``: see the table."""
    if delivery.id:
        counted = {"attempts": t.delivery.c.attempts + 1, "uncertain": delivery.is_uncertain}
        begun = {**counted, "outcome": None, "due": due}
        connection.execute(update(t.delivery).where(t.delivery.c.id == delivery.id).values(begun))
        return delivery.id
    values: Values = {
        "channel": delivery.channel,
        "key": delivery.key,
        "kind": delivery.kind.value,
        "made": delivery.made,
        "text": delivery.text,
        "attempts": 1,
        "uncertain": delivery.is_uncertain,
        "due": due,
        "detail": "",
    }
    id = connection.execute(insert(t.delivery), storable(values)).lastrowid
    steps = [each.step for each in delivery.notices]
    connection.execute(update(t.step).where(t.step.c.id.in_(listed(steps))).values(delivery=id))
    return id


def end(
    connection: Connection, delivery: int, outcome: Outcome | None, now: float, due: float | None
) -> None:
    """Keep what came of an attempt; None: it was not made. ``due``: unix seconds of the next; None: over."""
    if outcome is None:
        untried = {"attempts": t.delivery.c.attempts - 1, "outcome": "retry", "due": due}
        connection.execute(update(t.delivery).where(t.delivery.c.id == delivery).values(untried))
        return
    word, detail, reference = _outcome_words(outcome)
    values: Values = {
        "outcome": word,
        "detail": detail,
        "due": due,
        "ended": None if due is not None else now,
        "reference": reference,
    }
    if isinstance(outcome, Retry) and outcome.is_uncertain:
        values["uncertain"] = True
    connection.execute(update(t.delivery).where(t.delivery.c.id == delivery).values(storable(values)))


def _outcome_words(outcome: Outcome) -> tuple[str, str, str | None]:
    match outcome:
        case Delivered(detail, reference):
            return DELIVERED, detail, reference
        case Retry(reason):
            return "retry", reason, None
        case Rejected(reason):
            return "rejected", reason, None


def dissolve(connection: Connection, delivery: int, now: float) -> None:
    """Have the notices of a delivery wait again: newer ones have come, and they leave together."""
    connection.execute(update(t.step).where(t.step.c.delivery == delivery).values(delivery=None))
    over = {"due": None, "outcome": SUPERSEDED, "ended": now}
    connection.execute(update(t.delivery).where(t.delivery.c.id == delivery).values(over))


def supersede(connection: Connection, steps: Collection[int]) -> None:
    """Keep that newer notices took the place of those of ``steps`` (ids)."""
    values = {"withheld": Withholding.SUPERSEDED.value, "detail": TOOK_ITS_PLACE}
    connection.execute(update(t.step).where(t.step.c.id.in_(listed(steps))).values(values))


def carry(connection: Connection, carried: Carried) -> None:
    """Keep what became of messages while it could not be stored, with the steps that stand already."""
    for each in sorted(carried.courses, key=lambda each: bool(each.steps)):  # what is dissolved comes first
        values = storable(_course_values(each))
        id = each.delivery.id
        row = sqlite_insert(t.delivery).values({"id": id, **values})
        connection.execute(row.on_conflict_do_update(index_elements=["id"], set_=values))
        connection.execute(update(t.step).where(t.step.c.delivery == id).values(delivery=None))
        connection.execute(update(t.step).where(t.step.c.id.in_(listed(each.steps))).values(delivery=id))
    supersede(connection, carried.superseded)


def _course_values(course: Course) -> Values:
    delivery, is_over = course.delivery, course.due is None
    word, detail, reference = (SUPERSEDED if is_over else None), "", None
    if course.outcome is not None:
        word, detail, reference = _outcome_words(course.outcome)
    return {
        "channel": delivery.channel,
        "key": delivery.key,
        "kind": delivery.kind.value,
        "made": delivery.made,
        "text": delivery.text,
        "attempts": delivery.attempts,
        "uncertain": delivery.is_uncertain,
        "due": course.due,
        "outcome": word,
        "detail": detail,
        "ended": course.ended,
        "reference": reference,
    }


def newest_id(connection: Connection) -> int:
    """Return the greatest id of any step or delivery; 0: there is none."""
    greatest = (connection.scalar(select(func.max(each.c.id))) for each in (t.step, t.delivery))
    return max(each or 0 for each in greatest)


def references(connection: Connection, channel: str, ids: Collection[str]) -> Mapping[str, str]:
    """Return incident -> what ``channel``'s receiver calls the message in which it was told of last."""
    rows = connection.execute(
        select(t.step.c.incident, t.delivery.c.reference)
        .select_from(t.step.join(t.delivery, t.delivery.c.id == t.step.c.delivery))
        .where(
            t.step.c.channel == channel,
            t.step.c.incident.in_(listed(ids)),
            t.delivery.c.reference.is_not(None),
        )
        .order_by(t.step.c.id)
    )
    return {row.incident: row.reference for row in rows}


def heard(connection: Connection, channel: str, ids: Any) -> Mapping[str, Heard]:
    """Return incident -> what ``channel``'s receiver has taken of it since it last took that it is over.

    ``ids``: a select of incidents; those alone of which it has taken anything.
    """
    columns = t.step.c
    taken = (
        select(columns.id, columns.incident, columns.notice, columns.transition_id, t.delivery.c.ended)
        .select_from(t.step.join(t.delivery, t.delivery.c.id == columns.delivery))
        .where(
            columns.incident.in_(ids),
            columns.channel == channel,
            t.delivery.c.outcome == "delivered",
        )
        .cte("taken")
    )
    is_end = taken.c.notice == Notice.RESOLVED.value
    ends = select(taken.c.incident, func.max(taken.c.id).label("id")).where(is_end)
    end = ends.group_by(taken.c.incident).subquery()
    step = taken.c.transition_id
    found = connection.execute(
        select(
            taken.c.incident,
            func.min(step).label("first"),
            func.max(step).label("newest"),
            func.min(taken.c.ended).label("since"),
        )
        .select_from(taken.outerjoin(end, end.c.incident == taken.c.incident))
        .where(taken.c.id > func.coalesce(end.c.id, 0))
        .group_by(taken.c.incident)
    ).all()
    known = _transitions(connection, {id for row in found for id in (row.first, row.newest)})
    return {
        row.incident: Heard(known.get(row.first, known[row.newest]), known[row.newest], row.since)
        for row in found
        if row.newest in known
    }


def open_in(connection: Connection, channel: str, reference: str) -> set[str]:
    """Return the incidents that ``channel`` was told of under ``reference`` and that are still open."""
    newest = select(func.max(t.transition.c.id)).group_by(t.transition.c.incident)
    is_open = t.transition.c.id.in_(newest), t.transition.c.state != State.RESOLVED.value
    return set(
        connection.scalars(
            select(t.step.c.incident)
            .select_from(
                t.step.join(t.delivery, t.delivery.c.id == t.step.c.delivery).join(
                    t.transition, t.transition.c.incident == t.step.c.incident
                )
            )
            .where(t.step.c.channel == channel, t.delivery.c.reference == reference, *is_open)
        )
    )


def told_in(connection: Connection, channel: str, reference: str) -> list[Transition]:
    """Return the newest transition of every incident that ``channel`` was told of under ``reference``."""
    told = (
        select(t.step.c.incident)
        .select_from(t.step.join(t.delivery, t.delivery.c.id == t.step.c.delivery))
        .where(t.step.c.channel == channel, t.delivery.c.reference == reference)
    )
    newest = select(func.max(t.transition.c.id)).where(t.transition.c.incident.in_(told))
    found = incidents.SELECT.where(t.transition.c.id.in_(newest.group_by(t.transition.c.incident)))
    return [incidents.transition_of(row) for row in connection.execute(found)]


def last_left(connection: Connection, channel: str) -> float | None:
    """Return when a message about incidents was made for ``channel`` last, unix seconds."""
    columns = t.delivery.c
    of_incidents = columns.channel == channel, columns.kind == MessageKind.INCIDENTS.value
    made: float | None = connection.scalar(select(func.max(columns.made)).where(*of_incidents))
    return made


def last_digests(connection: Connection) -> Mapping[str, float]:
    """Return channel -> when the newest digest was made for it, unix seconds; those alone that had one."""
    columns = t.delivery.c
    made = select(columns.channel, func.max(columns.made).label("made"))
    rows = connection.execute(made.where(columns.kind == MessageKind.DIGEST.value).group_by(columns.channel))
    return {row.channel: row.made for row in rows}
