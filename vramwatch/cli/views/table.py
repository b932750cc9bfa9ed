"""History step by step: a table for each series, with what happened between two steps."""

from collections.abc import Iterable, Iterator

from vramwatch.cli.views.history import (
    FIGURE,
    ROOMY,
    Past,
    between_lines,
    clock,
    events_of,
    gaps_of,
    readable_width,
    show_value,
    span_lines,
    title,
)
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, columns, fit, left, line, right, wrap
from vramwatch.cli.views.tracks import Step, Subject, Track
from vramwatch.core.units import show_seconds

FEWEST_ALIKE = 3
"""Rows that say the same one after another are told as one from here on."""

AWAY = 14
"""Columns of how long a series was away within a step: the longest is "away ~23h 59m"."""

MINUTE = 60.0

WIDEST_BAR = 40
"""Columns of the bar at a step's end; a longer one says no more."""


def table_lines(past: Past, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield a table for each track, then the rest by name and peak."""
    width = readable_width(width)
    yield from span_lines(past, width)
    for track in past.tracks:
        yield from _track_lines(track, past, width, glyphs)
        yield Line()
    yield from rest_lines(past, width, glyphs)


def rest_lines(past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return a line for each series that is not among the tracks."""
    if not past.rest:
        return []
    named = [_name_and_peak(series, peak, past, width, glyphs) for series, peak in past.rest]
    return [line(f"{len(named)} smaller series, by name and peak:", Tone.FAINT), *named]


def heading_lines(track: Track, past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return what the series is, and its first value, last value, change and peak in one sentence."""
    quantity = track.series.key.quantity
    first, last, peak = (show_value(quantity, value) for value in (track.first, track.last, track.peak))
    change = show_value(quantity, track.last - track.first, signed=True)
    at = clock(track.peak_at, past.grid, past.zone)
    return [
        line(fit(title(track.series, past.gpus), width, glyphs.ellipsis), Tone.STRONG),
        *wrap(f"from {first} to {last} ({change}), peak {peak} at {at}", width, 0),
        *wrap(comings_and_goings(track, past), width, 0, Tone.FAINT),
    ]


def comings_and_goings(track: Track, past: Past) -> str:
    """Return "came 14 times, last 05:12; left 14 times, last seen 05:26"; "" if it was always there."""
    known = track.comings
    is_there = track.ended is None
    came, left = known.came or track.came, track.ended or known.left
    told = []
    if came is not None:
        told.append(_how_often("came", known.arrivals, "last", came, past))
    if left is not None and known.departures < SEVERAL:
        told.append(f"{'left' if is_there else 'ended'} {clock(left, past.grid, past.zone)}")
    elif left is not None:
        told.append(_how_often("left", known.departures, "last" if is_there else "last seen", left, past))
    if is_there and left is not None:
        told.append(f"present at {clock(past.grid.until, past.grid, past.zone)}")
    return "; ".join(told)


SEVERAL = 2
"""Times from which on they are counted."""


def _how_often(what: str, times: int, which: str, wall: float, past: Past) -> str:
    at = clock(wall, past.grid, past.zone)
    return f"{what} {at}" if times < SEVERAL else f"{what} {times} times, {which} {at}"


def _track_lines(track: Track, past: Past, width: int, glyphs: Glyphs) -> Iterator[Line]:
    uuid = track.series.key.gpu
    yield from heading_lines(track, past, width, glyphs)
    yield _head_line(past, width)
    gaps, events = gaps_of(uuid, past), events_of(uuid, past)
    alike: list[Step] = []
    for step in track.steps:
        begun = [gap for gap in gaps if gap.since <= step.start]
        been = [row for row in events if row.wall <= step.start]
        gaps, events = gaps[len(begun) :], events[len(been) :]
        if begun or been or (alike and not _is_alike(alike[-1], step)):
            yield from _step_lines(alike, track, past, width, glyphs)
            alike = []
        yield from between_lines(begun, been, past, width)
        alike.append(step)
    yield from _step_lines(alike, track, past, width, glyphs)
    if track.ended is not None:
        begun = [gap for gap in gaps if gap.since < track.ended]
        been = [row for row in events if row.wall < track.ended]
        gaps, events = gaps[len(begun) :], events[len(been) :]
        yield from between_lines(begun, been, past, width)
        yield line(f"-- {clock(track.ended, past.grid, past.zone)} ended --", Tone.FAINT)
    yield from between_lines(gaps, events, past, width)


def _is_alike(before: Step, step: Step) -> bool:
    """Whether nothing moved from the one step to the other, to the byte."""
    if _is_absent(before) or _is_absent(step):
        return _is_absent(before) and _is_absent(step)
    return before.minimum == before.maximum == before.last == step.minimum == step.maximum == step.last


def _is_absent(step: Step) -> bool:
    return step.count == 0


def _step_lines(alike: list[Step], track: Track, past: Past, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """Yield steps that follow one another: each on a line, or all on one where nothing moved."""
    if alike and _is_absent(alike[0]):
        yield line(
            f"{'..'.join(dict.fromkeys(_stamp(step, past) for step in (alike[0], alike[-1])))}  absent"
        )
        return
    if len(alike) < FEWEST_ALIKE:
        yield from (_step_line(step, track, past, width, glyphs) for step in alike)
        return
    first, last = (_stamp(step, past) for step in (alike[0], alike[-1]))
    yield line(f"{first}..{last}  {show_value(track.series.key.quantity, alike[0].last)}, unchanged")


def _stamp(step: Step, past: Past) -> str:
    return clock(_begin(step, past), past.grid, past.zone)


def _begin(step: Step, past: Past) -> float:
    """Return the round time at which a step begins; the first one may have been asked for in part."""
    grid = past.grid
    return grid.begin(grid.number(step.start + grid.step * ROUNDING))


ROUNDING = 1e-6
"""Of a step: by so much the sum of many steps may miss the moment at which one begins."""


def _head_line(past: Past, width: int) -> Line:
    stamp = len(clock(past.grid.since, past.grid, past.zone))
    names = ("last", "min", "max") if width >= ROOMY else ("last", "max")
    return line(" " * stamp + "".join(right(name, FIGURE) for name in names), Tone.FAINT)


def _step_line(step: Step, track: Track, past: Past, width: int, glyphs: Glyphs) -> Line:
    quantity = track.series.key.quantity
    figures = (step.last, step.minimum, step.maximum) if width >= ROOMY else (step.last, step.maximum)
    text = _stamp(step, past) + "".join(right(show_value(quantity, value), FIGURE) for value in figures)
    if track.away:
        text += right(_show_away(step, track, past), AWAY)
    room = min(width - columns(text) - 2, WIDEST_BAR)
    filled = round(room * max(step.last, 0) / track.peak) if track.peak > 0 and room > 0 else 0
    return Line((Span(text), Span("  " + glyphs.filled * filled, Tone.FAINT)))


def _show_away(step: Step, track: Track, past: Past) -> str:
    """Return "away ~7m": the share of the step's readings in which the series was absent, as time."""
    share = track.away.get(step.start)
    if share is None:
        return ""
    grid = past.grid
    begin = _begin(step, past)
    seconds = share * (min(begin + grid.step, grid.until) - max(begin, grid.since))
    unit = MINUTE if seconds >= MINUTE else 1.0
    return f"away ~{show_seconds(max(round(seconds / unit), 1) * unit)}"


def _name_and_peak(series: Subject, peak: float, past: Past, width: int, glyphs: Glyphs) -> Line:
    figure = show_value(series.key.quantity, peak)
    name = title(series, past.gpus).removesuffix(f"  {series.key.quantity}")
    return line("  " + left(name, width - FIGURE - 2, glyphs.ellipsis) + right(figure, FIGURE))


# --- every reading ------------------------------------------------------------------------------


def reading_lines(
    series: Subject, readings: Iterable[tuple[float, float]], past: Past, width: int, glyphs: Glyphs
) -> Iterator[Line]:
    """Yield a line for each of ``readings`` (unix seconds, value), or one for a run that are alike."""
    uuid, quantity = series.key.gpu, series.key.quantity
    yield line(fit(title(series, past.gpus), width, glyphs.ellipsis), Tone.STRONG)
    gaps, events = gaps_of(uuid, past), events_of(uuid, past)
    alike: list[float] = []
    held = 0.0
    for wall, value in readings:
        begun = [gap for gap in gaps if gap.since < wall]
        been = [row for row in events if row.wall <= wall]
        gaps, events = gaps[len(begun) :], events[len(been) :]
        if begun or been or (alike and value != held):
            yield from _reading_lines(alike, held, quantity, past)
            alike = []
        yield from between_lines(begun, been, past, width)
        # Of a long run only its ends are told: the first two and the newest are kept.
        alike = [*alike[: FEWEST_ALIKE - 1], wall]
        held = value
    yield from _reading_lines(alike, held, quantity, past)
    yield from between_lines(gaps, events, past, width)


def _reading_lines(walls: list[float], value: float, quantity: str, past: Past) -> Iterator[Line]:
    stamps = [clock(wall, past.grid, past.zone) for wall in walls]
    shown = show_value(quantity, value)
    if len(stamps) < FEWEST_ALIKE:
        yield from (line(f"{stamp}  {shown}") for stamp in stamps)
    else:
        yield line(f"{stamps[0]}..{stamps[-1]}  {shown}, unchanged")
