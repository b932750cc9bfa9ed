"""What series did within a span, asked of the store."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from vramwatch.cli.views.tracks import HOUR, Comings, Grid, Track
from vramwatch.core.model import FaultKind, SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.core.units import Seconds
from vramwatch.store import GapRow, History, Point, SeriesRow, Step

INSTANT = 0.001
"""Seconds: the store tells moments apart to the millisecond."""

MINUTE = 60.0
"""The store's finest roll-up: within one, the samples themselves are asked."""

LISTED = frozenset({SubjectKind.OWNER, SubjectKind.PROCESS})
"""Subjects whose used_bytes come of the process list: each is in every list read while it is there."""

QUIET = Seconds(300.0)
"""A shorter stretch without a reading is no hole in a recording."""

QUIET_READINGS = 10
"""Nor is one in which fewer readings than these would have been made at the usual interval."""


def trace(history: History, rows: Sequence[SeriesRow], over: Grid, *, stepwise: bool = True) -> list[Track]:
    """Return a Track for each of ``rows`` that was read within the span, in their order.

    Without ``stepwise`` only those have steps that came or ended within it. Errors: StoreError.
    """
    peaks = history.peaks(rows, over.since, over.until)
    read = [row for row in rows if row.id in peaks]
    if not read:
        return []
    moved = history.change(over.since, over.until, quantity=read[0].key.quantity)
    ends = {row.id: moved.get(row.key, (None, None)) for row in read}
    lists = _lists(history, read)
    gone = {id for id, (_, last) in ends.items() if last is None}
    comings = _comings(history, lists, read, gone, over)
    stepped = [row for row in read if stepwise or None in ends[row.id]]
    steps = steps_of(history, _once([*stepped, *lists.values()]), over)
    silent = _silent_gpus(history, over) if any(row.key.kind is SubjectKind.GPU for row in read) else {}
    tracks = []
    for row in read:
        own = steps.get(row.id, ()) if row in stepped else ()
        track = _track(history, row, over, own, peaks[row.id], ends[row.id])
        ended = silent.get(row.id) if track.ended is None else track.ended
        track = replace(track, ended=ended, comings=comings.get(row.id, Comings()))
        if row.id in lists and own:
            track = _with_absences(track, own, steps.get(lists[row.id].id, ()))
        tracks.append(track)
    return tracks


def heights(history: History, rows: Iterable[SeriesRow], since: float, until: float) -> Mapping[int, float]:
    """Return the largest value of each of ``rows`` by its id; who was not read in the span is absent.

    Cheaper than ``History.peaks``, which also finds out when it was. Errors: StoreError.
    """
    whole = history.steps(rows, since, until, until - since + INSTANT)
    return {id: max(step.maximum for step in steps) for id, steps in whole.items()}


def steps_of(history: History, rows: Sequence[SeriesRow], over: Grid) -> Mapping[int, Sequence[Step]]:
    """Return the steps of each series on ``over``; the first one only from ``over.since`` on."""
    if over.start >= over.since:
        return history.steps(rows, over.since, over.until, over.step)
    second = over.begin(1)
    if second > over.until:
        return history.steps(rows, over.since, over.until, over.step)
    head = history.steps(rows, over.since, second - INSTANT, over.step)
    tail = history.steps(rows, second, over.until, over.step)
    return {row.id: [*head.get(row.id, ()), *tail.get(row.id, ())] for row in rows}


def _track(
    history: History,
    row: SeriesRow,
    over: Grid,
    steps: Sequence[Step],
    peak: Point,
    ends: tuple[float | None, float | None],
) -> Track:
    first, last = ends
    came = ended = None
    if first is None:
        came, first = _coming(history, row, over, steps[0])
    if last is None:
        ended, last = _end(history, row, over, steps[-1]), steps[-1].last
    highest, at = peak.value or 0.0, peak.wall
    if came is None and first > highest:  # it was held up to the first reading of the span
        highest, at = first, over.since
    return Track(row, first, last, highest, at, steps, came, ended)


def _coming(history: History, row: SeriesRow, over: Grid, step: Step) -> tuple[float, float]:
    """Return when a series came, within its first step, and its first value."""
    begin, length = _narrowed(history, row, over, step, first=True)
    for point in history.samples([row], begin, min(begin + length, over.until)):
        if point.value is not None:
            return point.wall, point.value
    return begin, step.last


def _end(history: History, row: SeriesRow, over: Grid, step: Step) -> float:
    """Return when a series was first seen to have ended: at or soon after the last of its readings."""
    begin, length = _narrowed(history, row, over, step, first=False)
    until = min(begin + 2 * length, over.until)
    ends = [point.wall for point in history.samples([row], begin, until) if point.value is None]
    return ends[-1] if ends else min(begin + length, over.until)


def _narrowed(history: History, row: SeriesRow, over: Grid, step: Step, first: bool) -> tuple[float, float]:
    """Return begin and length of the first or last minute with readings in ``step``, else of all of it."""
    if over.step <= MINUTE:
        return step.start, over.step
    until = min(step.start + over.step, over.until)
    minutes = history.steps([row], step.start, until, MINUTE).get(row.id)
    if not minutes:
        return step.start, over.step
    return minutes[0 if first else -1].start, MINUTE


# --- absences -----------------------------------------------------------------------------------


def _lists(history: History, rows: Iterable[SeriesRow]) -> Mapping[int, SeriesRow]:
    """Return for each of ``rows`` that comes of a process list, by its id, a series that every list feeds."""
    listed = [row for row in rows if row.key.kind in LISTED and row.key.quantity == USED_BYTES]
    if not listed:
        return {}
    every = history.series(kind=SubjectKind.UNATTRIBUTED, quantity=USED_BYTES)
    by_gpu = {row.key.gpu: row for row in every}
    return {row.id: by_gpu[row.key.gpu] for row in listed if row.key.gpu in by_gpu}


def _once(rows: Iterable[SeriesRow]) -> list[SeriesRow]:
    return list({row.id: row for row in rows}.values())


def _comings(
    history: History,
    lists: Mapping[int, SeriesRow],
    rows: Sequence[SeriesRow],
    gone: Collection[int],
    over: Grid,
) -> Mapping[int, Comings]:
    """Return how often each of ``rows`` came and left, by its id; of those that were in every list, nothing.

    ``gone``: who has no value at the end; where an hour of the clock begins just then, no sample says so.

    Where the samples are gone, an absence within one minute, or within one hour, is not seen.
    """
    length = over.until - over.since + INSTANT
    whole = history.steps(_once([*rows, *lists.values()]), over.since, over.until, length)
    counts = {id: sum(step.count for step in steps) for id, steps in whole.items()}
    away = [row for row in rows if row.id in lists and counts[row.id] < counts.get(lists[row.id].id, 0)]
    there: set[int] = set()
    found = {row.id: Comings() for row in away}
    for point in history.samples(away, over.since, over.until):
        id, known = point.series.id, found[point.series.id]
        if point.value is None and id in there:
            there.remove(id)
            found[id] = replace(known, departures=known.departures + 1, left=point.wall)
        elif point.value is not None and id not in there:
            there.add(id)
            if point.wall > over.since:
                found[id] = replace(known, arrivals=known.arrivals + 1, came=point.wall)
    for id in there.intersection(gone):
        found[id] = replace(found[id], departures=found[id].departures + 1)
    return found


def _with_absences(track: Track, read: Sequence[Step], lists: Sequence[Step]) -> Track:
    """Return ``track``, which was ``read``, holding 0 where it was missing from ``lists``, its Gpu's.

    Before its first step and after its last one nothing is added: that it came or ended is told.
    """
    steps = {step.start: step for step in read}
    away: dict[float, float] = {}
    for listed in lists:
        if not read[0].start <= listed.start <= read[-1].start:
            continue
        step = steps.get(listed.start, Step(listed.start, 0, 0.0, 0.0, 0.0, 0.0))
        if step.count < listed.count:
            away[step.start] = 1 - step.count / listed.count
            steps[step.start] = replace(step, minimum=0.0)
    return replace(track, steps=[steps[start] for start in sorted(steps)], away=away)


# --- holes --------------------------------------------------------------------------------------


def _silent_gpus(history: History, over: Grid) -> Mapping[int, float]:
    """Return when the readings of a Gpu ended while others went on, by its series' id.

    Of the last hour of the clock alone: a Gpu that was not read in it has no value at its end.
    """
    rows = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
    begin = max(over.since, over.until // HOUR * HOUR)
    minutes = history.steps(rows, begin, over.until, MINUTE)
    last = {id: steps[-1].start for id, steps in minutes.items()}
    return {id: wall + MINUTE for id, wall in last.items() if max(last.values()) - wall >= QUIET}


def holes(history: History, over: Grid) -> list[GapRow]:
    """Return the stretches of at least a step of ``over`` in which no Gpu was read, ascending.

    A recording may have such; of a daemon the store knows its gaps, which are not left out here.
    Errors: StoreError.
    """
    rows = history.series(kind=SubjectKind.GPU, quantity=USED_BYTES)
    by_row = steps_of(history, rows, over)
    read = {step.start: (row, step) for row in rows for step in by_row.get(row.id, ())}
    if not read:
        return []
    busiest = max(sum(step.count for step in steps) for steps in by_row.values())
    quiet = max(QUIET, QUIET_READINGS * over.step * len(read) / busiest)
    found = []
    for before, after in pairwise(sorted(read)):
        if after - before - over.step >= quiet:
            (row, last), (other, first) = read[before], read[after]
            begin, length = _narrowed(history, row, over, last, first=False)
            until, _ = _narrowed(history, other, over, first, first=True)
            found.append(GapRow(None, FaultKind.STALLED, "no poll was made", begin + length, until))
    return found


def gpu_totals(history: History, wall: float) -> Mapping[str, float]:
    """Return the total_bytes of every Gpu (UUID) that had them at ``wall``. Errors: StoreError."""
    told = history.change(wall, wall, quantity="total_bytes")
    return {key.gpu: total for key, (_, total) in told.items() if total is not None}
