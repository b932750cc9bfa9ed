"""The reader: what was, for the verbs. Never writes, and works beside a daemon and without one.

People ask by wall clock, which may step back; polls are ordered by seq. A moment is therefore the poll
with the largest wall that is not after it (of several, the newest), found by the index on ``poll.wall``;
a span is every poll whose wall lies in it, told in the order of seq.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from vramwatch.core.model import (
    Event,
    FaultKind,
    Gpu,
    Instant,
    Missing,
    Owner,
    Poll,
    ProcessFacts,
    ProcessKey,
    SeriesKey,
    SubjectKind,
)
from vramwatch.store import tables as t
from vramwatch.store.opening import has_log, open_for_reading, told, understood
from vramwatch.store.rebuilding import instant_of, polls, rebuild
from vramwatch.store.rows import event_of, fault_of, gpu_of, owner_of, process_of, value_of

POINTS_AT_ONCE = 1000
"""Rows that ``samples`` holds in memory at a time."""


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series, with the owner and the process (as last known) that it is of, where it is of one."""

    id: int
    key: SeriesKey
    owner: Owner | None
    process: ProcessFacts | None


@dataclass(frozen=True, slots=True)
class Point:
    """From ``wall`` (unix seconds) on ``series`` had ``value``; None: none any more. Bytes are int."""

    wall: float
    series: SeriesRow
    value: float | None


@dataclass(frozen=True, slots=True)
class GapRow:
    """A stretch without readings of a Gpu (UUID), or of all. Unix seconds; ``until`` None: it goes on."""

    gpu: str | None
    reason: FaultKind
    detail: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class EventRow:
    wall: float
    event: Event


class History:
    """What the store holds. Every method that reads raises StoreError if it cannot be read."""

    def __init__(self, path: Path, connection: Connection, immutable: bool) -> None:
        self._path = path
        self._opened = connection
        self._immutable = immutable

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the history in the store at ``path``. Errors: StoreError, with what to do."""
        return cls(path, *open_for_reading(path))

    def close(self) -> None:
        self._opened.close()

    def latest(self) -> Poll | None:
        """Return the newest poll, rebuilt (see ``rebuilding``); None: none was stored yet."""
        with self._reading() as connection:
            row = connection.execute(polls().order_by(t.poll.c.seq.desc()).limit(1)).first()
            return None if row is None else rebuild(connection, row)

    def at(self, wall: float) -> Poll | None:
        """Return what was known at ``wall`` (unix seconds): the newest poll then; None: none was stored yet.

        Where the daemon was stopped, that poll's instant with one Missing, and no ledger: nobody looked.
        """
        with self._reading() as connection:
            row = connection.execute(polls().where(t.poll.c.seq == _newest_seq(connection, wall))).first()
            if row is None:
                return None
            stopped = connection.execute(_stop_after(instant_of(row), wall)).first()
            if stopped is not None:
                return Poll(instant_of(row), missing=(Missing(None, fault_of(stopped)),))
            return rebuild(connection, row)

    def series(
        self,
        gpu: str | None = None,
        kind: SubjectKind | None = None,
        owner: str | None = None,
        pid: int | None = None,
        quantity: str | None = None,
    ) -> list[SeriesRow]:
        """Return the series that fit all that is given, oldest first.

        ``gpu``: a UUID. ``owner``: an Owner's key; its own series and those of its processes. ``pid``:
        the series of every process that had it.
        """
        wanted: list[ColumnElement[bool]] = [
            column == value
            for column, value in (
                (t.gpu.c.uuid, gpu),
                (t.series.c.kind, kind and kind.value),
                (t.owner.c.key, owner),
                (t.process.c.pid, pid),
                (t.series.c.quantity, quantity),
            )
            if value is not None
        ]
        with self._reading() as connection:
            rows = connection.execute(_SERIES.where(*wanted).order_by(t.series.c.id)).all()
            processes = {row.process: _facts(row) for row in rows if row.process is not None}
            return [_series_row(row, processes.get(row.process)) for row in rows]

    def samples(self, rows: Iterable[SeriesRow], since: float, until: float) -> Iterator[Point]:
        """Yield the values of ``rows`` that began within ``since`` and ``until``, in the order of polls.

        First, for each series, the value that already held at ``since``, stamped with it. None: the
        series has no value from there on. Memory is bounded, however long the span.
        """
        by_id = {row.id: row for row in rows}
        listed = select(func.json_each(json.dumps(list(by_id))).table_valued("value").c.value)
        with self._reading() as connection:
            before = _newest_seq(connection, since)
            held = select(t.series, t.newest_value(before).label("value")).where(t.series.c.id.in_(listed))
            for row in connection.execute(held.order_by(t.series.c.id)).all():
                if row.value is not None:
                    yield Point(since, by_id[row.id], value_of(row.unit, row.value))
            first, last = connection.execute(_within(since, until)).one()
            began = (
                select(t.sample, t.poll.c.wall, t.series.c.unit)
                .select_from(
                    t.sample.join(t.poll, t.poll.c.seq == t.sample.c.seq).join(
                        t.series, t.series.c.id == t.sample.c.series
                    )
                )
                .where(
                    t.sample.c.series.in_(listed),
                    t.sample.c.seq.between(first, last),
                    t.poll.c.wall > since,
                    t.poll.c.wall <= until,
                )
                .order_by(t.sample.c.seq, t.sample.c.series)
                .execution_options(yield_per=POINTS_AT_ONCE)
            )
            for row in connection.execute(began):
                yield Point(row.wall, by_id[row.series], value_of(row.unit, row.value))

    def value_at(self, row: SeriesRow, wall: float) -> float | None:
        """Return the value that ``row`` had at ``wall`` (unix seconds); None: it had none."""
        with self._reading() as connection:
            newest = t.newest_value(_newest_seq(connection, wall)).label("value")
            found = connection.execute(select(t.series, newest).where(t.series.c.id == row.id)).one()
            return value_of(found.unit, found.value)

    def change(self, since: float, until: float) -> Mapping[SeriesKey, tuple[float | None, float | None]]:
        """Return the values that every series had at ``since`` and at ``until``; None: it had none.

        Series that had none at either moment are left out.
        """
        columns = t.series.c
        with self._reading() as connection:
            first, last = _newest_seq(connection, since), _newest_seq(connection, until)
            values = (
                select(t.series, t.gpu.c.uuid)
                .add_columns(t.newest_value(first).label("first"), t.newest_value(last).label("last"))
                .select_from(t.series.join(t.gpu, t.gpu.c.id == columns.gpu))
                .where(or_(columns.ended_seq.is_(None), columns.ended_seq > first))
            )
            return {
                _series_key(row): (value_of(row.unit, row.first), value_of(row.unit, row.last))
                for row in connection.execute(values)
                if row.first is not None or row.last is not None
            }

    def gaps(self, since: float, until: float) -> list[GapRow]:
        """Return the stretches without readings that touch the span, oldest first."""
        over = t.gap.c.until_wall
        touching = select(t.gap).where(t.gap.c.since_wall <= until, or_(over.is_(None), over > since))
        with self._reading() as connection:
            return [
                GapRow(row.gpu, FaultKind(row.reason), row.detail, row.since_wall, row.until_wall)
                for row in connection.execute(touching.order_by(t.gap.c.since_seq, t.gap.c.id))
            ]

    def events(self, since: float, until: float) -> list[EventRow]:
        """Return what happened within the span, oldest first."""
        within = select(t.event).where(t.event.c.wall.between(since, until)).order_by(t.event.c.id)
        with self._reading() as connection:
            return [EventRow(row.wall, event_of(row)) for row in connection.execute(within)]

    def gpus(self) -> list[Gpu]:
        """Return every Gpu that the store has met, as last seen, in the order in which they were met."""
        with self._reading() as connection:
            return [gpu_of(row) for row in connection.execute(select(t.gpu).order_by(t.gpu.c.id))]

    def span(self) -> tuple[float, float] | None:
        """Return the wall clock of the first and of the newest poll; None: none was stored yet."""
        with self._reading() as connection:
            ends = select(func.min(t.poll.c.seq).label("seq")).union(select(func.max(t.poll.c.seq)))
            walls = select(t.poll.c.wall).where(t.poll.c.seq.in_(ends)).order_by(t.poll.c.seq)
            found = connection.scalars(walls).all()
            return (found[0], found[-1]) if found else None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Give the connection; one that took the file as unchanging is renewed once a daemon writes it."""
        with told(self._path), understood(self._path):
            if self._immutable and has_log(self._path):
                self._opened.close()
                self._opened, self._immutable = open_for_reading(self._path)
            yield self._opened


_SERIES = select(
    t.series,
    t.gpu.c.uuid,
    *t.OWNER_COLUMNS,
    *(t.process.c[name] for name in ("boot_id", "pid", "start_ticks", "facts")),
).select_from(
    t.series.join(t.gpu, t.gpu.c.id == t.series.c.gpu)
    .outerjoin(t.owner, t.owner.c.id == t.series.c.owner)
    .outerjoin(t.process, t.process.c.id == t.series.c.process)
)


def _series_key(row: Row[Any]) -> SeriesKey:
    return SeriesKey(row.uuid, SubjectKind(row.kind), row.subject, row.quantity)


def _series_row(row: Row[Any], process: ProcessFacts | None) -> SeriesRow:
    return SeriesRow(row.id, _series_key(row), None if row.owner is None else owner_of(row), process)


def _facts(row: Row[Any]) -> ProcessFacts:
    return process_of(ProcessKey(row.boot_id, row.pid, row.start_ticks), row.facts)[0]


def _newest_seq(connection: Connection, wall: float) -> int:
    """Return the seq of the newest poll at ``wall``; 0: none was stored yet."""
    column = t.poll.c.wall
    until = select(t.poll.c.seq).where(column <= wall).order_by(column.desc(), t.poll.c.seq.desc())
    return connection.scalar(until.limit(1)) or 0


def _within(since: float, until: float) -> Select[Any]:
    """Return a select of the lowest and the highest seq whose wall lies after ``since``, up to ``until``."""
    wall = t.poll.c.wall
    return select(func.min(t.poll.c.seq), func.max(t.poll.c.seq)).where(wall > since, wall <= until)


def _stop_after(at: Instant, wall: float) -> Select[Any]:
    """Return a select of the gap that began when the daemon stopped after ``at`` and holds ``wall``."""
    gap = t.gap.c
    return select(t.gap).where(
        gap.reason == FaultKind.STOPPED.value,
        gap.since_seq == at.seq + 1,
        gap.since_wall < wall,
        or_(gap.until_wall.is_(None), gap.until_wall > wall),
    )
