"""What the writer knows of the newest stored poll, so that only what differs is written.

Holds what is present now and nothing of the past, hence is bounded by what runs on the GPUs. Read back
from the store at start and after a failed write, and then moved on by ``recording`` poll by poll.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, select

from vramwatch.core.model import (
    Gpu,
    Instant,
    ProcessKey,
    SeriesKey,
    SubjectKind,
    Tenant,
)
from vramwatch.store import tables as t
from vramwatch.store.columns import Value
from vramwatch.store.hours import Hour, Part
from vramwatch.store.open_hours import load_newest
from vramwatch.store.rows import gpu_of, owner_of, process_of
from vramwatch.store.ticks import GpuTick, Tick

GapKey = tuple[str | None, str]
"""UUID of the GPU, None for all; reason."""

Standing = tuple[str, str | None, str, float]
"""How a process stands on a GPU: kinds, ghost, state, state_since, as the table holding has them."""

Note = tuple[str, str]
"""What a ledger says beside its figures: basis, explanations, as the table note has them."""

PaceKey = tuple[float, float, str | None]
"""interval, list_interval, lowered_because."""

Sweep = tuple[int, ...]
"""The series that were read together, by id."""


@dataclass(slots=True)
class KnownProcess:
    id: int
    owner: int
    met: Tenant  # as last written


@dataclass(slots=True)
class KnownSeries:
    id: int
    unit: str
    value: Value | None = None  # None: none yet


@dataclass(slots=True)
class KnownGpu:
    id: int
    gpu: Gpu
    note: int = 0  # 0: no ledger of it was ever stored
    listed: int = 0  # seq of the newest process list; 0: never yet
    told: GpuTick | None = None  # as of the poll before; None: this life told nothing of it yet
    series: dict[SeriesKey, KnownSeries] = field(default_factory=dict)  # those that have a value
    standings: dict[ProcessKey, Standing] = field(default_factory=dict)  # of the processes on it


@dataclass(slots=True)
class KnownHour:
    """The hour that the polls are being added to."""

    id: int
    wall: int  # unix seconds
    sweeps: dict[Sweep, int] = field(default_factory=dict)  # -> id
    rows: int | None = None  # since the newest complete one; None: this life wrote none here yet


@dataclass(slots=True)
class Known:
    run: int | None  # None: this life of the daemon has stored nothing yet
    last: Instant | None = None  # the newest poll, of whichever run
    hour: KnownHour | None = None
    waiting: tuple[Tick, ...] = ()  # polls in which nothing changed, not committed yet
    gpus: dict[str, KnownGpu] = field(default_factory=dict)
    processes: dict[ProcessKey, KnownProcess] = field(default_factory=dict)
    gaps: dict[GapKey, int] = field(default_factory=dict)  # the open ones -> id
    notes: dict[Note, int] = field(default_factory=dict)  # -> id
    pace: tuple[int, PaceKey] | None = None  # the newest, with its id

    def wait_on(self, ticks: tuple[Tick, ...]) -> None:
        """Take up polls of this life that were not committed yet; nothing changed in them."""
        self.waiting = ticks
        if ticks and self.last:
            newest = ticks[-1]
            times = newest.wall / 1000, newest.boottime / 1000
            self.last = replace(self.last, seq=newest.seq, wall=times[0], boottime=times[1])


def recall(connection: Connection, run: int | None) -> Known:
    """Return what the store says of its newest poll. ``run``: this life's, if it has stored a poll."""
    known = Known(run)
    known.notes = {(row.basis, row.explanations): row.id for row in connection.execute(select(t.note))}
    newest = load_newest(connection)
    if newest is not None:
        _recall_hour(connection, known)
        _recall_last(connection, known, newest)
        _recall_gpus(connection, known, newest)
        _recall_processes(connection, known)
        _recall_series(connection, known, newest.parts)
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


def _recall_hour(connection: Connection, known: Known) -> None:
    row = connection.execute(select(t.hour).order_by(t.hour.c.id.desc()).limit(1)).one()
    known.hour = KnownHour(row.id, row.wall)
    # Where an owner was forgotten two may be alike; the last of all stays known, and numbers go on from it.
    for each in connection.execute(select(t.sweep).where(t.sweep.c.hour == row.id).order_by(t.sweep.c.id)):
        known.hour.sweeps[tuple(json.loads(each.series))] = each.id


def _recall_last(connection: Connection, known: Known, newest: Hour) -> None:
    axis = newest.axis
    boot_id = connection.scalar(select(t.run.c.boot_id).where(t.run.c.id == axis.runs[-1]))
    known.last = Instant(axis.seqs[-1], axis.walls[-1] / 1000, axis.boottimes[-1] / 1000, boot_id or "")


def _recall_gpus(connection: Connection, known: Known, newest: Hour) -> None:
    for row in connection.execute(select(t.gpu)):
        part, notes = newest.parts.get(row.id), newest.axis.notes.get(row.id)
        if part and notes and notes[-1]:
            known.gpus[row.uuid] = KnownGpu(row.id, gpu_of(row), notes[-1], part.listed[-1])


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


def _recall_series(connection: Connection, known: Known, parts: Mapping[int, Part]) -> None:
    with_value = (
        select(t.series, t.gpu.c.uuid)
        .select_from(t.series.join(t.gpu, t.gpu.c.id == t.series.c.gpu))
        .where(t.series.c.ended_seq.is_(None))
    )
    for row in connection.execute(with_value):
        track = parts[row.gpu].tracks.get(row.id)
        if track is not None and track.values[-1] is not None:
            key = SeriesKey(row.uuid, SubjectKind(row.kind), row.subject, row.quantity)
            known.gpus[row.uuid].series[key] = KnownSeries(row.id, row.unit, track.values[-1])
