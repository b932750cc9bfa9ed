"""What remains of many samples: count, minimum, mean, maximum and last; in memory and as blobs."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from vramwatch.store.columns import ColumnReader, ColumnWriter, Value
from vramwatch.store.hours import Part, Track

MINUTE_MS = 60_000

Stretch = tuple[int, int]
"""Polls from the first up to, and without, the second."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """The samples of one series in a stretch of polls."""

    count: int  # at least 1
    minimum: Value
    maximum: Value
    last: Value
    total: Value

    def then(self, later: "Rollup") -> "Rollup":
        """Return the roll-up of both stretches."""
        return Rollup(
            self.count + later.count,
            min(self.minimum, later.minimum),
            max(self.maximum, later.maximum),
            later.last,
            self.total + later.total,
        )


@dataclass(slots=True)
class MinuteTrack:
    """One series in one hour, a minute at a time."""

    carried: Value | None  # what it had when the hour began
    rollups: list[Rollup | None]  # one a minute; None: it was not read
    ended: list[int]  # the minutes at whose end it had no value any more

    def at(self, minute: int) -> Value | None:
        """Return the value that the series had at the end of ``minute``."""
        if minute in self.ended:
            return None
        for each in reversed(self.rollups[: minute + 1]):
            if each is not None:
                return each.last
        return self.carried


def minutes_of(walls: Sequence[int]) -> list[Stretch]:
    """Return the stretches of polls of one minute of the clock each. ``walls``: milliseconds."""
    return stretches([wall // MINUTE_MS for wall in walls])


def stretches(marks: Sequence[int]) -> list[Stretch]:
    """Return the stretches over which ``marks``, one a poll, stay the same."""
    found, start = [], 0
    for _, same in groupby(marks):
        end = start + sum(1 for _ in same)
        found.append((start, end))
        start = end
    return found


def roll_up(track: Track, counts: Sequence[int], over: Sequence[Stretch]) -> Iterator[Rollup | None]:
    """Yield the roll-up of ``track`` in each of ``over``, which ascend; None: it was not read there.

    ``counts``: how often it was read before each poll (``Part.counts``).
    """
    place = 0  # of the first change that may still matter
    polls, values, ends = track.polls, track.values, [*track.polls[1:], len(counts) - 1]
    for start, end in over:
        sum_up: Rollup | None = None
        while place < len(polls) and ends[place] <= start:
            place += 1
        here = place
        while here < len(polls) and polls[here] < end:
            value = values[here]
            count = counts[min(ends[here], end)] - counts[max(polls[here], start)]
            if count and value is not None:
                more = Rollup(count, value, value, value, value * count)
                sum_up = more if sum_up is None else sum_up.then(more)
            here += 1
        yield sum_up


def minute_track(track: Track, counts: Sequence[int], minutes: Sequence[Stretch]) -> MinuteTrack:
    carried = track.at(0) if counts[1:2] == [0] else None
    ended = [minute for minute, (_, end) in enumerate(minutes) if track.at(end - 1) is None]
    return MinuteTrack(carried, list(roll_up(track, counts, minutes)), ended)


def encode_minutes(part: Part, minutes: Sequence[Stretch]) -> bytes:
    """Return the roll-ups of every series of ``part`` as a blob."""
    return encode_minute_tracks(
        {series: minute_track(track, part.counts(series), minutes) for series, track in part.tracks.items()}
    )


def encode_minute_tracks(tracks: dict[int, MinuteTrack]) -> bytes:
    columns = ColumnWriter()
    columns.deltas(list(tracks))
    for track in tracks.values():
        told = [each for each in track.rollups if each is not None]
        columns.values([] if track.carried is None else [track.carried])
        columns.integers(track.ended)
        columns.integers([each.count if each else 0 for each in track.rollups])
        columns.values([each.minimum for each in told])
        columns.values([each.maximum for each in told])
        columns.values([each.last for each in told])
        columns.values([each.total for each in told])
    return columns.blob()


def decode_minutes(blob: bytes, wanted: Collection[int] | None = None) -> dict[int, MinuteTrack]:
    """Return what ``encode_minute_tracks`` was given, of the series in ``wanted``. Errors: ValueError."""
    columns = ColumnReader(blob)
    found = {}
    for series in columns.deltas():
        if wanted is None or series in wanted:
            found[series] = _decode_minute_track(columns)
        else:
            columns.skip_values()
            columns.skip(2)
            for _ in range(4):
                columns.skip_values()
    return found


def _decode_minute_track(columns: ColumnReader) -> MinuteTrack:
    carried = columns.values()
    ended = columns.integers()
    counts = columns.integers()
    figures = zip(*(columns.values() for _ in range(4)), strict=True)
    rollups = [Rollup(count, *next(figures)) if count else None for count in counts]
    return MinuteTrack(carried[0] if carried else None, rollups, ended)
