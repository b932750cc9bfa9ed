"""The reader: what was, for the verbs. Never writes, and works beside a daemon and without one.

What a moment and a span are: see ``moments``.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from vramwatch.core.incidents import Transition
from vramwatch.core.instants import to_ms
from vramwatch.core.model import (
    FaultKind,
    Gpu,
    Instant,
    Missing,
    ProcessFacts,
    ProcessKey,
    SeriesKey,
    SubjectKind,
)
from vramwatch.core.poll import Poll
from vramwatch.core.probe_runs import ProbeRun
from vramwatch.store import incidents, probes
from vramwatch.store import tables as t
from vramwatch.store.answers import EventRow, GapRow, Point, SeriesRow, Step
from vramwatch.store.casebook import Casebook
from vramwatch.store.moments import KeptHour, hour_of, hours, instant_of, kept_hour, moment, newest_seq
from vramwatch.store.opening import (
    driver,
    has_log,
    one_moment,
    open_for_reading,
    refuse_damaged,
    told,
    understood,
)
from vramwatch.store.polls import polls as rebuild_polls
from vramwatch.store.rebuilding import rebuild
from vramwatch.store.rows import event_of, fault_of, gpu_of, owner_of, process_of
from vramwatch.store.spans import (
    Change,
    Grid,
    changes_within,
    gpus_of,
    peak_walls,
    peaks_by_hour,
    read_within,
    step_of,
    told_by_step,
)

HOUR = 3600.0


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

    def check(self) -> None:
        """Look at the tables that everything else is found by, which stay small. Errors: StoreDamaged."""
        with self._reading() as connection:
            refuse_damaged(driver(connection), self._path)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def casebook(self) -> Casebook:
        """What it holds of incidents, whom they were told to, and what people said."""
        return Casebook(self._reading)

    def latest(self) -> Poll | None:
        """Return the newest poll, rebuilt (see ``rebuilding``); None: none was stored yet."""
        with self._reading() as connection:
            seq = connection.scalar(_NEWEST)
            newest = moment(connection, seq) if seq else None
            return rebuild(connection, newest) if newest else None

    def at(self, wall: float) -> Poll | None:
        """Return what was known at ``wall`` (unix seconds): the newest poll then; None: none was stored yet.

        Where the daemon was stopped, that poll's instant with one Missing, and no ledger: nobody looked.
        """
        with self._reading() as connection:
            seq = newest_seq(connection, wall)
            at = instant_of(connection, seq)
            if at is None:
                return None
            stopped = connection.execute(_stop_after(at, wall)).first()
            if stopped is not None:
                return Poll(at, missing=(Missing(None, fault_of(stopped)),))
            found = moment(connection, seq)
            return rebuild(connection, found) if found else None

    def series(  # noqa: PLR0917 - every one of them is asked for by name
        self,
        gpu: str | None = None,
        kind: SubjectKind | None = None,
        owner: str | None = None,
        pid: int | None = None,
        quantity: str | None = None,
        engine: str | None = None,
        container: str | None = None,
        pod: str | None = None,
        unit: str | None = None,
        job: str | None = None,
        user: str | None = None,
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
                (t.process.c.engine, engine),
                (t.process.c.container, container),
                (t.process.c.pod, pod),
                (t.process.c.unit, unit),
                (t.process.c.job, job),
                (t.process.c.user, user),
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
        series has no value from there on. Where the samples are gone, what each minute or hour ended
        with, if it differs. Memory is bounded, however long the span.
        """
        by_id = {row.id: row for row in rows}
        with self._reading() as connection:
            held = _values_at(connection, since, by_id)
            gpus = gpus_of(connection, by_id)
        for id in sorted(held):
            yield Point(since, by_id[id], held[id])
        for wall, id, value in self._hour_by_hour(
            since, until, lambda hour: changes_within(hour, by_id, gpus, to_ms(since), to_ms(until))
        ):
            if value != held.get(id):
                held[id] = value
                yield Point(wall / 1000, by_id[id], value)

    def readings(self, rows: Iterable[SeriesRow], since: float, until: float) -> Iterator[Point]:
        """Yield every sample of ``rows`` that was read within the span, in the order of polls.

        That is as far back as samples are kept. Memory is bounded, however long the span.
        """
        by_id = {row.id: row for row in rows}
        with self._reading() as connection:
            gpus = gpus_of(connection, by_id)
        for wall, id, value in self._hour_by_hour(
            since, until, lambda hour: read_within(hour, by_id, gpus, to_ms(since), to_ms(until))
        ):
            yield Point(wall / 1000, by_id[id], value)

    def polls(self, since: float, until: float, *, minutes: bool = False) -> Iterator[Poll]:
        """Yield every poll whose wall clock lies within the span, in their order (see ``polls``).

        That is as far back as samples are kept; with ``minutes`` as far back as these are, at most three
        polls of each (see ``minute_ticks``). Memory is bounded by one hour, however long the span.
        """
        first, last = to_ms(since), to_ms(until)
        with self._renewed() as connection:
            ids = [hour.row.id for hour in hours(connection, since, until)]
            yield from rebuild_polls(
                connection, ids, lambda tick: first <= tick.wall <= last, minutes=minutes
            )

    def minutes_until(self, since: float, until: float) -> float | None:
        """Return up to when (unix seconds) minutes alone are left of the span; None: all samples are."""
        rows = select(func.max(t.hour.c.until_wall)).where(
            t.hour.c.id.in_(select(t.minutes.c.hour)),
            t.hour.c.until_wall >= since,
            t.hour.c.since_wall <= until,
        )
        with self._reading() as connection:
            ended = connection.scalar(rows)
            return None if ended is None else min(float(ended), until)

    def polls_after(self, seq: int) -> Iterator[Poll]:
        """Yield every poll after the poll ``seq`` up to the one that is now the newest (see ``polls``)."""
        with self._renewed() as connection:
            newest = connection.scalar(_NEWEST) or 0
            begin = hour_of(connection, seq)
            ids = (
                select(t.hour.c.id).where(t.hour.c.id >= (begin.row.id if begin else 0)).order_by(t.hour.c.id)
            )
            wanted = connection.scalars(ids).all()
            yield from rebuild_polls(connection, wanted, lambda tick: seq < tick.seq <= newest)

    def incidents(self, since: float, until: float) -> list[Transition]:
        """Return how incidents moved within the span, in the order in which it was judged."""
        within = incidents.SELECT.where(t.transition.c.wall.between(since, until))
        with self._reading() as connection:
            return [incidents.transition_of(row) for row in connection.execute(within)]

    def open_incidents(self) -> list[Transition]:
        """Return the newest transition of every incident that is not resolved, longest unmoved first."""
        with self._reading() as connection:
            return [incidents.transition_of(row) for row in connection.execute(incidents.of_open_ones())]

    def last_moves(self, since: float, until: float) -> list[Transition]:
        """Return the newest transition, as of ``until``, of every incident that was open within the span."""
        with self._reading() as connection:
            moves = connection.execute(incidents.last_moves(since, until))
            return [incidents.transition_of(row) for row in moves]

    def steps(
        self, rows: Iterable[SeriesRow], since: float, until: float, step: float
    ) -> Mapping[int, list[Step]]:
        """Return what was read of each of ``rows``, by its id, in each step of ``step`` seconds.

        Steps ascend and begin at ``since``; with whole hours as ``step`` at the hour of the clock (UTC)
        in which ``since`` lies. Steps without a sample are absent, and so are series without a step.
        Where only minutes or hours are left, each counts for the step in which it begins.
        """
        begin = since // HOUR * HOUR if step % HOUR == 0 else since
        grid = Grid(to_ms(begin), to_ms(until), to_ms(step))
        with self._reading() as connection:
            told = told_by_step(connection, {row.id for row in rows}, grid)
            return {
                id: [step_of(grid, place, list(same)) for place, same in groupby(each, itemgetter(0))]
                for id, each in told.items()
            }

    def peaks(self, rows: Iterable[SeriesRow], since: float, until: float) -> Mapping[int, Point]:
        """Return the largest sample of each of ``rows`` within the span, by its id: the first of several.

        A series that was not read within the span is absent.
        """
        by_id = {row.id: row for row in rows}
        whole = Grid(to_ms(since), to_ms(until), to_ms(until) - to_ms(since) + 1)
        found: dict[int, Point] = {}
        with self._reading() as connection:
            for hour_id, peaks in peaks_by_hour(told_by_step(connection, by_id, whole)).items():
                hour = hour_of(connection, hour_id)
                if hour is not None:
                    walls = peak_walls(hour, peaks, gpus_of(connection, peaks), whole)
                    found |= {id: Point(wall / 1000, by_id[id], peaks[id]) for id, wall in walls.items()}
        return found

    def value_at(self, row: SeriesRow, wall: float) -> float | None:
        """Return the value that ``row`` had at ``wall`` (unix seconds); None: it had none."""
        with self._reading() as connection:
            return _values_at(connection, wall, {row.id}).get(row.id)

    def change(
        self, since: float, until: float, quantity: str | None = None
    ) -> Mapping[SeriesKey, tuple[float | None, float | None]]:
        """Return the values that every series had at ``since`` and at ``until``; None: it had none.

        ``quantity``: of the series of this one alone. Series without a value at either are left out.
        """
        rows = select(t.series, t.gpu.c.uuid).select_from(t.series.join(t.gpu, t.gpu.c.id == t.series.c.gpu))
        if quantity is not None:
            rows = rows.where(t.series.c.quantity == quantity)
        with self._reading() as connection:
            keys = {row.id: _series_key(row) for row in connection.execute(rows)}
            first, last = (_values_at(connection, wall, keys) for wall in (since, until))
        return {key: (first.get(id), last.get(id)) for id, key in keys.items() if id in first or id in last}

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

    def probe_runs(self) -> list[ProbeRun]:
        """Return the runs of the probe that were handed in, in that order; may be empty."""
        with self._reading() as connection:
            return probes.all_runs(connection)

    def gpus(self) -> list[Gpu]:
        """Return every Gpu that the store has met, as last seen, in the order in which they were met."""
        with self._reading() as connection:
            return [gpu_of(row) for row in connection.execute(select(t.gpu).order_by(t.gpu.c.id))]

    def span(self) -> tuple[float, float] | None:
        """Return the wall clock of the first and of the newest poll; None: none was stored yet."""
        with self._reading() as connection:
            ends = connection.scalar(select(func.min(t.hour.c.id))), connection.scalar(_NEWEST)
            first, last = (instant_of(connection, seq or 0) for seq in ends)
            return (first.wall, last.wall) if first and last else None

    def _hour_by_hour(
        self, since: float, until: float, told: Callable[[KeptHour], Iterable[Change]]
    ) -> Iterator[Change]:
        """Yield what ``told`` tells of the hours that touch the span.

        Each is of one moment, and between two the store is let go: whoever takes these may take long.
        """
        with self._reading() as connection:
            ids = [hour.row.id for hour in hours(connection, since, until)]
        for id in ids:
            with self._reading() as connection:
                hour = kept_hour(connection, id)
                changes = told(hour) if hour else ()
            with understood(self._path):
                yield from changes

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Give the connection, and have what is read inside be of one moment (see ``one_moment``)."""
        with self._renewed() as connection, one_moment(connection):
            yield connection

    @contextmanager
    def _renewed(self) -> Iterator[Connection]:
        """Give the connection; one that took the file as unchanging is renewed once a daemon writes it."""
        with told(self._path), understood(self._path):
            if self._immutable and has_log(self._path):
                self._opened.close()
                self._opened, self._immutable = open_for_reading(self._path)
            yield self._opened


_NEWEST = select(t.tick.c.last_seq).order_by(t.tick.c.seq.desc()).limit(1)

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


def _values_at(connection: Connection, wall: float, ids: Collection[int]) -> dict[int, float | None]:
    """Return the values that those of ``ids`` had at ``wall`` that had one."""
    found = moment(connection, newest_seq(connection, wall), ids)
    return {id: found.values[id] for id in ids if id in found.values} if found else {}


def _stop_after(at: Instant, wall: float) -> Select[Any]:
    """Return a select of the gap that began when the daemon, or a recording, ended after ``at``; it holds
    ``wall``."""
    gap = t.gap.c
    return select(t.gap).where(
        gap.reason.in_((FaultKind.STOPPED.value, FaultKind.ENDED.value)),
        gap.since_seq == at.seq + 1,
        gap.since_wall < wall,
        or_(gap.until_wall.is_(None), gap.until_wall > wall),
    )
