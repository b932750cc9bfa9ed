"""What was done about memory, as rows: actions that were decided, and what came of them."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from vramwatch.core.attempts import Apply, Attempt, Ended, Outcome, RemedyName, Result
from vramwatch.core.ladder import Action, Hindrance, WithheldApply
from vramwatch.core.model import Instant, ProcessKey
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, storable
from vramwatch.store.spans import listed


@dataclass(frozen=True, slots=True)
class WithheldRow:
    """An Apply that was withheld, and when (unix seconds)."""

    wall: float
    withheld: WithheldApply


ActionRow = Attempt | WithheldRow


_NOTHING: Values = {
    "gpu": "",
    "owner": "",
    "plan": "",
    "targets": "[]",
    "gpus": "[]",
    "dry_run": False,
    "costs_service": False,
}
"""Of what was withheld there is nothing to tell but the reason."""


def write(connection: Connection, actions: Iterable[Action], endings: Iterable[Ended], at: Instant) -> None:
    """Write what was decided at the poll ``at``, and what came of earlier attempts."""
    for action in actions:
        known = select(t.incident.c.gpu, t.incident.c.owner).where(t.incident.c.id == action.incident)
        if connection.execute(known).first() is not None:  # None: its owner was forgotten since
            connection.execute(insert(t.attempt), storable(_values(action, at)))
    for each in endings:
        outcome = each.outcome
        values: Values = {
            "result": outcome.result.value,
            "said": outcome.detail,
            "freed_bytes": outcome.freed,
            "seconds": outcome.seconds,
            "pause_seconds": outcome.pause,
            "ended": each.at,
        }
        connection.execute(update(t.attempt).where(t.attempt.c.id == each.id), storable(values))


def _values(action: Action, at: Instant) -> Values:
    values: Values = {
        "seq": at.seq,
        "wall": at.wall,
        "incident": action.incident,
        "remedy": action.remedy.value if action.remedy else None,
        "said": "",
    }
    if isinstance(action, WithheldApply):
        return {**values, "withheld": action.hindrance.value, "detail": action.detail, **_NOTHING}
    return values | {
        "id": action.id,
        "detail": "",
        "gpu": action.gpu,
        "owner": action.owner,
        "plan": action.plan,
        "targets": json.dumps([asdict(key) for key in action.targets]),
        "gpus": json.dumps(sorted(action.gpus)),
        "before_bytes": action.before,
        "wanted_bytes": action.wanted,
        "dry_run": action.dry_run,
        "costs_service": action.costs_service,
        "result": Result.DRY_RUN.value if action.dry_run else None,
        "ended": at.wall if action.dry_run else None,
    }


def of_incidents(connection: Connection, ids: Collection[str]) -> Mapping[str, tuple[ActionRow, ...]]:
    """Return what was done, or withheld, about the incidents ``ids``, in the order of the decisions."""
    found: dict[str, tuple[ActionRow, ...]] = defaultdict(tuple)
    rows = select(t.attempt).where(t.attempt.c.incident.in_(listed(ids))).order_by(t.attempt.c.number)
    for row in connection.execute(rows):
        found[row.incident] += (_action(row),)
    return found


def since(connection: Connection, wall: float) -> list[Attempt]:
    """Return the attempts that were decided after ``wall`` (unix seconds), or are not over; oldest first."""
    columns = t.attempt.c
    is_wanted = (columns.wall > wall) | columns.result.is_(None)
    rows = connection.execute(
        select(t.attempt).where(columns.withheld.is_(None), is_wanted).order_by(columns.number)
    )
    return [_attempt(row) for row in rows]


def last_withheld(connection: Connection) -> dict[str, WithheldApply]:
    """Return of every incident about which nothing was done at last, why."""
    newest = select(func.max(t.attempt.c.number)).group_by(t.attempt.c.incident)
    rows = connection.execute(
        select(t.attempt).where(t.attempt.c.number.in_(newest), t.attempt.c.withheld.is_not(None))
    )
    return {row.incident: _withheld(row) for row in rows}


def last_of_owners(connection: Connection, wall: float) -> list[Attempt]:
    """Return the newest attempt and the newest dry run of each Owner and Gpu, decided after ``wall``."""
    columns = t.attempt.c
    newest = (
        select(func.max(columns.number))
        .where(columns.withheld.is_(None), columns.wall > wall)
        .group_by(columns.owner, columns.gpu, columns.dry_run)
    )
    rows = connection.execute(select(t.attempt).where(columns.number.in_(newest)).order_by(columns.number))
    return [_attempt(row) for row in rows]


def drop(connection: Connection, kept: Any) -> None:
    """Let go of what was done about incidents that are not among ``kept``, a select of their ids."""
    connection.execute(delete(t.attempt).where(t.attempt.c.incident.not_in(kept)))


def _action(row: Row[Any]) -> ActionRow:
    return _attempt(row) if row.withheld is None else WithheldRow(row.wall, _withheld(row))


def _withheld(row: Row[Any]) -> WithheldApply:
    remedy = RemedyName(row.remedy) if row.remedy else None
    return WithheldApply(row.incident, remedy, Hindrance(row.withheld), row.detail)


def _attempt(row: Row[Any]) -> Attempt:
    apply = Apply(
        row.id,
        row.incident,
        row.gpu,
        row.owner,
        RemedyName(row.remedy),
        tuple(ProcessKey(**each) for each in json.loads(row.targets)),
        frozenset(json.loads(row.gpus)),
        row.plan,
        row.before_bytes,
        row.wanted_bytes,
        bool(row.dry_run),
        bool(row.costs_service),
    )
    if row.result is None:
        return Attempt(apply, row.wall)
    outcome = Outcome(Result(row.result), row.said, row.freed_bytes, row.seconds, row.pause_seconds)
    return Attempt(apply, row.wall, outcome, row.ended)
