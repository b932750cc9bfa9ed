"""What series did within a span, asked of the store."""

from collections.abc import Iterable, Mapping, Sequence

from vramwatch.cli.views.tracks import Grid, Track
from vramwatch.store import History, Point, SeriesRow, Step

INSTANT = 0.001
"""Seconds: the store tells moments apart to the millisecond."""

MINUTE = 60.0
"""The store's finest roll-up: within one, the samples themselves are asked."""


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
    steps = steps_of(history, [row for row in read if stepwise or None in ends[row.id]], over)
    return [_track(history, row, over, steps.get(row.id, ()), peaks[row.id], ends[row.id]) for row in read]


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
    return Track(row, first, last, peak.value or 0.0, peak.wall, steps, came, ended)


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


def gpu_totals(history: History, wall: float) -> Mapping[str, float]:
    """Return the total_bytes of every Gpu (UUID) that had them at ``wall``. Errors: StoreError."""
    told = history.change(wall, wall, quantity="total_bytes")
    return {key.gpu: total for key, (_, total) in told.items() if total is not None}
