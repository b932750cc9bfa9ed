"""Samples folded into steps: what a series did within a span, in bounded memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

from vramwatch.core.model import Owner, ProcessFacts, SeriesKey

MOST_LINES = 40
"""Steps of one series that a person still reads as one picture."""

STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400,
)  # fmt: skip
"""Seconds that people count in."""


class Subject(Protocol):
    """A series as the store names it."""

    @property
    def key(self) -> SeriesKey: ...
    @property
    def owner(self) -> Owner | None: ...
    @property
    def process(self) -> ProcessFacts | None: ...


class Point(Protocol):
    """A value that holds from ``wall`` (unix seconds) on; None: the series ended there."""

    @property
    def wall(self) -> float: ...
    @property
    def series(self) -> Subject: ...
    @property
    def value(self) -> float | None: ...


@dataclass(slots=True)
class Step:
    """What a series held within one step of time."""

    low: float
    high: float
    last: float


@dataclass(slots=True)
class Track:
    """What one series did. Times in unix seconds; ``steps`` by their number, none where it had no value."""

    series: Subject
    first: float
    came: float
    last: float
    peak: float
    peak_at: float
    ended: float | None = None
    steps: dict[int, Step] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grid:
    """Equal steps of ``step`` seconds that cover [since, until)."""

    since: float
    until: float
    step: float
    start: float  # of the first step: a round time at or before ``since``

    def number(self, wall: float) -> int:
        return max(0, int((min(wall, self.until) - self.start) // self.step))

    def begin(self, number: int) -> float:
        return self.start + number * self.step


def grid(since: float, until: float, zone: tzinfo | None) -> Grid:
    """Return a grid of at most about MOST_LINES steps, at times that are round in ``zone``.

    ``zone`` None: the system's.
    """
    span = until - since
    step = next((float(step) for step in STEPS if span / step <= MOST_LINES), span / MOST_LINES)
    local = datetime.fromtimestamp(since, zone)
    offset = (local if zone else local.astimezone()).utcoffset() or timedelta()
    return Grid(since, until, step, since - (since + offset.total_seconds()) % step)


def fold(points: Iterable[Point], over: Grid) -> list[Track]:
    """Return one Track for every series that had a value, highest peak first.

    ``points`` ascend in the order of polls; where the wall clock stepped back, what came later counts
    for the step that was reached. Memory: series x steps, however many points there are.
    """
    tracks: dict[SeriesKey, Track] = {}
    reached: dict[SeriesKey, int] = {}
    for point in points:
        key = point.series.key
        number = max(over.number(point.wall), reached.get(key, 0))
        track = tracks.get(key)
        if track is not None:
            ongoing = number - (point.wall <= over.begin(number))
            _hold(track, reached[key], ongoing)
        reached[key] = number
        if point.value is not None:
            tracks[key] = _take(track, point, point.value, number)
        elif track is not None and track.ended is None:
            track.ended = point.wall
    for key, track in tracks.items():
        _hold(track, reached[key], over.number(over.until))
    return sorted(tracks.values(), key=lambda track: (-track.peak, track.series.key.subject))


def _take(track: Track | None, point: Point, value: float, number: int) -> Track:
    if track is None:
        track = Track(point.series, value, point.wall, value, value, point.wall)
    track.ended = None
    track.last = value
    if value > track.peak:
        track.peak, track.peak_at = value, point.wall
    _touch(track, number)
    return track


def _hold(track: Track, since: int, until: int) -> None:
    """The last value went on through the steps ``since`` .. ``until``."""
    if track.ended is None:
        for number in range(since, until + 1):
            _touch(track, number)


def _touch(track: Track, number: int) -> None:
    value = track.last
    step = track.steps.get(number)
    if step is None:
        track.steps[number] = Step(value, value, value)
        return
    step.low, step.high, step.last = min(step.low, value), max(step.high, value), value
