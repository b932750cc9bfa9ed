"""History drawn in the terminal: a panel for each series over one axis of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from vramwatch.cli.views.dots import Dots
from vramwatch.cli.views.history import (
    DAY,
    Past,
    between_lines,
    events_of,
    gaps_of,
    readable_width,
    show_value,
    span_lines,
)
from vramwatch.cli.views.scale import Scale, scale
from vramwatch.cli.views.table import heading_lines, rest_lines
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, columns, line, right
from vramwatch.cli.views.tracks import Grid, Step, Track, round_before, round_step

LABEL = 10
"""Columns of a value beside the upright axis: the longest is "-1023 MiB"."""

ROWS = {1: 13, 2: 9, 3: 7}
"""Panels -> lines of each, odd so that one is the middle: together they fill a small terminal."""

FEWEST_ROWS = 5
"""Lines of each of many panels: three labelled values with room between them."""

TIME_APART = 14
"""Columns that a time takes below the axis, with room on both sides: "11-22 03:10"."""

HOLD = 120.0
"""Seconds without a reading through which the last value is drawn on: process lists are read now and then."""

ROUNDING = 1e-6
"""Of a column: by so much a step's beginning may miss it, as the sum of many steps."""

BLIND = "x"


def plot_width(width: int) -> int:
    """Return the columns that the curve has of a terminal's ``width``, without labels and axis."""
    return readable_width(width) - LABEL - 2


def plot_lines(past: Past, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield a panel for each track; a step of ``past.grid`` is no longer than a dot.

    Where nothing was read the curve is blank, and BLIND stands on the axis below it.
    """
    across = plot_width(width)
    width = readable_width(width)
    yield from span_lines(past, width)
    height = ROWS.get(len(past.tracks), FEWEST_ROWS)
    for track in past.tracks:
        yield from heading_lines(track, past, width, glyphs)
        yield from _panel(track, past, _Frame(across, height), glyphs)
        uuid = track.series.key.gpu
        yield from between_lines(gaps_of(uuid, past), events_of(uuid, past), past, width)
        yield Line()
    yield from rest_lines(past, width, glyphs)


def dots_across(width: int, glyphs: Glyphs) -> int:
    """Return how many dots the curve is wide in a terminal of ``width`` columns."""
    return plot_width(width) * Dots.across(glyphs.braille)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The room of one panel, in characters."""

    across: int
    height: int


def _panel(track: Track, past: Past, frame: _Frame, glyphs: Glyphs) -> Iterator[Line]:
    dots = Dots(frame.across, frame.height, glyphs.braille)
    values = scale(
        min(step.minimum for step in track.steps),
        max(step.maximum for step in track.steps),
        track.series.key.quantity,
    )
    _draw(track, past, dots, values)
    labelled = {0: values.high, (frame.height - 1) / 2: values.middle, frame.height - 1: values.low}
    for row, text in enumerate(dots.rows()):
        label = show_value(track.series.key.quantity, labelled[row]) if row in labelled else ""
        yield Line((Span(f"{right(label, LABEL)} {glyphs.axis[0]}", Tone.FAINT), Span(text)))
    yield from _time_axis(track, past, frame, glyphs)


def _draw(track: Track, past: Past, dots: Dots, values: Scale) -> None:
    """Draw each step from its lowest to its highest value, joined to the one before unless that is far."""
    before: tuple[int, Step] | None = None
    blind = _blind(track, past, dots.width)
    for step in track.steps:
        column = _column(step.start, past.grid, dots.width)
        low, high = (values.share(value) for value in (step.minimum, step.maximum))
        if (
            before is not None
            and _is_joined(before[1], step, past)
            and not any(blind[before[0] + 1 : column])
        ):
            held = values.share(before[1].last)
            for between in range(before[0] + 1, column):
                dots.draw(between, held, held)
            low, high = min(low, held), max(high, held)
        dots.draw(column, low, high)
        before = column, step


def _is_joined(before: Step, step: Step, past: Past) -> bool:
    """Whether no more time lies between two steps than goes by without a reading."""
    return step.start - before.start <= past.grid.step * (1 + ROUNDING) + HOLD


def _column(wall: float, grid: Grid, width: int) -> int:
    share = (wall - grid.since) / (grid.until - grid.since)
    return min(max(int(share * width + ROUNDING), 0), width - 1)


def _blind(track: Track, past: Past, width: int) -> list[bool]:
    """Return for each of ``width`` columns whether a gap lies over half of it."""
    grid = past.grid
    length = (grid.until - grid.since) / width
    blind = [False] * width
    for gap in gaps_of(track.series.key.gpu, past):
        since = max(gap.since, grid.since)
        until = grid.until if gap.until is None else min(gap.until, grid.until)
        for column in range(_column(since, grid, width), _column(until, grid, width) + 1):
            begin = grid.since + column * length
            blind[column] |= min(until, begin + length) - max(since, begin) >= length / 2
    return blind


# --- the axis of time ---------------------------------------------------------------------------


def _time_axis(track: Track, past: Past, frame: _Frame, glyphs: Glyphs) -> Iterator[Line]:
    _, level, named, corner = glyphs.axis
    times = _times(past, frame.across)
    blind = _blind(track, past, frame.across)
    marks = [
        BLIND if blind[column] else named if column in times else level for column in range(frame.across)
    ]
    yield line(f"{' ' * LABEL} {corner}{''.join(marks)}", Tone.FAINT)
    below = ""
    for column, text in times.items():
        begin = LABEL + 2 + column - len(text) // 2
        if columns(below) < begin and begin + len(text) <= LABEL + 2 + frame.across:
            below += " " * (begin - len(below)) + text
    yield line(below, Tone.FAINT)
    if any(blind):
        yield line(f"{' ' * LABEL} {BLIND} no readings", Tone.FAINT)


def _times(past: Past, across: int) -> dict[int, str]:
    """Return the round times within the span, by their column."""
    grid = past.grid
    span = grid.until - grid.since
    step = round_step(span, max(2, across // TIME_APART))
    wall = round_before(grid.since, step, past.zone)
    times: dict[int, str] = {}
    while wall <= grid.until:
        if wall >= grid.since:
            times[_column(wall, grid, across)] = _shown(wall, step, span, past)
        wall = round_before(wall + step * 1.5, step, past.zone)  # a day may have 23 or 25 hours
    return times


def _shown(wall: float, step: float, span: float, past: Past) -> str:
    local = datetime.fromtimestamp(wall, past.zone)
    if step >= DAY:
        return local.strftime("%m-%d")
    day = "%m-%d " if span > DAY else ""
    return local.strftime(f"{day}%H:%M:%S" if step < 60 else f"{day}%H:%M")
