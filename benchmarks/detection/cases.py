"""What the benchmark asks: recordings, each with the truth that the scorer knows and the program does not."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY


class Cause(StrEnum):
    """The diagnoses that a program may give."""

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


INNOCENT = frozenset({Cause.WARMUP, Cause.LOAD, Cause.SPIKE})
"""Causes that say "this is no growth": an alarm that gives one of them has found no leak."""


class Suite(StrEnum):
    HEALTHY = "A"
    INJECTED = "B"
    SYNTHETIC = "C"
    PUBLISHED = "D"


class Serving(StrEnum):
    IMAGE = "image"
    LANGUAGE = "language"


class View(StrEnum):
    """How much a recording tells: every layer, or only what the driver says."""

    ALL_LAYERS = "all_layers"
    DRIVER_ONLY = "driver_only"


class Group(StrEnum):
    """What a recording is asked for."""

    HEALTHY = "healthy"
    LOOK_ALIKE = "look_alike"  # warm-up, bounded KV, daily load: healthy, and shaped like a leak
    BAD_INPUT = "bad_input"  # healthy, and recorded badly
    GROWTH = "growth"
    SLOW = "slow"  # days to exhaustion
    MINUTES = "minutes"  # minutes to exhaustion
    SPIKE = "spike"  # a repeat of the largest spike would not fit
    POOL = "pool"  # inside a preallocated pool: flat from outside


@dataclass(frozen=True, slots=True)
class Truth:
    """What is so. Times are unix seconds.

    ``grows``: an alarm is wanted between ``begin`` and ``end``; otherwise every alarm is false.
    ``life``: when the process started whose growth ends at ``end``; a fraction of the time to
    exhaustion counts from there. ``end``: when the memory is exhausted, or the recording over.
    ``exhausts``: whether ``end`` is the exhaustion, so that a forecast can be judged.
    """

    cause: Cause
    grows: bool = False
    begin: float = 0.0
    life: float = 0.0
    end: float = 0.0
    exhausts: bool = False
    judges_cause: bool = True
    rate: float | None = None  # MiB per hour, where the recording is one of a graded row


@dataclass(frozen=True, slots=True)
class Case:
    """One recording. ``twin``: the name of the same recording without the growth.

    ``may_be_refused``: no well-formed recording; exit code 2 is a right answer to it.
    """

    name: str
    path: Path
    suite: Suite
    serving: Serving
    view: View
    group: Group
    truth: Truth
    first: float  # unix seconds
    last: float
    twin: str | None = None
    may_be_refused: bool = False

    @property
    def weeks(self) -> float:
        """GPU-weeks of the recording."""
        return (self.last - self.first) / WEEK
