"""Runs of the probe as rows, and rows as runs again."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from vramwatch.core.probe_runs import Figures, ProbeRun, named_apart
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, storable

MOST_KEPT = 1000
"""Runs; the oldest go first. One a day for almost three years, a few KiB each."""


def write(connection: Connection, run: ProbeRun, seq: int) -> ProbeRun:
    """Write ``run`` at the poll ``seq`` and return it under the id that it has got."""
    taken = connection.scalars(select(t.probe.c.id).where(t.probe.c.id.startswith(run.id, autoescape=True)))
    run = named_apart(run, taken.all())
    connection.execute(insert(t.probe), _values(run, seq))
    newest = select(t.probe.c.number).order_by(t.probe.c.number.desc()).limit(MOST_KEPT)
    connection.execute(delete(t.probe).where(t.probe.c.number.not_in(newest)))
    return run


def all_runs(connection: Connection) -> list[ProbeRun]:
    """Return every run that is kept, in the order in which they were handed in."""
    return [_run_of(row) for row in connection.execute(select(t.probe).order_by(t.probe.c.number))]


def accept(connection: Connection, id: str) -> None:
    """Have the run ``id`` be what later ones are measured by."""
    connection.execute(update(t.probe).where(t.probe.c.id == id).values(accepted=True))


def forget(connection: Connection, user: str) -> int:
    """Delete what ``user`` handed in and return how many runs that were."""
    theirs = t.probe.c.author.startswith(f"{user} (uid ", autoescape=True)
    return connection.execute(delete(t.probe).where(theirs)).rowcount


def drop_until(connection: Connection, seq: int) -> None:
    """Let go of what was handed in at polls up to ``seq``."""
    connection.execute(delete(t.probe).where(t.probe.c.seq <= seq))


def _values(run: ProbeRun, seq: int) -> Values:
    return storable(
        {
            "id": run.id,
            "made": run.made,
            "seq": seq,
            "author": run.author,
            "scheduled": run.is_scheduled,
            "accepted": run.is_accepted,
            "digest": run.digest,
            "model": run.model,
            "device": run.device,
            "asked": _json(dict(run.asked)),
            "environment": _json(dict(run.environment)),
            "figures": _json({name: asdict(each) for name, each in run.figures.items()}),
            "faults": _json(run.faults),
        }
    )


def _run_of(row: Row[Any]) -> ProbeRun:
    figures: Mapping[str, Any] = json.loads(row.figures)
    return ProbeRun(
        id=row.id,
        made=row.made,
        digest=row.digest,
        asked=json.loads(row.asked),
        environment=json.loads(row.environment),
        figures={name: Figures(**each) for name, each in figures.items()},
        faults=tuple(json.loads(row.faults)),
        is_scheduled=bool(row.scheduled),
        author=row.author,
        is_accepted=bool(row.accepted),
    )


def _json(told: object) -> str:
    return json.dumps(told, separators=(",", ":"))
