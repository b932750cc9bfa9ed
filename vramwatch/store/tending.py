"""What is done to the store between polls, a slice at a time: hours close, age, and are let go of.

Every job is a generator that stops between slices. The caller gives each slice a transaction of its own;
what a job changes is changed in one slice, so that it may be broken off anywhere.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from vramwatch.core.units import Seconds
from vramwatch.store import incidents, probes, telling
from vramwatch.store import tables as t
from vramwatch.store.hours import (
    Axis,
    Hour,
    Part,
    Track,
    collect,
    decode_axis,
    decode_part,
    encode_axis,
    encode_part,
)
from vramwatch.store.moments import HOUR_SECONDS
from vramwatch.store.open_hours import load_sweeps
from vramwatch.store.opening import driver
from vramwatch.store.retention import Retention
from vramwatch.store.rollups import encode_minutes, minutes_of, roll_up
from vramwatch.store.rows import Values
from vramwatch.store.ticks import decode

ROWS_AT_ONCE = 200
"""Rows of ticks that one slice reads: about 5 ms."""

INCREMENTAL = 2  # https://sqlite.org/pragma.html#pragma_auto_vacuum

PAGES_AT_ONCE = 32
"""Pages that one slice gives back to the disk."""

SPARE_PAGES = 64
"""Free pages that are left for what comes next."""

Job = Iterator[None]


def next_job(connection: Connection, retention: Retention) -> Job | None:
    """Return what is most due; None: nothing is."""
    newest = connection.execute(
        select(t.hour.c.id, t.hour.c.wall).order_by(t.hour.c.id.desc()).limit(1)
    ).first()
    if newest is None:
        return None
    closed = select(t.hour.c.id).where(t.hour.c.last_seq.is_(None), t.hour.c.id < newest.id)
    waiting = connection.scalar(closed.order_by(t.hour.c.id).limit(1))
    if waiting is not None:
        return compact(connection, waiting)
    return _aged(connection, retention, newest.wall) or _oversize(connection, retention) or _spare(connection)


# --- an hour that has closed --------------------------------------------------------------------


def compact(connection: Connection, hour: int) -> Job:
    """Turn the ticks of a closed hour into its lasting form."""
    found, sweeps, after = Hour(), load_sweeps(connection, hour), 0
    while rows := _ticks(connection, hour, after):
        for seq, polls in rows:
            collect(decode(seq, polls), sweeps, found)
            after = seq
        yield
    samples: list[Values] = []
    rollups: list[Values] = []
    for gpu, part in found.parts.items():
        samples.append({"hour": hour, "gpu": gpu, "samples": encode_part(part, found.axis.seqs)})
        yield
        rollups += summaries(hour, part)
        yield
    axis = encode_axis(found.axis)
    yield
    connection.execute(insert(t.axis), {"hour": hour, "polls": axis})
    for table, values in ((t.raw, samples), (t.hourly, rollups)):
        if values:
            connection.execute(insert(table), values)
    _close(connection, hour, found.axis)


def _ticks(connection: Connection, hour: int, after: int) -> list[tuple[int, bytes]]:
    columns = t.tick.c
    rows = select(columns.seq, columns.polls).where(columns.hour == hour, columns.seq > after)
    found = connection.execute(rows.order_by(columns.seq).limit(ROWS_AT_ONCE))
    return [(seq, polls) for seq, polls in found]


def _close(connection: Connection, hour: int, axis: Axis) -> None:
    values: Values = {
        "last_seq": axis.seqs[-1],
        "polls": len(axis.seqs),
        "since_wall": min(axis.walls) / 1000,
        "until_wall": max(axis.walls) / 1000,
        "last_wall": axis.walls[-1] / 1000,
        "last_boottime": axis.boottimes[-1] / 1000,
        "run": axis.runs[-1],
    }
    connection.execute(update(t.hour).where(t.hour.c.id == hour).values(values))
    of_hour = t.tick.c.seq >= hour, t.tick.c.seq <= axis.seqs[-1]
    connection.execute(delete(t.tick).where(*of_hour))
    connection.execute(delete(t.sweep).where(t.sweep.c.hour == hour))


def summaries(hour: int, part: Part) -> list[Values]:
    """Return the rows of the table hourly for the series of ``part``."""
    return [_summary(hour, series, track, part.counts(series)) for series, track in part.tracks.items()]


def _summary(hour: int, series: int, track: Track, counts: list[int]) -> Values:
    (rollup,) = roll_up(track, counts, [(0, len(counts) - 1)])
    row: Values = {"series": series, "hour": hour, "ended": track.values[-1] is None}
    if rollup is None:
        carried = next(value for value in track.values if value is not None)
        figures = ("first", "last", "minimum", "mean", "maximum")
        return {**row, "count": 0, **dict.fromkeys(figures, carried)}
    return {
        **row,
        "count": rollup.count,
        "first": track.at(bisect_right(counts, 0) - 1),
        "last": rollup.last,
        "minimum": rollup.minimum,
        "mean": rollup.total / rollup.count,
        "maximum": rollup.maximum,
    }


# --- what has become old ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Oldest:
    """The oldest hours at each level."""

    raw: tuple[int, int] | None  # hour, its wall
    minutes: tuple[int, int] | None
    hours: tuple[int, int] | None


def _oldest(connection: Connection) -> _Oldest:
    def first(level: str) -> tuple[int, int] | None:
        closed = select(t.hour.c.id, t.hour.c.wall).where(t.hour.c.last_seq.is_not(None))
        if level == "raw":
            closed = closed.where(t.hour.c.id == select(func.min(t.raw.c.hour)).scalar_subquery())
        elif level == "axis":
            closed = closed.where(t.hour.c.id == select(func.min(t.axis.c.hour)).scalar_subquery())
        row = connection.execute(closed.order_by(t.hour.c.id).limit(1)).first()
        return None if row is None else (row.id, row.wall)

    return _Oldest(first("raw"), first("axis"), first("hour"))


def _aged(connection: Connection, retention: Retention, newest: int) -> Job | None:
    oldest = _oldest(connection)
    for level, kept, job in (
        (oldest.raw, retention.raw, fold),
        (oldest.minutes, retention.minutes, drop_minutes),
        (oldest.hours, retention.hours, drop_hour),
    ):
        if level and level[1] < newest - kept and _has_after(connection, level[0], kept):
            return job(connection, level[0])
    return None


def _has_after(connection: Connection, hour: int, kept: Seconds) -> bool:
    """Whether as many hours as are kept came after ``hour``: a clock that leaps ahead costs no history."""
    wanted = int(kept // HOUR_SECONDS)
    after = select(t.hour.c.id).where(t.hour.c.id > hour).order_by(t.hour.c.id).offset(wanted - 1).limit(1)
    return wanted == 0 or connection.scalar(after) is not None


def _oversize(connection: Connection, retention: Retention) -> Job | None:
    if retention.max_size is None:
        return None
    pages, free, size = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
    if (pages - free) * size <= retention.max_size:
        return None
    oldest = _oldest(connection)
    if oldest.raw:
        return fold(connection, oldest.raw[0])
    if oldest.minutes:
        return drop_minutes(connection, oldest.minutes[0])
    return drop_hour(connection, oldest.hours[0]) if oldest.hours else None


def fold(connection: Connection, hour: int) -> Job:
    """Replace the samples of an hour by their roll-ups by minute, one GPU a slice."""
    axis = decode_axis(connection.execute(select(t.axis.c.polls).where(t.axis.c.hour == hour)).scalar_one())
    minutes = minutes_of(axis.walls)
    for gpu in connection.scalars(select(t.raw.c.gpu).where(t.raw.c.hour == hour)).all():
        this = t.raw.c.hour == hour, t.raw.c.gpu == gpu
        blob = connection.execute(select(t.raw.c.samples).where(*this)).scalar_one()
        rollups = encode_minutes(decode_part(blob, axis.seqs), minutes)
        connection.execute(insert(t.minutes), {"hour": hour, "gpu": gpu, "rollups": rollups})
        connection.execute(delete(t.raw).where(*this))
        yield


def drop_minutes(connection: Connection, hour: int) -> Job:
    """Let go of all of an hour but its roll-up."""
    for table in (t.raw, t.minutes, t.axis):
        connection.execute(delete(table).where(table.c.hour == hour))
    yield


def drop_hour(connection: Connection, hour: int) -> Job:
    """Let go of an hour, and of whom and what no later one knows."""
    series = t.hourly.c.series.in_(select(t.series.c.id))  # by the key: a scan would take seconds
    connection.execute(delete(t.hourly).where(t.hourly.c.hour == hour, series))
    for table in (t.raw, t.minutes, t.axis):
        connection.execute(delete(table).where(table.c.hour == hour))
    last = connection.execute(select(t.hour.c.last_seq).where(t.hour.c.id == hour)).scalar_one()
    connection.execute(delete(t.hour).where(t.hour.c.id == hour))
    yield
    for table, over in (
        (t.holding, t.holding.c.until_seq),
        (t.series, t.series.c.ended_seq),
        (t.event, t.event.c.seq),
        (t.gap, t.gap.c.until_seq),
    ):
        connection.execute(delete(table).where(over <= last))
        yield
    telling.drop_until(connection, last)
    incidents.drop_until(connection, last)
    probes.drop_until(connection, last)
    yield
    used = or_(
        t.process.c.id.in_(select(t.series.c.process).where(t.series.c.process.is_not(None))),
        t.process.c.id.in_(select(t.holding.c.process)),
    )
    connection.execute(delete(t.process).where(t.process.c.last_seq <= last, ~used))


def _spare(connection: Connection) -> Job | None:
    can_shrink = _pragma(connection, "auto_vacuum") == INCREMENTAL
    return (
        _give_back(connection) if can_shrink and _pragma(connection, "freelist_count") > SPARE_PAGES else None
    )


def _give_back(connection: Connection) -> Job:
    """Give free pages back to the disk."""
    while (free := _pragma(connection, "freelist_count")) > SPARE_PAGES:
        pages = min(PAGES_AT_ONCE, free - SPARE_PAGES)
        driver(connection).execute(f"PRAGMA incremental_vacuum({pages})").fetchall()  # a page at each step
        yield


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
