"""The answer to a question about a span: as text, as a plot, or as data."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from vramwatch.cli.finding import Found
from vramwatch.cli.growing import growths_of
from vramwatch.cli.printing import print_growths, print_points, print_series, print_steps
from vramwatch.cli.tracing import heights, holes, steps_of, trace
from vramwatch.cli.views.growth import growth_lines
from vramwatch.cli.views.history import Past, is_no_ghost
from vramwatch.cli.views.overview import overview_lines
from vramwatch.cli.views.plot import dots_across, plot_lines
from vramwatch.cli.views.table import reading_lines, rest_lines, table_lines
from vramwatch.cli.views.terminal import Terminal, terminal
from vramwatch.cli.views.text import Line
from vramwatch.cli.views.tracks import HOUR, Grid, Subject, grid
from vramwatch.core.errors import UsageError
from vramwatch.core.model import SubjectKind
from vramwatch.core.units import Seconds, show_seconds
from vramwatch.store import GapRow, Point, SeriesRow

MOST_SERIES = 8
"""Series that one answer shows in full; those after them get a line each."""

MOST_OWNERS = 12
"""Owners of one Gpu that the overview names, beside the whole Gpu."""

MOST_STEPS = 100_000
"""Steps of one series that are held in memory at a time: some 20 MB."""

LINES_AT_ONCE = 1000
"""Lines that are handed to the terminal at a time."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is wanted. ``top``: so many of the largest alone; ``step``: seconds."""

    output_format: str = "text"
    is_open: bool = False  # nothing narrowed the question down
    raw: bool = False
    growth: bool = False
    plot: bool = False
    step: Seconds | None = None
    top: int | None = None


def answer(found: Found, form: Form) -> bool:
    """Print the answer; return whether there was any. Errors: UsageError, StoreError."""
    if form.growth:
        return _answer_growth(found, form)
    if form.output_format != "text":
        return _print_data(found, form)
    target = terminal(sys.stdout)
    ranked = _ranked(found)
    if ranked:
        found = replace(found, gaps=_with_holes(found))
    if form.raw:
        _show_readings(found, form, ranked, target)
    elif ranked:
        _show_tracks(found, form, ranked, target)
    return bool(ranked)


def _with_holes(found: Found) -> list[GapRow]:
    """Return the gaps with the holes that none of them explains, oldest first."""
    span = found.span
    over = grid(span.since, max(span.until, span.since + 1), span.zone)
    unexplained = [
        hole for hole in holes(found.history, over) if not any(_touches(gap, hole) for gap in found.gaps)
    ]
    return sorted([*found.gaps, *unexplained], key=lambda gap: gap.since)


def _touches(gap: GapRow, hole: GapRow) -> bool:
    """Whether ``gap`` lies on a part of ``hole``; one that begins or ends with it does not."""
    end = hole.until
    return end is not None and gap.since < end and (gap.until is None or gap.until > hole.since)


Ranked = Sequence[tuple[SeriesRow, float]]
"""Series, each with its largest value, largest first."""


def _ranked(found: Found) -> Ranked:
    """Return what people are told of: ghosts only where there were some."""
    tall = heights(found.history, found.rows, found.span.since, found.span.until)
    there = [(row, tall[row.id]) for row in found.rows if row.id in tall]
    told = [(row, height) for row, height in there if not is_no_ghost(row, height)]
    return sorted(told, key=lambda each: (-each[1], each[0].key.subject))


def _show_tracks(found: Found, form: Form, ranked: Ranked, target: Terminal) -> None:
    is_overview = form.is_open and not form.plot and form.step is None
    over = _grid(found, form, target)
    rows = [row for row, _ in ranked]
    shown = _of_each_gpu(rows, form.top) if is_overview else rows[: form.top or MOST_SERIES]
    tracks = trace(found.history, shown, over, stepwise=not is_overview)
    past = replace(_past(found, form, over, ranked, shown), tracks=tracks)
    draw = overview_lines if is_overview else plot_lines if form.plot else table_lines
    _show(target, draw(past, target.width, target.glyphs))


def _show_readings(found: Found, form: Form, ranked: Ranked, target: Terminal) -> None:
    shown = [row for row, _ in ranked[: form.top or MOST_SERIES]]
    over = Grid(found.span.since, found.span.until, 1.0, found.span.since)
    past = _past(found, form, over, ranked, shown)
    for row in shown:
        read = ((point.wall, point.value) for point in found.readings([row]) if point.value is not None)
        _show(target, reading_lines(row, read, past, target.width, target.glyphs))
        target.show([Line()])
    _show(target, rest_lines(past, target.width, target.glyphs))


def _past(found: Found, form: Form, over: Grid, ranked: Ranked, shown: Sequence[SeriesRow]) -> Past:
    """Return what the views draw, without tracks; unless few were asked for, with the peaks of the others."""
    ids = {row.id for row in shown}
    rest: list[tuple[Subject, float]] = []
    if form.top is None:
        rest += [(row, height) for row, height in ranked if row.id not in ids]
    return Past((), found.gaps, over, found.gpus, found.span.zone, found.events, rest)


def _grid(found: Found, form: Form, target: Terminal) -> Grid:
    span = found.span
    if form.plot:
        step = _step_of_a_dot((span.until - span.since) / dots_across(target.width, target.glyphs))
        return Grid(span.since, max(span.until, span.since + step), step, span.since)
    _check_step(found, form.step)
    return grid(span.since, max(span.until, span.since + 1), span.zone, form.step)


def _step_of_a_dot(length: float) -> float:
    """Return the longest step that is no longer than a dot and that the store answers from its roll-ups."""
    if length >= HOUR:
        return length // HOUR * HOUR
    return max(int(length * 1000), 1) / 1000  # the store tells moments apart to the millisecond


def _check_step(found: Found, step: Seconds | None) -> None:
    span = found.span.until - found.span.since
    if step is not None and span / step > MOST_STEPS:
        raise UsageError(
            f"--step {show_seconds(step)} makes {span / step:.0f} steps of {show_seconds(span)}; "
            f"write at least {show_seconds(max(1.0, span / MOST_STEPS))}, or --raw for every reading"
        )


def _of_each_gpu(rows: Sequence[SeriesRow], top: int | None) -> list[SeriesRow]:
    """Return of each Gpu its whole and its largest, of rows that are ordered by size."""
    most = MOST_OWNERS if top is None else top
    shown: list[SeriesRow] = []
    for _, group in groupby(sorted(rows, key=lambda row: row.key.gpu), key=lambda row: row.key.gpu):
        of_one = list(group)
        shown += [row for row in of_one if row.key.kind is SubjectKind.GPU]
        shown += [row for row in of_one if row.key.kind is not SubjectKind.GPU][:most]
    return shown


def _show(target: Terminal, lines: Iterable[Line]) -> None:
    """Print ``lines`` as they come, never more than LINES_AT_ONCE in memory."""
    waiting: list[Line] = []
    for each in lines:
        waiting.append(each)
        if len(waiting) >= LINES_AT_ONCE:
            target.show(waiting)
            waiting.clear()
    target.show(waiting)


# --- growth -------------------------------------------------------------------------------------


def _answer_growth(found: Found, form: Form) -> bool:
    growths = growths_of(found, form.top)
    if form.output_format != "text":
        print_growths(growths, found.gpus, form.output_format)
    elif growths:
        target = terminal(sys.stdout)
        span = found.span
        over = grid(span.since, max(span.until, span.since + 1), span.zone)
        past = Past((), found.gaps, over, found.gpus, span.zone)
        _show(target, growth_lines(growths, past, target.width, target.glyphs))
    return bool(growths)


# --- data ---------------------------------------------------------------------------------------


def _print_data(found: Found, form: Form) -> bool:
    rows: Sequence[SeriesRow] = found.rows
    if form.top is not None:
        rows = [row for row, _ in _ranked(found)[: form.top]]
    if form.step is not None:
        _check_step(found, form.step)
        over = grid(found.span.since, max(found.span.until, found.span.since + 1), found.span.zone, form.step)
        stepped = ((row, steps_of(found.history, [row], over).get(row.id, ())) for row in rows)
        return print_steps(stepped, found.gaps, found.gpus, form.output_format)
    points = found.readings if form.raw else found.changes
    if form.output_format == "csv":
        return print_points(points(rows), found.gpus)
    series: Iterator[tuple[SeriesRow, Iterator[Point]]] = ((row, points([row])) for row in rows)
    return print_series(series, found.gaps, found.gpus, lines=form.output_format == "ndjson")
