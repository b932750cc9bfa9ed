"""What the reader answers with."""

from dataclasses import dataclass

from vramwatch.core.model import Event, FaultKind, Owner, ProcessFacts, SeriesKey


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series, with the owner and the process (as last known) that it is of, where it is of one."""

    id: int
    key: SeriesKey
    owner: Owner | None
    process: ProcessFacts | None


@dataclass(frozen=True, slots=True)
class Point:
    """From ``wall`` (unix seconds) on ``series`` had ``value``; None: none any more. Bytes are int."""

    wall: float
    series: SeriesRow
    value: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """The readings of one series from ``start`` (unix seconds) for one step. In the series' unit."""

    start: float
    count: int  # readings; at least 1
    minimum: float
    mean: float  # of the readings
    maximum: float
    last: float


@dataclass(frozen=True, slots=True)
class GapRow:
    """A stretch without readings of a Gpu (UUID), or of all. Unix seconds; ``until`` None: it goes on."""

    gpu: str | None
    reason: FaultKind
    detail: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class EventRow:
    wall: float
    event: Event
