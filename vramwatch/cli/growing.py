"""Who grew most within a span, how fast, and what was said of it."""

from collections.abc import Mapping, Sequence
from math import ceil

from vramwatch.cli.finding import Found, Span
from vramwatch.cli.tracing import gpu_totals, heights
from vramwatch.cli.views.growth import Growth, gained
from vramwatch.cli.views.tracks import HOUR, round_step
from vramwatch.core.incidents import Subject, Transition
from vramwatch.core.model import SubjectKind
from vramwatch.core.trend import EXACT_UP_TO, Slope, theil_sen
from vramwatch.store import History, SeriesRow

PARTS = frozenset({SubjectKind.OWNER, SubjectKind.UNATTRIBUTED, SubjectKind.PROCESS})
"""Subjects that a Gpu's used bytes divide into; ghosts and control groups count some of them again."""

MOST_FLOORS = EXACT_UP_TO
"""Floors that a slope is taken of: so many give every pair a say."""

FEWEST_FLOORS = 4
"""Of three, even the range of all slopes holds the true one in four orders of six only: no 80 %."""

HOURLY_FROM = 12 * HOUR
"""A span from which floors are those of whole hours: the store has them at hand and unpacks no sample."""


def growths_of(found: Found, top: int | None) -> list[Growth]:
    """Return what each part of each Gpu gained, most first; of figures without parts, the Gpus' own.

    Errors: StoreError.
    """
    since, until = found.span.since, found.span.until
    rows = [row for row in found.rows if row.key.kind in PARTS] or list(found.rows)
    if not rows:
        return []
    moved = found.history.change(since, until, quantity=rows[0].key.quantity)
    there = [row for row in rows if row.key in moved]
    shown = sorted(there, key=lambda row: (-gained(*moved[row.key]), row.key.subject))[:top]
    tall = heights(found.history, shown, since, until)
    totals = gpu_totals(found.history, until)
    slopes = _slopes(found.history, shown, found.span)
    said = {move.incident.subject: move for move in found.history.last_moves(since, until)}
    return [
        Growth(
            row,
            *moved[row.key],
            max(tall[row.id], moved[row.key][0] or 0.0),  # what was held up to the first reading counts too
            _share(row, moved[row.key][1], totals),
            slopes.get(row.id),
            _verdict(row, said),
        )
        for row in shown
        if row.id in tall
    ]


def _share(row: SeriesRow, last: float | None, totals: Mapping[str, float]) -> float | None:
    """Return which share of its Gpu a series held last; None for what is no bytes, or not known."""
    total = totals.get(row.key.gpu)
    if last is None or not total or not row.key.quantity.endswith("_bytes"):
        return None
    return last / total


def _slopes(history: History, rows: Sequence[SeriesRow], span: Span) -> Mapping[int, Slope]:
    """Return how fast the floor of each of ``rows`` moved, by its id; who has too few floors is absent.

    A floor is the least that was read within one of at most MOST_FLOORS steps of equal length.
    """
    floors = history.steps(rows, span.since, span.until, _step_of_floors(span.until - span.since))
    slopes = {
        id: theil_sen([step.start for step in steps], [step.minimum for step in steps])
        for id, steps in floors.items()
        if len(steps) >= FEWEST_FLOORS
    }
    return {id: slope for id, slope in slopes.items() if slope is not None}


def _step_of_floors(length: float) -> float:
    """Return seconds; of a long span whole hours. One step fewer fits, for the first may begin early."""
    if length < HOURLY_FROM:
        return round_step(length, MOST_FLOORS - 1)
    return ceil(length / HOUR / (MOST_FLOORS - 1)) * HOUR


def _verdict(row: SeriesRow, said: Mapping[Subject, Transition]) -> Transition | None:
    """Return what was said of the subject of ``row``; of a process, what was said of its owner for it."""
    gpu, kind = row.key.gpu, row.key.kind
    if kind is not SubjectKind.PROCESS:
        return said.get(Subject(gpu, kind, row.key.subject if kind is SubjectKind.OWNER else None))
    move = said.get(Subject(gpu, SubjectKind.OWNER, row.owner.key)) if row.owner else None
    is_its = move is not None and row.process and move.incident.judgement.pid == row.process.key.pid
    return move if is_its else None
