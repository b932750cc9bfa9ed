"""Every poll of a span, rebuilt as ``rebuilding`` rebuilds one, each hour read but once.

What does not change between two polls, they share: a Reading, its holdings, what was missing. Where the
samples are gone, a poll is the end of each minute; where the minutes are gone, of each hour.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from sqlalchemy import Connection, Row, select

from vramwatch.core.model import Event, Gpu, Instant, Ledger, MemoryBasis, Missing, Pace, Poll
from vramwatch.core.series import USED_BYTES
from vramwatch.store import tables as t
from vramwatch.store.columns import Value
from vramwatch.store.hours import Axis, Part, Track
from vramwatch.store.moments import KeptHour, hours, instant_of
from vramwatch.store.open_hours import load_whole
from vramwatch.store.rebuilding import (
    TOLD_KINDS,
    UNKNOWN,
    Books,
    Figures,
    Note,
    Standing,
    books_of,
    gap_rows,
    holding_rows,
    in_order,
    missing_of,
    notes_of,
    pace_of,
    position,
    standing_of,
)
from vramwatch.store.rollups import MinuteTrack
from vramwatch.store.rows import event_of, gpu_of, to_ms, value_of
from vramwatch.store.spans import listed


def walk(connection: Connection, since: float, until: float) -> Iterator[Poll]:
    """Yield the polls whose wall lies within the span (unix seconds), in the order of seq.

    One hour is in memory at a time.
    """
    for hour in hours(connection, since, until):
        kept = _kept(connection, hour)
        told = _Told(connection, kept) if kept.axis.seqs else None
        for poll, wall in enumerate(kept.axis.walls):
            if told is not None:
                told.move(poll)
                if to_ms(since) <= wall <= to_ms(until):
                    yield told.poll(poll)


@dataclass(slots=True)
class _Kept:
    """The polls of one hour as far as they are kept; ``tracks`` count them as ``axis`` does."""

    axis: Axis
    tracks: Mapping[int, Track]  # by series
    listed: Mapping[int, Sequence[int]] = field(default_factory=dict)  # by GPU; absent: no longer kept
    has_notes: bool = True


def _kept(connection: Connection, hour: KeptHour) -> _Kept:
    if hour.is_open:
        whole = load_whole(connection, hour.row.id)
        return _kept_whole(whole.axis, whole.parts)
    if hour.axis is None:
        return _kept_hourly(hour)
    parts = hour.parts()
    if parts:
        return _kept_whole(hour.axis, parts)
    return _kept_by_minute(hour.axis, [end - 1 for _, end in hour.minutes], hour.minute_tracks())


def _kept_whole(axis: Axis, parts: Mapping[int, Part]) -> _Kept:
    tracks = {id: track for part in parts.values() for id, track in part.tracks.items()}
    return _Kept(axis, tracks, {gpu: part.listed for gpu, part in parts.items()})


def _kept_by_minute(axis: Axis, ends: Sequence[int], minutes: Mapping[int, MinuteTrack]) -> _Kept:
    """Keep the polls in ``ends``, the last of each minute, alone."""
    tracks: dict[int, Track] = {}
    for id, told in minutes.items():
        tracks[id] = Track()
        for minute in range(len(ends)):
            tracks[id].take(minute, told.at(minute))
    seqs, walls, boottimes, runs, paces, shares = (
        [column[end] for end in ends]
        for column in (axis.seqs, axis.walls, axis.boottimes, axis.runs, axis.paces, axis.shares)
    )
    notes = {gpu: [each[end] for end in ends] for gpu, each in axis.notes.items()}
    return _Kept(Axis(seqs, walls, boottimes, runs, paces, shares, notes), tracks)


def _kept_hourly(hour: KeptHour) -> _Kept:
    row = hour.row
    tracks = {
        id: Track([0], [value_of(each.unit, each.last)])
        for id, each in hour.hourly().items()
        if not each.ended
    }
    times = [row.last_seq], [to_ms(row.last_wall)], [to_ms(row.last_boottime)]
    return _Kept(Axis(*times, [row.run], [0], [0]), tracks, has_notes=False)


class _Told:
    """What one hour says, poll by poll: ``move`` goes to each of them in turn, ``poll`` tells it."""

    def __init__(self, connection: Connection, kept: _Kept) -> None:
        seqs = kept.axis.seqs
        self._connection = connection
        self._axis = kept.axis
        self._kept = kept
        self._changes = _changes(connection, kept.tracks)
        self._standing = _Standing(holding_rows(connection, seqs[0], seqs[-1]))
        self._gaps = _Gaps(gap_rows(connection, seqs[0], seqs[-1]))
        self._events = _events(connection, seqs[0], seqs[-1])
        self._notes = notes_of(connection)
        self._gpus = _gpus(connection)
        self._boots = {row.id: row.boot_id for row in connection.execute(select(t.run))}
        self._paces = {row.id: row for row in connection.execute(select(t.pace))}
        self._figures: dict[int, Figures] = defaultdict(Figures)  # by GPU
        self._books: dict[int, tuple[MemoryBasis, Books]] = {}  # by GPU, since it changed last
        self._lists: dict[int, Instant | None] = {}  # seq -> when that list was read
        self._pace: tuple[tuple[int, int], Pace | None] = ((0, 0), None)

    def move(self, poll: int) -> None:
        seq = self._axis.seqs[poll]
        changed = self._standing.move(seq)
        for gpu, process, quantity, value in self._changes.pop(poll, ()):
            figures = self._figures[gpu]
            place = figures.gpu if process is None else figures.process[process]
            changed.add(gpu)
            if value is None:
                place.pop(quantity, None)
            else:
                place[quantity] = value
        self._gaps.move(seq)
        for gpu in changed:
            self._books.pop(gpu, None)

    def poll(self, poll: int) -> Poll:
        at = self._instant(poll)
        blind = self._gaps.blind
        ledgers = () if None in blind else tuple(self._ledgers(at, poll, blind))
        events = self._events.get(at.seq, ())
        return Poll(at, ledgers, self._gaps.missing, events, self._pace_at(poll))

    def _ledgers(self, at: Instant, poll: int, blind: Collection[str | None]) -> Iterator[Ledger]:
        for id, gpu in self._gpus:
            note = self._note(id, poll)
            if note is not None and gpu.uuid not in blind and USED_BYTES in self._figures[id].gpu:
                basis, explanations = note
                known = self._books.get(id)
                if known is None or known[0] is not basis:
                    books = books_of(gpu, basis, self._figures[id], self._standing.on(id))
                    known = self._books[id] = basis, books
                reading, holdings, unattributed = known[1]
                yield Ledger(at, reading, holdings, unattributed, explanations, self._listed(id, poll, at))

    def _note(self, gpu: int, poll: int) -> Note | None:
        if not self._kept.has_notes:
            return UNKNOWN
        notes = self._axis.notes.get(gpu)
        return self._notes.get(notes[poll]) if notes else None

    def _listed(self, gpu: int, poll: int, at: Instant) -> Instant | None:
        told = self._kept.listed.get(gpu)
        seq = at.seq if told is None else told[poll]
        if seq == at.seq:
            return at
        if seq not in self._lists:
            here = self._axis.index(seq)
            self._lists[seq] = self._instant(here) if here >= 0 else instant_of(self._connection, seq)
        return self._lists[seq] if seq else None

    def _instant(self, poll: int) -> Instant:
        axis = self._axis
        times = axis.walls[poll] / 1000, axis.boottimes[poll] / 1000
        return Instant(axis.seqs[poll], *times, self._boots.get(axis.runs[poll], ""))

    def _pace_at(self, poll: int) -> Pace | None:
        key = self._axis.paces[poll], self._axis.shares[poll]
        if key != self._pace[0]:
            row = self._paces.get(key[0])
            self._pace = key, None if row is None else pace_of(row, key[1])
        return self._pace[1]


class _Standing:
    """Who stands on every GPU, at seqs that ascend."""

    def __init__(self, rows: Iterable[Row[Any]]) -> None:
        self._waiting = sorted(rows, key=lambda row: row.since_seq, reverse=True)
        self._here: dict[int, list[tuple[float, Standing]]] = defaultdict(list)  # by GPU, with its end
        self._next_end = inf

    def on(self, gpu: int) -> list[Standing]:
        return [standing for _, standing in self._here[gpu]]

    def move(self, seq: int) -> set[int]:
        """Go on to ``seq``; return the GPUs on which others stand now."""
        changed: set[int] = set()
        if self._next_end <= seq:
            for gpu, here in self._here.items():
                staying = [each for each in here if each[0] > seq]
                if len(staying) != len(here):
                    changed.add(gpu)
                    here[:] = staying
        while self._waiting and self._waiting[-1].since_seq <= seq:
            row = self._waiting.pop()
            end = inf if row.until_seq is None else row.until_seq
            if end > seq:
                self._here[row.gpu].append((end, standing_of(row)))
                changed.add(row.gpu)
        if changed:
            self._next_end = min((end for here in self._here.values() for end, _ in here), default=inf)
        return changed


class _Gaps:
    """What was missing, at seqs that ascend. ``blind``: UUIDs of what could not be read, None for all."""

    def __init__(self, rows: Sequence[Row[Any]]) -> None:
        self.missing: tuple[Missing, ...] = ()
        self.blind: frozenset[str | None] = frozenset()
        self._rows = rows
        ends = {row.until_seq for row in rows if row.until_seq is not None}
        self._turns = sorted({row.since_seq for row in rows} | ends, reverse=True)

    def move(self, seq: int) -> None:
        if not self._turns or self._turns[-1] > seq:
            return
        while self._turns and self._turns[-1] <= seq:
            self._turns.pop()
        here = [row for row in self._rows if row.since_seq <= seq < (row.until_seq or inf)]
        self.missing = in_order(missing_of(row) for row in here)
        self.blind = frozenset(each.gpu.uuid if each.gpu else None for each in self.missing)


Change = tuple[int, int | None, str, Value | None]
"""GPU, process (None: the whole GPU), quantity, and the value from there on; None: none any more."""


def _changes(connection: Connection, tracks: Mapping[int, Track]) -> dict[int, list[Change]]:
    """Return by poll which figures changed; of the kinds that are read."""
    within = t.series.c.id.in_(listed(tracks))
    changes: dict[int, list[Change]] = defaultdict(list)
    for row in connection.execute(select(t.series).where(within, t.series.c.kind.in_(TOLD_KINDS))):
        track = tracks[row.id]
        for poll, value in zip(track.polls, track.values, strict=True):
            changes[poll].append((row.gpu, row.process, row.quantity, value))
    return changes


def _gpus(connection: Connection) -> list[tuple[int, Gpu]]:
    """Return every GPU with its id, by their ordinals."""
    found = [(row.id, gpu_of(row)) for row in connection.execute(select(t.gpu))]
    return sorted(found, key=lambda each: position(each[1]))


def _events(connection: Connection, first: int, last: int) -> dict[int, tuple[Event, ...]]:
    happened = select(t.event).where(t.event.c.seq.between(first, last)).order_by(t.event.c.id)
    by_seq: dict[int, list[Event]] = defaultdict(list)
    for row in connection.execute(happened):
        by_seq[row.seq].append(event_of(row))
    return {seq: tuple(events) for seq, events in by_seq.items()}
