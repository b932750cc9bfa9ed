"""History as people read it: a table of steps for one series, or each Gpu's owners side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from itertools import groupby
from typing import TYPE_CHECKING

from vramwatch.cli.views.status import NARROWEST, WIDEST
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, clean, columns, fit, left, line, right, wrap
from vramwatch.cli.views.tracks import Grid, Step, Track
from vramwatch.cli.views.words import because
from vramwatch.core.model import Gpu, SubjectKind
from vramwatch.core.units import show_bytes

if TYPE_CHECKING:
    from vramwatch.store import GapRow

MOST_SERIES = 8
"""Tables that one answer prints; the series after them get a line each."""

MOST_GAPS = 5
"""Gaps told one by one; of more, as a GPU that comes and goes makes them, one line tells the sum."""

MOST_OWNERS = 12
"""Owners of one Gpu that the overview names."""

FIGURE = 11
"""Columns of a figure with a space before it: the longest is "-1023 MiB"."""

ROOMY = 60
"""Columns from which a table shows all its figures; below it the most telling two."""

WIDEST_BAR = 40
"""Columns of the bar at a step's end; a longer one says no more."""

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Past:
    """What was found within ``grid``: tracks (largest first) and gaps, with the names of the GPUs."""

    tracks: Sequence[Track]
    gaps: Sequence["GapRow"]
    grid: Grid
    gpus: Mapping[str, Gpu]
    zone: tzinfo | None


def table_lines(past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return a table for each of the largest series: a line a step, and a line where readings are missing."""
    width = min(max(width, NARROWEST), WIDEST)
    lines = _span_lines(past, width)
    told = [track for track in past.tracks if not _is_no_ghost(track)]
    for track in told[:MOST_SERIES]:
        lines += [*_track_lines(track, past, width, glyphs), Line()]
    rest = told[MOST_SERIES:]
    if rest:
        lines.append(line(f"{len(rest)} smaller series, by name and peak:", Tone.FAINT))
    for track in rest:
        lines.append(_name_and_peak(track, past, width, glyphs))
    return lines


def overview_lines(past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return a block for each Gpu: what it and its largest owners held first, last and at most."""
    width = min(max(width, NARROWEST), WIDEST)
    lines = _span_lines(past, width)
    told = [track for track in past.tracks if not _is_no_ghost(track)]
    by_gpu = sorted(told, key=lambda track: _gpu_order(track.series.key.gpu, past))
    for uuid, group in groupby(by_gpu, key=lambda track: track.series.key.gpu):
        lines += [line(gpu_name(uuid, past.gpus), Tone.STRONG), _columns_line(width)]
        tracks = sorted(group, key=lambda track: track.series.key.kind is not SubjectKind.GPU)
        shown = tracks[: MOST_OWNERS + 1]
        for track in shown:
            lines += _overview_row(track, past, width, glyphs)
        if len(tracks) > len(shown):
            lines.append(line(f"  and {len(tracks) - len(shown)} smaller ones", Tone.FAINT))
        lines += gap_lines([gap for gap in past.gaps if gap.gpu in (None, uuid)], past, width)
        lines.append(Line())
    return lines


def _is_no_ghost(track: Track) -> bool:
    """Whether this is the series of ghosts of a Gpu that had none."""
    return track.series.key.kind is SubjectKind.GHOST and track.peak == 0


def gpu_name(uuid: str, gpus: Mapping[str, Gpu]) -> str:
    """Return "GPU 0  NVIDIA H100"; the UUID where nothing else is known of it."""
    gpu = gpus.get(uuid)
    return f"GPU {gpu.ordinal}  {clean(gpu.name)}" if gpu else f"GPU {clean(uuid)}"


def subject_name(track: Track) -> str:
    """Return what people call the subject of a series, safe to print."""
    series = track.series
    owner = clean(series.owner.name) or clean(series.owner.key) if series.owner else clean(series.key.subject)
    if series.key.kind is SubjectKind.PROCESS and series.process:
        facts = series.process
        return f"pid {facts.key.pid} {clean(facts.name)} ({owner})"
    return {
        SubjectKind.GPU: "the whole GPU",
        SubjectKind.UNATTRIBUTED: "unattributed",
        SubjectKind.GHOST: "ghosts",
    }.get(series.key.kind, owner)


def show_value(quantity: str, value: float, signed: bool = False) -> str:
    """Return a value of ``quantity`` for people; the unit is the end of the quantity's name."""
    unit = quantity.rpartition("_")[2]
    if unit == "bytes":
        return show_bytes(round(value), signed)
    if unit == "ratio":
        return f"{value:+.0%}" if signed else f"{value:.0%}"
    sign = "+" if signed else ""
    suffix = {"celsius": " °C", "watts": " W"}.get(unit, "")
    return f"{value:{sign}.6g}{suffix}"


def gap_lines(gaps: Sequence["GapRow"], past: Past, width: int) -> list[Line]:
    """Return "-- 03:10..03:14 no readings: the driver did not answer --" for each, or one line for many."""
    if len(gaps) > MOST_GAPS:
        stretch = f"{_clock(gaps[0].since, past)}..{_end(gaps[-1], past)}"
        told = [f"-- {stretch} no readings {len(gaps)} times, last: {because(gaps[-1].reason)} --"]
    else:
        told = [
            f"-- {_clock(gap.since, past)}..{_end(gap, past)} no readings: {because(gap.reason)} --"
            for gap in gaps
        ]
    return [each for words in told for each in wrap(words, width, 0, Tone.WARNING)]


def _end(gap: "GapRow", past: Past) -> str:
    return "now" if gap.until is None else _clock(gap.until, past)


def _span_lines(past: Past, width: int) -> list[Line]:
    since, until = (
        datetime.fromtimestamp(wall, past.zone).strftime("%Y-%m-%d %H:%M:%S")
        for wall in (past.grid.since, past.grid.until)
    )
    return wrap(f"{since} .. {until}", width, 0, Tone.FAINT)


def _gpu_order(uuid: str, past: Past) -> tuple[list[int], str]:
    gpu = past.gpus.get(uuid)
    parts = gpu.ordinal.split(":") if gpu else []
    return [int(part) for part in parts if part.isdecimal()], uuid


def _clock(wall: float, past: Past) -> str:
    """Return a time of the span, no more exact than the span asks for."""
    local = datetime.fromtimestamp(wall, past.zone)
    day = "%m-%d " if past.grid.until - past.grid.since > DAY else ""
    return local.strftime(f"{day}%H:%M:%S" if past.grid.step < 60 else f"{day}%H:%M")


# --- one series, step by step -------------------------------------------------------------------


def _track_lines(track: Track, past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    key = track.series.key
    title = f"{gpu_name(key.gpu, past.gpus)}  {subject_name(track)}  {key.quantity}"
    lines = [line(fit(title, width, glyphs.ellipsis), Tone.STRONG), _head_line(past, width)]
    gaps = [gap for gap in past.gaps if gap.gpu in (None, key.gpu)]
    for number in sorted(track.steps):
        begin = past.grid.begin(number)
        begun = [gap for gap in gaps if gap.since <= begin]
        gaps = gaps[len(begun) :]
        lines += gap_lines(begun, past, width)
        if not _is_blind(begin, track, past):
            lines.append(_step_line(track, number, past, width, glyphs))
    lines += gap_lines(gaps, past, width)
    if track.ended is not None:
        lines.append(line(f"-- {_clock(track.ended, past)} ended --", Tone.FAINT))
    return lines


def _is_blind(begin: float, track: Track, past: Past) -> bool:
    """Whether nothing was read within the whole step that begins at ``begin``."""
    end = min(begin + past.grid.step, past.grid.until)
    return any(
        gap.gpu in (None, track.series.key.gpu)
        and gap.since <= begin
        and (gap.until is None or gap.until >= end)
        for gap in past.gaps
    )


def _head_line(past: Past, width: int) -> Line:
    stamp = len(_clock(past.grid.since, past))
    names = ("last", "min", "max") if width >= ROOMY else ("last", "max")
    return line(" " * stamp + "".join(right(name, FIGURE) for name in names), Tone.FAINT)


def _step_line(track: Track, number: int, past: Past, width: int, glyphs: Glyphs) -> Line:
    step = track.steps[number]
    stamp = _clock(past.grid.begin(number), past)
    text = stamp + "".join(
        right(show_value(track.series.key.quantity, value), FIGURE) for value in _figures(step, width)
    )
    room = min(width - columns(text) - 2, WIDEST_BAR)
    filled = round(room * max(step.last, 0) / track.peak) if track.peak > 0 and room > 0 else 0
    return Line((Span(text), Span("  " + glyphs.filled * filled, Tone.FAINT)))


def _figures(step: Step, width: int) -> tuple[float, ...]:
    return (step.last, step.low, step.high) if width >= ROOMY else (step.last, step.high)


def _name_and_peak(track: Track, past: Past, width: int, glyphs: Glyphs) -> Line:
    key = track.series.key
    figure = show_value(key.quantity, track.peak)
    name = f"{gpu_name(key.gpu, past.gpus)}  {subject_name(track)}"
    return line("  " + left(name, width - FIGURE - 2, glyphs.ellipsis) + right(figure, FIGURE))


# --- the owners of a Gpu side by side -----------------------------------------------------------


def _columns_line(width: int) -> Line:
    names = ("first", "last", "change", "peak") if width >= ROOMY else ("last", "change")
    room = width - FIGURE * len(names) - _when_columns(width)
    return line(" " * room + "".join(right(name, FIGURE) for name in names), Tone.FAINT)


def _when_columns(width: int) -> int:
    """Return the columns for when the peak was: " at 11-22 03:10"."""
    return 16 if width >= ROOMY else 0


def _overview_row(track: Track, past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    quantity = track.series.key.quantity
    first, last, peak = (show_value(quantity, value) for value in (track.first, track.last, track.peak))
    change = show_value(quantity, track.last - track.first, signed=True)
    when = f"at {_clock(track.peak_at, past)}"
    figures = (first, last, change, peak) if width >= ROOMY else (last, change)
    room = width - FIGURE * len(figures) - _when_columns(width)
    name = "  " + left(subject_name(track), room - 2, glyphs.ellipsis)
    row = name + "".join(right(figure, FIGURE) for figure in figures)
    told = _comings_and_goings(track, past)
    if width >= ROOMY:
        return [line(f"{row} {when}"), *(line(f"    {each}", Tone.FAINT) for each in told)]
    return [line(row), *wrap(", ".join([f"peak {peak} {when}", *told]), width, 4, Tone.FAINT)]


def _comings_and_goings(track: Track, past: Past) -> list[str]:
    told = [f"came {_clock(track.came, past)}"] if track.came > past.grid.since else []
    return told + ([f"ended {_clock(track.ended, past)}"] if track.ended is not None else [])
