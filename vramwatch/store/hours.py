"""One hour of polls in memory, and as the blobs that last: its axis, and what was read of each GPU.

Polls are counted from 0 within the hour. A series stands as its changes: the polls at which it took another
value, and those values. Which of them were read at a poll is said by the sweep of that poll: a set of
series that were read together.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from vramwatch.store.columns import ColumnReader, ColumnWriter, Value
from vramwatch.store.ticks import GpuTick, Tick, as_expected


@dataclass(slots=True)
class Axis:
    """When was read, and how: one item a poll. Milliseconds; shares in 1/10000."""

    seqs: list[int] = field(default_factory=list)
    walls: list[int] = field(default_factory=list)
    boottimes: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    paces: list[int] = field(default_factory=list)  # 0: none
    shares: list[int] = field(default_factory=list)
    notes: dict[int, list[int]] = field(default_factory=dict)  # GPU -> note; 0: it was not there

    def index(self, seq: int) -> int:
        """Return the newest poll that is not after ``seq``; -1: there is none."""
        return bisect_right(self.seqs, seq) - 1


@dataclass(slots=True)
class Track:
    """One series: the polls at which its value changed, and the values; None: none from there on."""

    polls: list[int] = field(default_factory=list)
    values: list[Value | None] = field(default_factory=list)

    def at(self, poll: int) -> Value | None:
        place = bisect_right(self.polls, poll) - 1
        return self.values[place] if place >= 0 else None

    def take(self, poll: int, value: Value | None) -> None:
        """Note the value at a poll later than all before."""
        before = self.values[-1] if self.values else None
        if value != before:
            self.polls.append(poll)
            self.values.append(value)


@dataclass(slots=True)
class Part:
    """What was read of one GPU."""

    sweeps: dict[int, tuple[int, ...]] = field(default_factory=dict)  # id -> series
    reads: list[int] = field(default_factory=list)  # the sweep of each poll; 0: nothing was read
    listed: list[int] = field(default_factory=list)  # seq of the newest process list at each poll; 0: none
    tracks: dict[int, Track] = field(default_factory=dict)  # by series

    def counts(self, series: int) -> list[int]:
        """Return how often ``series`` was read before each poll; one item more than there are polls."""
        within = {0: False} | {sweep: series in told for sweep, told in self.sweeps.items()}
        return list(accumulate(map(within.__getitem__, self.reads), initial=0))


@dataclass(slots=True)
class Hour:
    """One hour of polls, or a part of it."""

    axis: Axis = field(default_factory=Axis)
    parts: dict[int, Part] = field(default_factory=dict)  # by GPU


def collect(ticks: Iterable[Tick], sweeps: Mapping[int, tuple[int, ...]], into: Hour) -> None:
    """Add ``ticks``, in ascending order, to an hour."""
    axis = into.axis
    for tick in ticks:
        poll = len(axis.seqs)
        axis.seqs.append(tick.seq)
        axis.walls.append(tick.wall)
        axis.boottimes.append(tick.boottime)
        axis.runs.append(tick.run)
        axis.paces.append(tick.pace)
        axis.shares.append(tick.share)
        told = {each.gpu: each for each in tick.gpus}
        for gpu in into.parts.keys() - told.keys():
            told[gpu] = _expected(into, gpu, poll)
        for each in told.values():
            _take(each, into, poll, sweeps)


def _expected(hour: Hour, gpu: int, poll: int) -> GpuTick:
    axis, part, last = hour.axis, hour.parts[gpu], poll - 1
    before = GpuTick(gpu, axis.notes[gpu][last], part.reads[last], part.listed[last])
    return as_expected(before, axis.seqs[last], axis.seqs[poll])


def _take(told: GpuTick, hour: Hour, poll: int, sweeps: Mapping[int, tuple[int, ...]]) -> None:
    part = hour.parts.get(told.gpu)
    if part is None:
        part = hour.parts[told.gpu] = Part(reads=[0] * poll, listed=[0] * poll)
        hour.axis.notes[told.gpu] = [0] * poll
    hour.axis.notes[told.gpu].append(told.note)
    part.reads.append(told.sweep)
    part.listed.append(told.listed)
    if told.sweep and told.sweep not in part.sweeps:
        part.sweeps[told.sweep] = sweeps[told.sweep]
    for series, value in told.changes:
        track = part.tracks.get(series)
        if track is None:
            if value is None:
                continue
            track = part.tracks[series] = Track()
        track.take(poll, value)


# --- as blobs -----------------------------------------------------------------------------------


def encode_axis(axis: Axis) -> bytes:
    columns = ColumnWriter()
    columns.deltas(axis.seqs)
    columns.deltas(axis.walls)
    columns.deltas([wall - boot for wall, boot in zip(axis.walls, axis.boottimes, strict=True)])
    for each in (axis.runs, axis.paces, axis.shares):
        columns.deltas(each)
    columns.integers(list(axis.notes))
    for notes in axis.notes.values():
        columns.deltas(notes)
    return columns.blob()


def decode_axis(blob: bytes) -> Axis:
    """Return what ``encode_axis`` was given. Errors: ValueError."""
    columns = ColumnReader(blob)
    seqs, walls, offsets, runs, paces, shares = (columns.deltas() for _ in range(6))
    boottimes = [wall - offset for wall, offset in zip(walls, offsets, strict=True)]
    notes = {gpu: columns.deltas() for gpu in columns.integers()}
    return Axis(seqs, walls, boottimes, runs, paces, shares, notes)


def encode_part(part: Part, seqs: Sequence[int]) -> bytes:
    """Return ``part`` as a blob. ``seqs``: of the hour's polls."""
    columns = ColumnWriter()
    ids = list(part.sweeps)
    columns.integers(ids)
    for sweep in ids:
        columns.deltas(part.sweeps[sweep])
    columns.integers(part.reads)
    _encode_listed(columns, part, seqs)
    columns.deltas(list(part.tracks))
    for track in part.tracks.values():
        _encode_track(columns, track)
    return columns.blob()


def decode_part(blob: bytes, seqs: Sequence[int], wanted: Collection[int] | None = None) -> Part:
    """Return what ``encode_part`` was given, of its tracks those in ``wanted``. Errors: ValueError."""
    columns = ColumnReader(blob)
    sweeps = {sweep: tuple(columns.deltas()) for sweep in columns.integers()}
    reads = columns.integers()
    listed = _decode_listed(columns, reads, seqs)
    tracks = {}
    for series in columns.deltas():
        if wanted is None or series in wanted:
            tracks[series] = _decode_track(columns)
        else:
            columns.skip(3)
            columns.skip_values()
    return Part(sweeps, reads, listed, tracks)


def _encode_track(columns: ColumnWriter, track: Track) -> None:
    columns.deltas(track.polls)
    columns.integers([place for place, value in enumerate(track.values) if value is None])
    columns.values(list(_filled(track.values)))


def _filled(values: Sequence[Value | None]) -> Iterator[Value]:
    """Yield ``values``, the one before in the place of each None."""
    before: Value = next((value for value in values if value is not None), 0)
    for value in values:
        before = before if value is None else value
        yield before


def _decode_track(columns: ColumnReader) -> Track:
    polls, ends = columns.deltas(), columns.integers()
    values: list[Value | None] = list(columns.values())
    for place in ends:
        values[place] = None
    return Track(polls, values)


def _encode_listed(columns: ColumnWriter, part: Part, seqs: Sequence[int]) -> None:
    """Add the seqs of the lists: most of them follow from the sweeps that come with a list."""
    fresh = sorted(
        {sweep for sweep, listed, seq in zip(part.reads, part.listed, seqs, strict=True) if listed == seq}
    )
    told = enumerate(zip(part.listed, _following(part.reads, part.listed, fresh, seqs), strict=True))
    odd = [(poll, listed) for poll, (listed, expected) in told if listed != expected]
    columns.integers(fresh)
    columns.deltas([poll for poll, _ in odd])
    columns.integers([listed for _, listed in odd])


def _following(
    reads: Sequence[int], listed: Sequence[int], fresh: Collection[int], seqs: Sequence[int]
) -> Iterator[int]:
    """Yield for each poll which list its sweep lets expect, given what stood at the poll before."""
    before = 0
    for sweep, here, seq in zip(reads, listed, seqs, strict=True):
        yield seq if sweep in fresh else before
        before = here


def _decode_listed(columns: ColumnReader, reads: Sequence[int], seqs: Sequence[int]) -> list[int]:
    fresh = set(columns.integers())
    odd = dict(zip(columns.deltas(), columns.integers(), strict=True))
    listed: list[int] = []
    before = 0
    for poll, (sweep, seq) in enumerate(zip(reads, seqs, strict=True)):
        before = odd.get(poll, seq if sweep in fresh else before)
        listed.append(before)
    return listed
