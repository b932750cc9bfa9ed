"""What a series did within a span: its ends, its peak, and steps of equal length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

from vramwatch.core.model import Owner, ProcessFacts, SeriesKey

MOST_LINES = 40
"""Steps of one series that a person still reads as one picture."""

ROUND = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
    86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400, 91 * 86400, 364 * 86400,
)  # fmt: skip
"""Seconds that people count in."""


HOUR = 3600.0


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


class Step(Protocol):
    """The ``count`` readings of a stretch that begins at ``start`` (unix seconds).

    Of a Track's: ``count`` 0 is a step in which the series was absent, and then all values are 0.
    """

    @property
    def start(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def minimum(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def maximum(self) -> float: ...
    @property
    def last(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Comings:
    """How often a series came and left within a span, and when it last did (unix seconds)."""

    arrivals: int = 0
    departures: int = 0
    came: float | None = None
    left: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """What one series did within a span. Times in unix seconds; a step in which nobody looked is missing.

    ``away``: in which share (0..1) of the readings of a step, by its start, the series was absent.
    """

    series: Subject
    first: float
    last: float
    peak: float
    peak_at: float
    steps: Sequence[Step]
    came: float | None = None  # None: it was there at the beginning of the span
    ended: float | None = None  # None: it is there at the end
    comings: Comings = Comings()
    away: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grid:
    """Equal steps of ``step`` seconds that cover [since, until]."""

    since: float
    until: float
    step: float
    start: float  # of the first step: a round time at or before ``since``

    def number(self, wall: float) -> int:
        return max(0, int((min(wall, self.until) - self.start) // self.step))

    def begin(self, number: int) -> float:
        return self.start + number * self.step


def grid(since: float, until: float, zone: tzinfo | None, step: float | None = None) -> Grid:
    """Return a grid of ``step`` seconds, else of at most about MOST_LINES steps, at times round in ``zone``.

    ``zone`` None: the system's. Where that is half an hour off, steps of hours begin with an hour of UTC,
    as the store's do.
    """
    if step is None:
        step = round_step(until - since, MOST_LINES)
    start = round_before(since, step, zone)
    return Grid(since, until, step, start - start % HOUR if step % HOUR == 0 else start)


def round_step(span: float, most: int) -> float:
    """Return the shortest of ROUND seconds of which at most ``most`` make up ``span``."""
    return next((float(step) for step in ROUND if span / step <= most), span / most)


def round_before(wall: float, step: float, zone: tzinfo | None) -> float:
    """Return the newest multiple of ``step`` on the clock of ``zone`` that is at or before ``wall``."""
    local = datetime.fromtimestamp(wall, zone)
    offset = (local if zone else local.astimezone()).utcoffset() or timedelta()
    return wall - (wall + offset.total_seconds()) % step
