"""The owners of each Gpu side by side: what they held first, last and at most."""

from itertools import groupby

from vramwatch.cli.views.history import (
    FIGURE,
    ROOMY,
    Past,
    between_lines,
    clock,
    events_of,
    gaps_of,
    gpu_name,
    gpu_order,
    readable_width,
    show_value,
    span_lines,
    subject_name,
)
from vramwatch.cli.views.table import comings_and_goings
from vramwatch.cli.views.text import Glyphs, Line, Tone, left, line, right, wrap
from vramwatch.cli.views.tracks import Track
from vramwatch.core.model import SubjectKind


def overview_lines(past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return a block for each Gpu, its whole before its owners."""
    width = readable_width(width)
    lines = span_lines(past, width)
    by_gpu = sorted(past.tracks, key=lambda track: gpu_order(track.series.key.gpu, past.gpus))
    for uuid, group in groupby(by_gpu, key=lambda track: track.series.key.gpu):
        lines += [line(gpu_name(uuid, past.gpus), Tone.STRONG), _columns_line(width)]
        for track in sorted(group, key=lambda track: track.series.key.kind is not SubjectKind.GPU):
            lines += _overview_row(track, past, width, glyphs)
        left_out = sum(series.key.gpu == uuid for series, _ in past.rest)
        if left_out:
            lines.append(line(f"  and {left_out} smaller ones", Tone.FAINT))
        lines += between_lines(gaps_of(uuid, past), events_of(uuid, past), past, width)
        lines.append(Line())
    return lines


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
    when = f"at {clock(track.peak_at, past.grid, past.zone)}"
    figures = (first, last, change, peak) if width >= ROOMY else (last, change)
    room = width - FIGURE * len(figures) - _when_columns(width)
    name = "  " + left(subject_name(track.series), room - 2, glyphs.ellipsis)
    row = name + "".join(right(figure, FIGURE) for figure in figures)
    told = comings_and_goings(track, past)
    if width >= ROOMY:
        return [line(f"{row} {when}"), *wrap(told, width, 4, Tone.FAINT)]
    whole = "; ".join(filter(None, [f"peak {peak} {when}", told]))
    return [line(row), *wrap(whole, width, 4, Tone.FAINT)]
