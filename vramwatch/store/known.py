"""What the writer knows of the newest stored poll, so that only what differs is written.

Holds what is present now and nothing of the past, hence is bounded by what runs on the GPUs. Read back
from the store at start and after a failed write, and then moved on by ``recording`` poll by poll.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from vramwatch.core.model import (
    Gpu,
    Instant,
    ProcessKey,
    SeriesKey,
    SubjectKind,
    Tenant,
)
from vramwatch.store import tables as t
from vramwatch.store.rows import gpu_of, owner_of, process_of

GapKey = tuple[str | None, str]
"""UUID of the GPU, None for all; reason."""

Standing = tuple[str, str | None, str, float]
"""How a process stands on a GPU: kinds, ghost, state, state_since, as the table holding has them."""

Note = tuple[str, str, int | None]
"""What a ledger says beside its figures: basis, explanations, listed_seq, as the table ledger has them."""

PaceKey = tuple[float, float, str | None]
"""interval, list_interval, lowered_because."""


@dataclass(slots=True)
class KnownProcess:
    id: int
    owner: int
    met: Tenant  # as last written


@dataclass(slots=True)
class KnownSeries:
    id: int
    value: float | None  # None: none yet, or none any more


@dataclass(slots=True)
class KnownGpu:
    id: int
    gpu: Gpu
    note: Note | None = None  # None: it is not there, or no ledger of it was ever stored
    series: dict[SeriesKey, KnownSeries] = field(default_factory=dict)  # those that have a value
    standings: dict[ProcessKey, Standing] = field(default_factory=dict)  # of the processes on it


@dataclass(slots=True)
class Known:
    run: int | None  # None: this life of the daemon has stored nothing yet
    last: Instant | None  # the newest poll, of whichever run
    gpus: dict[str, KnownGpu] = field(default_factory=dict)
    processes: dict[ProcessKey, KnownProcess] = field(default_factory=dict)
    gaps: dict[GapKey, int] = field(default_factory=dict)  # the open ones -> id
    pace: tuple[int, PaceKey] | None = None  # the newest, with its id


def recall(connection: Connection, run: int | None) -> Known:
    """Return what the store says of its newest poll. ``run``: this life's, if it has stored a poll."""
    known = Known(run, _last(connection))
    _recall_gpus(connection, known)
    _recall_processes(connection, known)
    _recall_series(connection, known)
    for row in connection.execute(select(t.gap).where(t.gap.c.until_seq.is_(None))):
        known.gaps[row.gpu, row.reason] = row.id
    pace = connection.execute(select(t.pace).order_by(t.pace.c.id.desc()).limit(1)).first()
    if pace:
        known.pace = (pace.id, (pace.interval, pace.list_interval, pace.lowered_because))
    return known


def known_process(row: Row[Any]) -> KnownProcess:
    """Return the process of a row that holds the columns of the table process and t.OWNER_COLUMNS."""
    facts, engine = process_of(ProcessKey(row.boot_id, row.pid, row.start_ticks), row.facts)
    return KnownProcess(row.id, row.owner, Tenant(facts, owner_of(row), engine))


def _last(connection: Connection) -> Instant | None:
    newest = (
        select(t.poll, t.run.c.boot_id)
        .select_from(t.poll.join(t.run, t.run.c.id == t.poll.c.run))
        .order_by(t.poll.c.seq.desc())
        .limit(1)
    )
    row = connection.execute(newest).first()
    return None if row is None else Instant(row.seq, row.wall, row.boottime, row.boot_id)


def _recall_gpus(connection: Connection, known: Known) -> None:
    any_ledger, note = t.ledger.alias(), t.ledger.alias()
    newest = select(func.max(any_ledger.c.seq)).where(any_ledger.c.gpu == t.gpu.c.id).scalar_subquery()
    met = select(t.gpu, note.c.basis, note.c.explanations, note.c.listed_seq).select_from(
        t.gpu.outerjoin(note, and_(note.c.gpu == t.gpu.c.id, note.c.seq == newest))
    )
    for row in connection.execute(met):
        if row.basis is not None:
            as_noted = (row.basis, row.explanations, row.listed_seq)
            known.gpus[row.uuid] = KnownGpu(row.id, gpu_of(row), as_noted)


def _recall_processes(connection: Connection, known: Known) -> None:
    present = (
        select(t.process, *t.OWNER_COLUMNS, t.gpu.c.uuid)
        .add_columns(t.holding.c.kinds, t.holding.c.ghost, t.holding.c.state, t.holding.c.state_since)
        .select_from(
            t.holding.join(t.process, t.process.c.id == t.holding.c.process)
            .join(t.owner, t.owner.c.id == t.process.c.owner)
            .join(t.gpu, t.gpu.c.id == t.holding.c.gpu)
        )
        .where(t.holding.c.until_seq.is_(None))
    )
    for row in connection.execute(present):
        process = known_process(row)
        key = process.met.facts.key
        known.processes[key] = process
        known.gpus[row.uuid].standings[key] = (row.kinds, row.ghost, row.state, row.state_since)


def _recall_series(connection: Connection, known: Known) -> None:
    if known.last is None:
        return
    with_value = (
        select(t.series, t.gpu.c.uuid, t.newest_value(known.last.seq).label("value"))
        .select_from(t.series.join(t.gpu, t.gpu.c.id == t.series.c.gpu))
        .where(t.series.c.ended_seq.is_(None))
    )
    for row in connection.execute(with_value):
        key = SeriesKey(row.uuid, SubjectKind(row.kind), row.subject, row.quantity)
        known.gpus[row.uuid].series[key] = KnownSeries(row.id, row.value)
