"""Messages on their way as rows: what waits, what is under way, and what became of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from vramwatch.core.incidents import State
from vramwatch.core.messages import MessageKind
from vramwatch.core.outgoing import Delivered, Delivery, Outcome, Rejected, Retry, Waiting
from vramwatch.core.policy import Notice, Withholding
from vramwatch.store import incidents
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, storable
from vramwatch.store.spans import listed
from vramwatch.store.telling import DELIVERED


def waiting(connection: Connection, channel: str, most: int) -> list[Waiting]:
    """Return the notices that have not left yet, the ``most`` that were decided first, in that order."""
    columns = t.step.c
    is_waiting = columns.channel == channel, columns.delivery.is_(None), columns.withheld.is_(None)
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
    wanted = {row.transition_id for row in steps}
    found = incidents.SELECT.where(t.transition.c.id.in_(listed(wanted)))
    known = {row.id: incidents.transition_of(row) for row in connection.execute(found)}
    for row in steps:
        if row.transition_id in known:
            yield Waiting(row.id, row.channel, Notice(row.notice), row.due, known[row.transition_id])


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
    over = {"due": None, "outcome": "superseded", "ended": now}
    connection.execute(update(t.delivery).where(t.delivery.c.id == delivery).values(over))


def supersede(connection: Connection, notices: Sequence[Waiting]) -> None:
    """Keep that newer notices took the place of these."""
    ids = [each.step for each in notices]
    values = {"withheld": Withholding.SUPERSEDED.value, "detail": "a newer notice took its place"}
    connection.execute(update(t.step).where(t.step.c.id.in_(listed(ids))).values(values))


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


def last_left(connection: Connection, channel: str) -> float | None:
    """Return when a message about incidents was made for ``channel`` last, unix seconds."""
    columns = t.delivery.c
    of_incidents = columns.channel == channel, columns.kind == MessageKind.INCIDENTS.value
    made: float | None = connection.scalar(select(func.max(columns.made)).where(*of_incidents))
    return made
