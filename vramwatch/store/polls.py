"""Every stored poll of a span, in order: to judge again what was read, or to tell it elsewhere.

A poll tells what was read at that very poll and no more: ``core.series.samples`` of its ledgers are those
that were stored, where ``rebuilding`` tells the newest value of all. For the rest it is as ``rebuilding``
says: Gpus and the facts of a process, but for its state, are as last known; ledgers ascend in their Gpu's
ordinal. Transitions are not told, nor are polls of which hours alone are left. Those of which minutes are
left are told only if asked for, as ``minute_ticks`` has it; an event then comes with the poll told next.

An hour is read in one transaction and told from memory. Ledgers share what did not change between them.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from vramwatch.core.model import (
    Event,
    Instant,
    Ledger,
    Missing,
    ProcessKey,
    ProcessState,
    SubjectKind,
    Tenant,
)
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.units import Seconds
from vramwatch.store import tables as t
from vramwatch.store.gpu_ledgers import GpuLedgers, Stretches
from vramwatch.store.hours import Axis, Part
from vramwatch.store.minute_ticks import Traits, tell_minutes
from vramwatch.store.moments import KeptHour, instant_of, kept_hour
from vramwatch.store.open_hours import load_sweeps
from vramwatch.store.opening import one_moment
from vramwatch.store.rebuilding import notes_of, position
from vramwatch.store.rollups import minute_track
from vramwatch.store.rows import (
    SHARE_PARTS,
    event_of,
    fault_of,
    gpu_of,
    owner_of,
    process_of,
)
from vramwatch.store.ticks import GpuTick, Tick, as_expected, decode

Lists = dict[int, Instant]
"""When the newest process list of each GPU was read."""


def polls(
    connection: Connection, hours: Iterable[int], wants: Callable[[Tick], bool], *, minutes: bool = False
) -> Iterator[Poll]:
    """Yield the polls of ``hours``, which ascend, that ``wants`` wants; of ``minutes`` too, if asked for.

    ``connection`` is in no transaction. Errors: SQLAlchemyError; LookupError, TypeError, ValueError for what
    cannot be read.
    """
    lists: Lists = {}
    for id in hours:
        with one_moment(connection):
            hour = _read(connection, id, lists if minutes else None)
        if hour is not None:
            yield from hour.polls(wants, lists)


# --- one hour -----------------------------------------------------------------------------------


class _Hour:
    """All that is stored of one hour, as it stood when it was read."""

    def __init__(
        self,
        connection: Connection,
        ticks: Iterator[Tick],
        sweeps: Mapping[int, tuple[int, ...]],
        span: tuple[int, int],
        *,
        told: Sequence[int] | None = None,
    ) -> None:
        """``ticks``: each tells of every GPU. ``span``: the seqs of the first and of the last poll.

        ``told``: the seqs of ``ticks``, where these are those of minutes.
        """
        self._connection = connection
        self._ticks = ticks
        self._gpus = {row.id: gpu_of(row) for row in connection.execute(select(t.gpu))}
        self._by_uuid = {gpu.uuid: gpu for gpu in self._gpus.values()}
        self._notes = notes_of(connection)
        self._paces = {row.id: row for row in connection.execute(select(t.pace))}
        self._boots = {row.id: row.boot_id for row in connection.execute(select(t.run))}
        self._events = _events(connection, span)
        if told is not None:
            self._events = _brought_forward(self._events, told)
        self._gaps = Stretches(_within(connection, span))
        self._missing: tuple[Missing, ...] = ()
        self._is_rolled_up = told is not None
        self._books = self._open_books(sweeps, span)

    def polls(self, wants: Callable[[Tick], bool], lists: Lists) -> Iterator[Poll]:
        for tick in self._ticks:
            at = Instant(tick.seq, tick.wall / 1000, tick.boottime / 1000, self._boots.get(tick.run, ""))
            for told in tick.gpus:
                if told.listed == tick.seq:
                    lists[told.gpu] = at
                if told.gpu in self._books:
                    self._books[told.gpu].take(told)
            if wants(tick):
                yield self._poll(tick, at, lists)

    def _poll(self, tick: Tick, at: Instant, lists: Lists) -> Poll:
        if self._gaps.reach(at.seq):
            told = (Missing(self._by_uuid.get(gap.gpu), fault_of(gap)) for gap in self._gaps.present)
            self._missing = tuple(sorted(told, key=lambda each: position(each.gpu) if each.gpu else ()))
        return Poll(
            at,
            tuple(self._ledgers(tick, at, lists)),
            self._missing,
            self._events.get(at.seq, ()),
            self._pace(tick),
        )

    def _ledgers(self, tick: Tick, at: Instant, lists: Lists) -> Iterator[Ledger]:
        here = {told.gpu: told for told in tick.gpus}
        for id, book in self._books.items():
            told = here.get(id)
            if told is not None and told.note in self._notes and not self._is_blind(id):
                ledger = book.ledger(at, told, self._notes[told.note], self._listed(told, lists))
                if ledger is not None:
                    yield ledger

    def _is_blind(self, gpu: int) -> bool:
        """Whether a GPU that was read within the minute could not be read at the poll that is told of it."""
        if not (self._is_rolled_up and self._gaps.present):
            return False
        return any(gap.gpu in (None, self._gpus[gpu].uuid) for gap in self._gaps.present)

    def _listed(self, told: GpuTick, lists: Lists) -> Instant | None:
        known = lists.get(told.gpu)
        if known is None or known.seq != told.listed:
            with one_moment(self._connection):
                found = instant_of(self._connection, told.listed) if told.listed else None
            if found is None:
                return None
            known = lists[told.gpu] = found
        return known

    def _pace(self, tick: Tick) -> Pace | None:
        row = self._paces.get(tick.pace)
        if row is None:
            return None
        share = tick.share / SHARE_PARTS
        return Pace(Seconds(row.interval), Seconds(row.list_interval), share, row.lowered_because)

    def _open_books(
        self, sweeps: Mapping[int, tuple[int, ...]], span: tuple[int, int]
    ) -> dict[int, GpuLedgers]:
        """Return the books of every GPU, in the order of their ordinals."""
        series = _by_gpu(_series(self._connection, span))
        standing = _by_gpu(_standing(self._connection, span))
        people = _People()
        in_order = sorted(self._gpus, key=lambda id: position(self._gpus[id]))
        return {
            id: GpuLedgers(
                self._gpus[id],
                series[id],
                Stretches(standing[id]),
                sweeps,
                people.tenant,
                is_rolled_up=self._is_rolled_up,
            )
            for id in in_order
        }


class _People:
    """Who a row of ``_standing`` is; the same object as long as it is the same in the same state."""

    def __init__(self) -> None:
        self._met: dict[tuple[int, str, float], Tenant] = {}

    def tenant(self, row: Row[Any]) -> Tenant:
        key = row.process, row.state, row.state_since
        if key not in self._met:
            facts, engine = process_of(ProcessKey(row.boot_id, row.pid, row.start_ticks), row.facts)
            facts = replace(facts, state=ProcessState(row.state), state_since=row.state_since)
            self._met[key] = Tenant(facts, owner_of(row), engine)
        return self._met[key]


def _read(connection: Connection, id: int, lists: Lists | None) -> _Hour | None:
    """Return an hour; None: it has no poll, or its samples are no longer kept.

    ``lists``: those before it; minutes do where there are no samples. None: they do not.
    """
    hour = kept_hour(connection, id)
    if hour is None:
        return None
    if hour.is_open:
        columns = t.tick.c
        rows = connection.execute(select(t.tick).where(columns.hour == id).order_by(columns.seq)).all()
        if not rows:
            return None
        return _Hour(connection, _open_ticks(rows), load_sweeps(connection, id), (id, rows[-1].last_seq))
    if hour.axis is None:
        return None
    if connection.scalar(select(t.minutes.c.gpu).where(t.minutes.c.hour == id).limit(1)) is not None:
        return None if lists is None else _minutes(connection, hour, hour.axis, lists)
    parts = hour.parts()
    sweeps = {sweep: told for part in parts.values() for sweep, told in part.sweeps.items()}
    return _Hour(connection, _closed_ticks(hour.axis, parts), sweeps, (id, hour.row.last_seq))


def _minutes(connection: Connection, hour: KeptHour, axis: Axis, lists: Lists) -> _Hour:
    """Return an hour of which minutes are left; GPUs whose samples are still there are rolled up too."""
    by_gpu = {gpu: dict(tracks) for gpu, tracks in hour.minutes_by_gpu().items()}
    for gpu, part in hour.parts().items():
        by_gpu[gpu] = {
            id: minute_track(track, part.counts(id), hour.minutes) for id, track in part.tracks.items()
        }
    listed = {gpu: at.seq for gpu, at in lists.items()}
    ticks, sweeps = tell_minutes(axis, hour.minutes, by_gpu, _traits(connection), listed)
    seqs = [tick.seq for tick in ticks]
    return _Hour(connection, iter(ticks), sweeps, (hour.row.id, hour.row.last_seq), told=seqs)


def _traits(connection: Connection) -> Traits:
    series = t.series.c
    means = select(series.id).where(series.unit.not_in(("bytes", "count")))
    of_lists = select(series.id).where(series.kind == SubjectKind.UNATTRIBUTED.value)
    return Traits(frozenset(connection.scalars(means)), frozenset(connection.scalars(of_lists)))


def _open_ticks(rows: Sequence[Row[Any]]) -> Iterator[Tick]:
    standing: dict[int, GpuTick] = {}
    before = 0
    for row in rows:
        for tick in decode(row.seq, row.polls):
            told = {each.gpu: each for each in tick.gpus}
            for gpu in standing.keys() - told.keys():
                told[gpu] = as_expected(standing[gpu], before, tick.seq)
            standing, before = told, tick.seq
            yield replace(tick, gpus=tuple(told.values()))


def _closed_ticks(axis: Axis, parts: Mapping[int, Part]) -> Iterator[Tick]:
    changes = {gpu: _Changes(part) for gpu, part in parts.items()}
    columns = zip(axis.seqs, axis.walls, axis.boottimes, axis.runs, axis.paces, axis.shares, strict=True)
    for poll, (seq, wall, boottime, run, pace, share) in enumerate(columns):
        gpus = tuple(
            GpuTick(gpu, axis.notes[gpu][poll], part.reads[poll], part.listed[poll], changes[gpu].at(poll))
            for gpu, part in parts.items()
        )
        yield Tick(seq, wall, boottime, run, pace, share, gpus)


class _Changes:
    """Gives the changes of all tracks of a part, at polls that ascend."""

    def __init__(self, part: Part) -> None:
        self._left = [
            (poll, id, value)
            for id, track in part.tracks.items()
            for poll, value in zip(track.polls, track.values, strict=True)
        ]
        self._left.sort(key=lambda change: change[0], reverse=True)

    def at(self, poll: int) -> tuple[tuple[int, int | float | None], ...]:
        found = []
        while self._left and self._left[-1][0] <= poll:
            found.append(self._left.pop()[1:])
        return tuple(found)


# --- what stands beside the ticks ---------------------------------------------------------------


def _by_gpu(rows: Iterable[Row[Any]]) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.gpu].append(row)
    return found


def _series(connection: Connection, span: tuple[int, int]) -> Sequence[Row[Any]]:
    ended = t.series.c.ended_seq
    return connection.execute(select(t.series).where(or_(ended.is_(None), ended >= span[0]))).all()


def _standing(connection: Connection, span: tuple[int, int]) -> Sequence[Row[Any]]:
    """Return who stood how on which GPU, with what ``_People`` asks."""
    since, until = t.holding.c.since_seq, t.holding.c.until_seq
    rows = (
        select(t.holding, t.process.c.boot_id, t.process.c.pid, t.process.c.start_ticks, t.process.c.facts)
        .add_columns(*t.OWNER_COLUMNS)
        .select_from(
            t.holding.join(t.process, t.process.c.id == t.holding.c.process).join(
                t.owner, t.owner.c.id == t.process.c.owner
            )
        )
        .where(since <= span[1], or_(until.is_(None), until > span[0]))
    )
    return connection.execute(rows).all()


def _within(connection: Connection, span: tuple[int, int]) -> Sequence[Row[Any]]:
    """Return the gaps that touch the span."""
    since, until = t.gap.c.since_seq, t.gap.c.until_seq
    touching = since <= span[1], or_(until.is_(None), until > span[0])
    return connection.execute(select(t.gap).where(*touching).order_by(t.gap.c.id)).all()


def _brought_forward(
    events: Mapping[int, tuple[Event, ...]], told: Sequence[int]
) -> dict[int, tuple[Event, ...]]:
    """Return the events by the first of the seqs ``told`` that is not before theirs."""
    found: dict[int, tuple[Event, ...]] = defaultdict(tuple)
    for seq, happened in sorted(events.items()):
        found[told[bisect_left(told, seq)]] += happened
    return dict(found)


def _events(connection: Connection, span: tuple[int, int]) -> dict[int, tuple[Event, ...]]:
    found: dict[int, tuple[Event, ...]] = defaultdict(tuple)
    for row in connection.execute(select(t.event).where(t.event.c.seq.between(*span)).order_by(t.event.c.id)):
        found[row.seq] += (event_of(row),)
    return dict(found)
