"""What a detector may say of a Window, and the causes that a diagnosis may name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Cause(StrEnum):
    """Why memory grows, or why what looks like growth is none."""

    LEAK = "leak"
    KV_CACHE = "kv_cache"
    FRAGMENTATION = "fragmentation"
    AUTOGRAD = "autograd"
    NON_TORCH = "non_torch"
    GHOST = "ghost"
    WARMUP = "warmup"
    LOAD = "load"
    PROCESS_COUNT = "process_count"
    SPIKE = "spike"
    UNKNOWN = "unknown"


INNOCENT = frozenset({Cause.WARMUP, Cause.LOAD})
"""Causes that explain a growth away: it stands in the history and does not fire."""


OUT_OF_MEMORY = "out_of_memory"
"""The pattern of an accident, which is told whatever else is told of its incident."""

Flight = tuple[tuple[float, float, float], ...]
"""The minutes before an accident, frozen: (unix seconds, least bytes, most bytes), oldest first."""


def flown_by(pid: int | None) -> str:
    """Return how a flight calls the process ``pid``; a layer of it has its name behind that."""
    return f"pid {pid}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Enough to check a verdict by hand.

    ``numbers``: what decided, each key ending in its unit (``growth_bytes``, ``span_seconds``, ``votes``).
    ``since``, ``until``: the span it was taken from, unix seconds. ``count``: how many samples, cycles or
    pairs stand behind it. ``flight``: what went before an accident, by the name of a series: (unix seconds,
    least and most bytes) of every ten seconds, oldest first.
    """

    sentence: str
    numbers: Mapping[str, float]
    since: float
    until: float
    count: int
    flight: Mapping[str, Flight] = field(default_factory=dict)


def without_pids(flight: Mapping[str, Flight], pids: Collection[int]) -> Mapping[str, Flight]:
    """Return ``flight`` without the curves of these processes."""
    gone = {flown_by(pid) for pid in pids}
    return {name: curve for name, curve in flight.items() if " ".join(name.split()[:2]) not in gone}


def nameless(evidence: Evidence, pids: Collection[int]) -> Evidence:
    """Return ``evidence`` as it is once the processes ``pids`` are forgotten."""
    return replace(evidence, flight=without_pids(evidence.flight, pids))


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes a second, with the interval that holds the true rate with 80 %."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Found:
    """The pattern is there.

    ``rate`` None: it is no growth over time (a spike, an out-of-memory). ``causes``: what the pattern by
    itself says of the cause, most likely first; empty: nothing. ``is_urgent``: minutes are left.
    """

    evidence: Evidence
    rate: Rate | None = None
    causes: tuple[Cause, ...] = ()
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Clear:
    """The pattern was looked for with enough evidence, and is not there."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is too little to judge by. Never Clear."""

    why: str


Verdict = Found | Clear | Unknown


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A cause that was looked at and is not it, with the numbers that say so."""

    cause: Cause
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
