"""What lies within a span, hour by hour, from the finest level or the coarsest that answers."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import REAL, Connection, Row, case, cast, func, select

from vramwatch.core.instants import to_ms
from vramwatch.store import tables as t
from vramwatch.store.answers import Step
from vramwatch.store.columns import Value
from vramwatch.store.hours import Axis, Part, Track
from vramwatch.store.moments import KeptHour, hours
from vramwatch.store.rollups import MinuteTrack, Rollup, Stretch, roll_up, stretches
from vramwatch.store.rows import value_of

OUTSIDE = -1
"""The step of a poll that lies in none."""


class Grid(NamedTuple):
    """Steps of ``step`` milliseconds from ``since`` on, up to and with ``until``."""

    since: int
    until: int
    step: int

    def place(self, wall: int) -> int:
        """Return the step in which ``wall`` lies, or OUTSIDE."""
        return (wall - self.since) // self.step if self.since <= wall <= self.until else OUTSIDE


Told = tuple[int, int, int, int, Value, Value, Value, Value]
"""Samples of one series from one hour that lie in one step: the step, the hour, the place within the hour,
and as in a Rollup count, minimum, maximum, last and total. A bare tuple: there may be 100,000 of them.
"""


class Change(NamedTuple):
    """From ``wall`` (ms) on ``series`` had ``value``; None: none any more."""

    wall: int
    series: int
    value: Value | None


def told_by_step(connection: Connection, series: Collection[int], grid: Grid) -> Mapping[int, list[Told]]:
    """Return the samples of each of ``series``, step by step, and within a step in the order of polls."""
    gpus = gpus_of(connection, series)
    whole: dict[int, int] = {}  # hour -> the step in which it lies
    found: dict[int, list[Told]] = defaultdict(list)
    for hour in hours(connection, grid.since / 1000, grid.until / 1000):
        step = _whole_in(hour.row, grid)
        if step != OUTSIDE:
            whole[hour.row.id] = step
            continue
        for id, told in _told_finely(hour, series, gpus, grid):
            found[id].append(told)
    for id, of_hour, count, low, high, last, total in _by_hour(connection, series, whole):
        if of_hour in whole:
            found[id].append((whole[of_hour], of_hour, 0, count, low, high, last, total))
    for each in found.values():
        each.sort()
    return found


def step_of(grid: Grid, place: int, told: Sequence[Told]) -> Step:
    """Return a step from what it holds, in the order of polls."""
    start = (grid.since + place * grid.step) / 1000
    if len(told) == 1:
        ((_, _, _, count, low, high, last, total),) = told
        return Step(start, count, low, total / count, high, last)
    _, _, _, counts, lows, highs, lasts, totals = zip(*told, strict=True)
    count = sum(counts)
    return Step(start, count, min(lows), sum(totals) / count, max(highs), lasts[-1])


def peaks_by_hour(told: Mapping[int, list[Told]]) -> dict[int, dict[int, Value]]:
    """Return hour -> series -> value, for the first hour in which each series was at its largest."""
    found: dict[int, dict[int, Value]] = defaultdict(dict)
    for id, each in told.items():
        _, hour, _, _, _, peak, _, _ = max(each, key=itemgetter(5))
        found[hour][id] = peak
    return found


def _whole_in(row: Row[Any], grid: Grid) -> int:
    """Return the step in which a closed hour lies with all its polls, or OUTSIDE."""
    if row.last_seq is None:
        return OUTSIDE
    first, last = grid.place(to_ms(row.since_wall)), grid.place(to_ms(row.until_wall))
    return first if first == last else OUTSIDE


def _by_hour(
    connection: Connection, series: Collection[int], whole: Collection[int]
) -> Iterable[Sequence[Any]]:
    """Return the roll-ups of the hours from the first to the last of ``whole``.

    A row is series, hour, count, minimum, maximum, last and total.
    """
    columns, is_bytes = t.hourly.c, t.series.c.unit == "bytes"
    values = (  # as ``rows.value_of`` has it
        case((is_bytes, columns[name]), else_=cast(columns[name], REAL))
        for name in ("minimum", "maximum", "last")
    )
    rows = (
        select(columns.series, columns.hour, columns["count"], *values, columns.mean * columns["count"])
        .select_from(t.hourly.join(t.series, t.series.c.id == columns.series))
        .where(columns.series.in_(listed(series)), columns["count"] > 0)
        .where(columns.hour.between(min(whole, default=0), max(whole, default=0)))
    )
    return connection.execute(rows)


def _told_finely(
    hour: KeptHour, series: Collection[int], gpus: Collection[int], grid: Grid
) -> Iterator[tuple[int, Told]]:
    """Yield what an hour that lies not wholly within one step tells at its finest level."""
    id = hour.row.id
    if hour.axis is None:
        step = grid.place(to_ms(hour.row.since_wall))
        for one, row in hour.hourly(series).items():
            if row._mapping["count"] and step != OUTSIDE:
                yield one, _told(step, id, 0, _of_hour(row))
        return
    over = stretches([grid.place(wall) for wall in hour.axis.walls])
    steps = [grid.place(hour.axis.walls[start]) for start, _ in over]
    for one, track, part in tracks(hour, series, gpus):
        for order, rollup in enumerate(roll_up(track, part.counts(one), over)):
            if rollup and steps[order] != OUTSIDE:
                yield one, _told(steps[order], id, order, rollup)
    for one, minutes in hour.minute_tracks(series, gpus).items():
        for order, rollup in enumerate(minutes.rollups):
            step = grid.place(hour.axis.walls[hour.minutes[order][0]])
            if rollup and step != OUTSIDE:
                yield one, _told(step, id, order, rollup)


def _told(step: int, hour: int, place: int, rollup: Rollup) -> Told:
    told = rollup.count, rollup.minimum, rollup.maximum, rollup.last, rollup.total
    return step, hour, place, *told


def _of_hour(row: Row[Any]) -> Rollup:
    low, high, last = (value_of(row.unit, value) or 0 for value in (row.minimum, row.maximum, row.last))
    return Rollup(row._mapping["count"], low, high, last, row.mean * row.count)


# --- samples ------------------------------------------------------------------------------------


def read_within(
    hour: KeptHour, series: Collection[int], gpus: Collection[int], since: int, until: int
) -> Iterator[Change]:
    """Return every sample of ``series`` that was read in one hour within the span, in the order of polls.

    The store is read at once, the samples are told from memory.
    """
    axis = hour.axis
    if axis is None:
        return iter(())
    return _followed(axis, hour.parts(series, gpus).values(), series, (since, until))


def _followed(
    axis: Axis, kept: Iterable[Part], series: Collection[int], span: tuple[int, int]
) -> Iterator[Change]:
    since, until = span
    parts = [
        (part, {id: [s for s in sweep if s in series] for id, sweep in part.sweeps.items()}) for part in kept
    ]
    followed = [{s: _Follower(part.tracks[s]) for s in series if s in part.tracks} for part, _ in parts]
    for poll, wall in enumerate(axis.walls):
        if since <= wall <= until:
            for (part, wanted), values in zip(parts, followed, strict=True):
                for id in wanted.get(part.reads[poll], ()):
                    yield Change(wall, id, values[id].at(poll))


class _Follower:
    """Gives the value of a track at polls that ascend."""

    def __init__(self, track: Track) -> None:
        self._polls = track.polls
        self._values = track.values
        self._place = 0

    def at(self, poll: int) -> Value | None:
        while self._place + 1 < len(self._polls) and self._polls[self._place + 1] <= poll:
            self._place += 1
        return self._values[self._place]


def changes_within(
    hour: KeptHour, series: Collection[int], gpus: Collection[int], since: int, until: int
) -> list[Change]:
    """Return the values that ``series`` took in one hour after ``since`` up to ``until``, in poll order.

    Where the samples are gone: what each minute, or the hour, ended with.
    """
    axis = hour.axis
    if axis is None:
        wall = to_ms(hour.row.until_wall)
        found = [
            (0, wall, id, None if row.ended else value_of(row.unit, row.last))
            for id, row in hour.hourly(series).items()
        ]
    else:
        found = [
            (poll, axis.walls[poll], id, value)
            for id, track, _ in tracks(hour, series, gpus)
            for poll, value in zip(track.polls, track.values, strict=True)
        ]
        found += [
            (end - 1, axis.walls[end - 1], id, track.at(minute))
            for id, track in hour.minute_tracks(series, gpus).items()
            for minute, (_, end) in enumerate(hour.minutes)
        ]
    found.sort(key=lambda each: (each[0], each[2]))
    return [Change(wall, id, value) for _, wall, id, value in found if since < wall <= until]


def peak_walls(
    hour: KeptHour, peaks: Mapping[int, Value], gpus: Collection[int], span: Grid
) -> Mapping[int, int]:
    """Return when (ms) in one hour each series first had its peak within the span.

    That is exact where the samples are kept; else it is when the minute, or the hour, began.
    ``peaks``: series -> value. ``gpus``: those of the series.
    """
    axis = hour.axis
    if axis is None:
        return dict.fromkeys(peaks, to_ms(hour.row.since_wall))
    found = dict.fromkeys(peaks, axis.walls[0])
    for id, track, part in tracks(hour, peaks, gpus):
        read = _polls_with(peaks[id], track, part, id)
        walls = (axis.walls[poll] for poll in read)
        found[id] = next((wall for wall in walls if span.since <= wall <= span.until), found[id])
    for id, minutes in hour.minute_tracks(peaks, gpus).items():
        found[id] = axis.walls[_minute_of(minutes, hour.minutes, peaks[id])]
    return found


def _polls_with(value: Value, track: Track, part: Part, series: int) -> Iterator[int]:
    """Yield the polls at which ``series`` was read and had ``value``."""
    sweeps = {sweep for sweep, told in part.sweeps.items() if series in told}
    ends = [*track.polls[1:], len(part.reads)]
    for start, end, held in zip(track.polls, ends, track.values, strict=True):
        if held == value:
            yield from (poll for poll in range(start, end) if part.reads[poll] in sweeps)


def _minute_of(minutes: MinuteTrack, stretch: Sequence[Stretch], peak: Value) -> int:
    for rollup, (start, _) in zip(minutes.rollups, stretch, strict=True):
        if rollup and rollup.maximum == peak:
            return start
    return 0


def tracks(
    hour: KeptHour, series: Collection[int], gpus: Collection[int]
) -> Iterator[tuple[int, Track, Part]]:
    for part in hour.parts(series, gpus).values():
        for id, track in part.tracks.items():
            if id in series:
                yield id, track, part


def gpus_of(connection: Connection, series: Collection[int]) -> list[int]:
    return list(
        connection.scalars(select(t.series.c.gpu).where(t.series.c.id.in_(listed(series))).distinct())
    )


def listed(ids: Collection[int] | Collection[str]) -> Any:
    """Return ``ids`` as a subquery: a statement takes 32766 parameters at most."""
    return select(func.json_each(json.dumps(list(ids))).table_valued("value").c.value)
