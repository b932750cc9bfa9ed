"""Counts how often an operator would have been called: firing incidents as episodes, per GPU-week."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vramwatch.core.incidents import Severity, State, Transition
from vramwatch.core.intervals import Interval, poisson

MERGED_WITHIN = 3600.0
"""Seconds. Alarms of one GPU that are no farther apart are one episode: one person is called once."""

WEEK = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch in which something on one GPU fired, unix seconds; as severe as its worst part."""

    gpu: str  # UUID
    since: float
    until: float
    severity: Severity


@dataclass(frozen=True, slots=True)
class Tally:
    """``rate``: episodes a GPU-week, with the exact 95 % interval; None where no time was watched."""

    warning: int
    critical: int
    weeks: float  # GPU-weeks that were watched
    rate: float | None
    interval: Interval | None

    @property
    def episodes(self) -> int:
        return self.warning + self.critical


def episodes(transitions: Sequence[Transition], end: float) -> tuple[Episode, ...]:
    """Return the episodes, by GPU and ascending; what is never resolved lasts until ``end`` (unix seconds).

    ``transitions`` are of one run, in their order.
    """
    by_gpu: dict[str, list[Episode]] = defaultdict(list)
    for stretch in sorted(_stretches(transitions, end), key=lambda each: (each.gpu, each.since)):
        joined = by_gpu[stretch.gpu]
        if joined and stretch.since - joined[-1].until <= MERGED_WITHIN:
            joined[-1] = _both(joined[-1], stretch)
        else:
            joined.append(stretch)
    return tuple(each for joined in by_gpu.values() for each in joined)


def tally(found: Sequence[Episode], watched: float) -> Tally:
    """Return what was ``found`` in ``watched`` GPU-seconds. The interval is Garwood's (1936)."""
    critical = sum(each.severity is Severity.CRITICAL for each in found)
    weeks = watched / WEEK
    return Tally(
        len(found) - critical,
        critical,
        weeks,
        len(found) / weeks if weeks else None,
        poisson(len(found), weeks) if weeks else None,
    )


def _stretches(transitions: Iterable[Transition], end: float) -> Iterator[Episode]:
    """Yield every stretch in which one incident fired."""
    firing: dict[str, Episode] = {}
    for transition in transitions:
        incident, wall = transition.incident, transition.at.wall
        open_one = firing.pop(incident.id, None)
        if incident.state is State.FIRING:
            here = Episode(incident.subject.gpu, wall, wall, incident.judgement.severity)
            firing[incident.id] = _both(open_one, here) if open_one else here
        elif open_one:
            yield Episode(open_one.gpu, open_one.since, wall, open_one.severity)
    for left in firing.values():
        yield Episode(left.gpu, left.since, max(left.until, end), left.severity)


def _both(first: Episode, second: Episode) -> Episode:
    is_critical = Severity.CRITICAL in (first.severity, second.severity)
    severity = Severity.CRITICAL if is_critical else Severity.WARNING
    return Episode(first.gpu, first.since, max(first.until, second.until), severity)
