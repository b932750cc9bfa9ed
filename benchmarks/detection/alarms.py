"""What a program answered: the lines of ``vramwatch replay --format ndjson``, put together as alarms."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from benchmarks.detection.cases import HOUR, INNOCENT, Cause

MERGED_WITHIN = HOUR  # alarms closer than this are one episode
FIRING, RESOLVED = "firing", "resolved"
_STATES = ("pending", FIRING, RESOLVED)

Span = tuple[float, float]


class ContractError(ValueError):
    """A line that is none of the contract's."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When the memory is exhausted, with its interval. Unix seconds."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One transition, or update, of one incident."""

    file: str  # empty where the program was given one file and names none
    time: float
    incident: str
    state: str
    cause: Cause
    pattern: str = ""
    severity: str = ""
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """One stretch in which one incident fired; ``lines`` are those told within it, at least one."""

    begin: float
    end: float
    lines: tuple[Line, ...]

    def cause(self, before: float) -> Cause:
        """Return the cause as last told before that time; the first told where none was."""
        told = [line.cause for line in self.lines if line.time < before]
        return told[-1] if told else self.lines[0].cause


def parse(text: str) -> Line:
    """Return what one line of output says.

    Errors: ContractError, naming what is missing. A cause that the contract does not name is unknown.
    """
    try:
        said = json.loads(text)
        state = said["state"]
        forecast = said.get("exhaustion")
        line = Line(
            said.get("file", ""),
            float(said["time"]),
            str(said["incident"]),
            state,
            _cause(said.get("cause")),
            str(said.get("pattern", "")),
            str(said.get("severity", "")),
            _forecast(forecast) if forecast else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"no line of the replay contract ({error!r}): {text[:200]!r}") from error
    if state not in _STATES:
        raise ContractError(f"state is {state!r}; the contract knows {', '.join(_STATES)}")
    return line


def alarms(lines: Iterable[Line], end: float) -> tuple[Alarm, ...]:
    """Return the alarms in the order of their beginnings; one that is never resolved lasts until ``end``."""
    found: list[Alarm] = []
    ordered = sorted(lines, key=attrgetter("incident"))
    for _, told in groupby(ordered, key=attrgetter("incident")):
        firing: list[Line] = []
        for line in told:
            if line.state == FIRING:
                firing.append(line)
            elif firing:
                found.append(Alarm(firing[0].time, line.time, tuple(firing)))
                firing = []
        if firing:
            found.append(Alarm(firing[0].time, max(end, firing[-1].time), tuple(firing)))
    return tuple(sorted(found, key=attrgetter("begin")))


def blames(alarm: Alarm) -> bool:
    """Return whether the alarm, at any time, says that memory grows."""
    return any(line.cause not in INNOCENT for line in alarm.lines)


def episodes(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans with those joined that are no more than an hour apart, in ascending order."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin - joined[-1][1] <= MERGED_WITHIN:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return tuple(joined)


def first_apart(spans: Iterable[Span], others: Sequence[Span], after: float) -> float | None:
    """Return the first time from ``after`` on that lies in a span and an hour away from every other span.

    None: there is no such time. This is the alarm that only the leak explains: its twin is silent.
    """
    widened = episodes((begin - MERGED_WITHIN, end + MERGED_WITHIN) for begin, end in others)
    times = []
    for begin, end in spans:
        time = max(begin, after)
        for other_begin, other_end in widened:
            if other_begin <= time <= other_end:
                time = other_end + 1.0
        if time <= end:
            times.append(time)
    return min(times, default=None)


def _cause(text: object) -> Cause:
    return next((cause for cause in Cause if cause == text), Cause.UNKNOWN)


def _forecast(said: dict[str, Any]) -> Forecast:
    return Forecast(*(float(said[name]) for name in ("at", "low", "high")))
