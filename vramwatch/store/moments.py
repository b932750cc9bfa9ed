"""What stood at one moment, at whatever level it is still kept.

People ask by wall clock, which may step back; polls are ordered by seq. A moment is therefore the poll
with the largest wall that is not after it (of several, the newest); a span is every poll whose wall lies
in it, told in the order of seq. Where the samples themselves are gone, a moment is the end of the minute
before it; where the minutes are gone, the end of the hour before it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, select

from vramwatch.core.instants import to_ms
from vramwatch.core.model import Instant
from vramwatch.store import tables as t
from vramwatch.store.columns import Value
from vramwatch.store.hours import Axis, Part, decode_axis, decode_part
from vramwatch.store.open_hours import load, load_whole
from vramwatch.store.rollups import MinuteTrack, Stretch, decode_minutes, minutes_of
from vramwatch.store.rows import value_of

HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Moment:
    """What stood at one poll. ``share`` in 1/10000; ``notes`` and ``listed`` by GPU, ``values`` by series."""

    at: Instant
    pace: int = 0
    share: int = 0
    notes: Mapping[int, int] | None = None  # None: no longer kept
    listed: Mapping[int, int] = field(default_factory=dict)
    values: Mapping[int, Value] = field(default_factory=dict)


class KeptHour:
    """One hour of the store, read as far as it is asked for."""

    def __init__(self, connection: Connection, row: Row[Any]) -> None:
        self.row = row
        self._connection = connection

    @property
    def is_open(self) -> bool:
        return self.row.last_seq is None

    @cached_property
    def axis(self) -> Axis | None:
        """When was read; None: only the hour's roll-up is left."""
        if self.is_open:
            return load_whole(self._connection, self.row.id, gpus=()).axis
        blob = self._connection.scalar(select(t.axis.c.polls).where(t.axis.c.hour == self.row.id))
        return None if blob is None else decode_axis(blob)

    @cached_property
    def minutes(self) -> list[Stretch]:
        """The polls of each minute that has any."""
        return minutes_of(self.axis.walls) if self.axis else []

    def parts(
        self, wanted: Collection[int] | None = None, gpus: Collection[int] | None = None
    ) -> dict[int, Part]:
        """Return what was read of each of ``gpus``, of the series in ``wanted``; {}: no longer kept."""
        if self.is_open:
            return load_whole(self._connection, self.row.id, gpus=gpus).parts
        axis = self.axis
        rows = select(t.raw.c.gpu, t.raw.c.samples).where(t.raw.c.hour == self.row.id)
        if gpus is not None:
            rows = rows.where(t.raw.c.gpu.in_(gpus))
        if axis is None:
            return {}
        return {gpu: decode_part(blob, axis.seqs, wanted) for gpu, blob in self._connection.execute(rows)}

    def minute_tracks(
        self, wanted: Collection[int] | None = None, gpus: Collection[int] | None = None
    ) -> dict[int, MinuteTrack]:
        """Return the roll-ups by minute of the series in ``wanted``, of GPUs whose samples are gone."""
        found: dict[int, MinuteTrack] = {}
        for tracks in self.minutes_by_gpu(wanted, gpus).values():
            found |= tracks
        return found

    def minutes_by_gpu(
        self, wanted: Collection[int] | None = None, gpus: Collection[int] | None = None
    ) -> dict[int, dict[int, MinuteTrack]]:
        """Return as ``minute_tracks``, by GPU."""
        if self.is_open:
            return {}
        rows = select(t.minutes.c.gpu, t.minutes.c.rollups).where(t.minutes.c.hour == self.row.id)
        if gpus is not None:
            rows = rows.where(t.minutes.c.gpu.in_(gpus))
        return {gpu: decode_minutes(blob, wanted) for gpu, blob in self._connection.execute(rows)}

    def hourly(self, wanted: Collection[int] | None = None) -> dict[int, Row[Any]]:
        """Return the roll-up of every series in ``wanted``, with its unit."""
        rows = (
            select(t.hourly, t.series.c.unit)
            .select_from(t.hourly.join(t.series, t.series.c.id == t.hourly.c.series))
            .where(t.hourly.c.hour == self.row.id)
        )
        found = {row.series: row for row in self._connection.execute(rows)}
        return found if wanted is None else {id: row for id, row in found.items() if id in wanted}

    def wall(self, seq: int) -> int:
        """Return the wall clock, in milliseconds, of the newest poll that is not after ``seq``."""
        axis = self.axis
        return to_ms(self.row.until_wall) if axis is None else axis.walls[axis.index(seq)]

    def newest(self, wall: int) -> int | None:
        """Return the seq of the poll with the largest wall up to ``wall`` (ms); None: all are later."""
        axis = self.axis
        if axis is None:
            return int(self.row.last_seq) if to_ms(self.row.until_wall) <= wall else None
        found = max(
            ((each, seq) for each, seq in zip(axis.walls, axis.seqs, strict=True) if each <= wall),
            default=None,
        )
        return None if found is None else found[1]

    def rank(self, seq: int) -> tuple[int, int]:
        return self.wall(seq), seq


def hours(connection: Connection, since: float, until: float) -> Iterator[KeptHour]:
    """Yield the hours of the clock that touch the span, in the order of their polls."""
    begin = to_ms(since) // 1000 // HOUR_SECONDS * HOUR_SECONDS
    rows = select(t.hour).where(t.hour.c.wall >= begin, t.hour.c.wall <= to_ms(until) // 1000)
    for row in connection.execute(rows.order_by(t.hour.c.id)).all():
        yield KeptHour(connection, row)


def kept_hour(connection: Connection, id: int) -> KeptHour | None:
    """Return the hour ``id`` as it stands now; None: it is no longer kept."""
    row = connection.execute(select(t.hour).where(t.hour.c.id == id)).first()
    return None if row is None else KeptHour(connection, row)


def newest_seq(connection: Connection, wall: float) -> int:
    """Return the seq of the newest poll at ``wall`` (unix seconds); 0: none was stored yet."""
    ms = to_ms(wall)
    rows = connection.execute(
        select(t.hour).where(t.hour.c.wall <= ms // 1000).order_by(t.hour.c.wall.desc(), t.hour.c.id.desc())
    )
    for _, same in groupby(rows, key=lambda row: row.wall):
        kept = [KeptHour(connection, row) for row in same]
        found = [(hour, seq) for hour in kept if (seq := hour.newest(ms)) is not None]
        if found:
            return max(hour.rank(seq) for hour, seq in found)[1]
    return 0


def hour_of(connection: Connection, seq: int) -> KeptHour | None:
    """Return the hour in which the newest poll up to ``seq`` was; None: there is none."""
    row = connection.execute(
        select(t.hour).where(t.hour.c.id <= seq).order_by(t.hour.c.id.desc()).limit(1)
    ).first()
    return None if row is None else KeptHour(connection, row)


def instant_of(connection: Connection, seq: int) -> Instant | None:
    """Return the instant of the newest poll up to ``seq``, or of its hour's last where no other is kept."""
    hour = hour_of(connection, seq)
    if hour is None:
        return None
    axis = load(connection, hour.row.id, seq, ()).axis if hour.is_open else hour.axis
    if axis is None:
        row = hour.row
        return Instant(row.last_seq, row.last_wall, row.last_boottime, _boot_id(connection, row.run))
    poll = axis.index(seq)
    times = axis.walls[poll] / 1000, axis.boottimes[poll] / 1000
    return Instant(axis.seqs[poll], *times, _boot_id(connection, axis.runs[poll]))


def moment(connection: Connection, seq: int, series: Collection[int] | None = None) -> Moment | None:
    """Return what stood at ``seq``, of all series or of those in ``series``; None: nothing was stored yet."""
    hour = hour_of(connection, seq)
    if hour is None:
        return None
    if hour.is_open:
        newest = load(connection, hour.row.id, seq)
        return _moment(connection, newest.axis, newest.parts, newest.axis.index(seq))
    if hour.axis is None:
        return _hourly_moment(connection, hour, seq, series)
    parts = hour.parts(series)
    poll = hour.axis.index(seq)
    if parts:
        return _moment(connection, hour.axis, parts, poll)
    return _minute_moment(connection, hour, hour.axis, poll, series)


def _moment(connection: Connection, axis: Axis, parts: Mapping[int, Part], poll: int) -> Moment:
    found = ((id, track.at(poll)) for part in parts.values() for id, track in part.tracks.items())
    return Moment(
        Instant(
            axis.seqs[poll],
            axis.walls[poll] / 1000,
            axis.boottimes[poll] / 1000,
            _boot_id(connection, axis.runs[poll]),
        ),
        axis.paces[poll],
        axis.shares[poll],
        {gpu: notes[poll] for gpu, notes in axis.notes.items()},
        {gpu: part.listed[poll] for gpu, part in parts.items()},
        {id: value for id, value in found if value is not None},
    )


def _minute_moment(
    connection: Connection, hour: KeptHour, axis: Axis, poll: int, series: Collection[int] | None
) -> Moment | None:
    """The end of the newest minute that is over at ``poll``."""
    over = [minute for minute, (_, end) in enumerate(hour.minutes) if end <= poll + 1]
    if not over:
        return moment(connection, axis.seqs[0] - 1, series)
    minute = over[-1]
    found = ((id, track.at(minute)) for id, track in hour.minute_tracks(series).items())
    bare = _moment(connection, axis, {}, hour.minutes[minute][1] - 1)
    values = {id: value for id, value in found if value is not None}
    return Moment(bare.at, bare.pace, bare.share, bare.notes, values=values)


def _hourly_moment(
    connection: Connection, hour: KeptHour, seq: int, series: Collection[int] | None
) -> Moment | None:
    """The end of the newest hour that is over at ``seq``."""
    if hour.row.last_seq > seq:
        return moment(connection, hour.row.id - 1, series)
    row = hour.row
    at = Instant(row.last_seq, row.last_wall, row.last_boottime, _boot_id(connection, row.run))
    found = (
        (id, value_of(each.unit, each.last)) for id, each in hour.hourly(series).items() if not each.ended
    )
    return Moment(at, values={id: value for id, value in found if value is not None})


def _boot_id(connection: Connection, run: int) -> str:
    return connection.scalar(select(t.run.c.boot_id).where(t.run.c.id == run)) or ""
