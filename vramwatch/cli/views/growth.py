"""Who grew most: last minus first of every owner, as a table and as data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vramwatch.cli.views.history import (
    FIGURE,
    ROOMY,
    Past,
    gpu_name,
    readable_width,
    show_value,
    span_lines,
    subject_name,
)
from vramwatch.cli.views.records import Json
from vramwatch.cli.views.series_records import series_record
from vramwatch.cli.views.text import Glyphs, Line, Tone, left, line, right, wrap
from vramwatch.cli.views.tracks import Subject
from vramwatch.core.model import Gpu
from vramwatch.core.texts import clean

SHARE = 8
"""Columns of a share of a GPU."""

COLUMNS = (
    "gpu", "ordinal", "subject_kind", "owner", "quantity",
    "first", "last", "growth", "peak", "gpu_share_ratio",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Growth:
    """What one series gained within a span. ``first`` None: it was not there yet; ``last``: not any more.

    ``share``: of the Gpu's total, what it held last; None: not known, or no bytes.
    """

    series: Subject
    first: float | None
    last: float | None
    peak: float
    share: float | None


def gained(first: float | None, last: float | None) -> float:
    """Return last minus first: who was not there held nothing, so the gains on a Gpu add up to its own."""
    return (last or 0) - (first or 0)


def growth_lines(growths: Sequence[Growth], past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return a line for each, in their order; narrow terminals get two. ``past`` has span and names."""
    width = readable_width(width)
    lines = [*span_lines(past, width), _columns_line(width)]
    for growth in growths:
        lines += _growth_row(growth, past, width, glyphs)
    return lines


def _columns_line(width: int) -> Line:
    if width < ROOMY:
        return line(" " * (width - 2 * FIGURE) + right("growth", FIGURE) + right("last", FIGURE), Tone.FAINT)
    names = "".join(right(name, FIGURE) for name in ("growth", "first", "last", "peak"))
    return line(" " * (width - 4 * FIGURE - SHARE) + names + right("of GPU", SHARE), Tone.FAINT)


def _growth_row(growth: Growth, past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    quantity = growth.series.key.quantity
    grown = show_value(quantity, gained(growth.first, growth.last), signed=True)
    first, last = (
        absent if value is None else show_value(quantity, value)
        for value, absent in ((growth.first, "came"), (growth.last, "left"))
    )
    peak = show_value(quantity, growth.peak)
    share = "n/a" if growth.share is None else f"{growth.share:.0%}"
    gpu = past.gpus.get(growth.series.key.gpu)
    where = f"GPU {gpu.ordinal}" if gpu else gpu_name(growth.series.key.gpu, past.gpus)
    name = f"{where}  {subject_name(growth.series)}"
    if width >= ROOMY:
        figures = "".join(right(figure, FIGURE) for figure in (grown, first, last, peak))
        return [line(left(name, width - 4 * FIGURE - SHARE, glyphs.ellipsis) + figures + right(share, SHARE))]
    row = left(name, width - 2 * FIGURE, glyphs.ellipsis) + right(grown, FIGURE) + right(last, FIGURE)
    return [line(row), *wrap(f"from {first}, peak {peak}, {share} of GPU", width, 4, Tone.FAINT)]


def growth_record(growth: Growth, gpus: Mapping[str, Gpu]) -> Json:
    """Return one object; the figures' unit is at the end of their keys."""
    unit = growth.series.key.quantity.rpartition("_")[2]
    return {
        **series_record(growth.series, gpus),
        f"first_{unit}": growth.first,
        f"last_{unit}": growth.last,
        f"growth_{unit}": gained(growth.first, growth.last),
        f"peak_{unit}": growth.peak,
        "gpu_share_ratio": growth.share,
    }


def growth_rows(growths: Sequence[Growth], gpus: Mapping[str, Gpu]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of COLUMNS; what is not known is empty."""
    for growth in growths:
        key, owner, gpu = growth.series.key, growth.series.owner, gpus.get(growth.series.key.gpu)
        fields = (
            key.gpu,
            gpu.ordinal if gpu else "",
            str(key.kind),
            clean(owner.key) if owner else "",
            key.quantity,
            growth.first,
            growth.last,
            gained(growth.first, growth.last),
            growth.peak,
            growth.share,
        )
        yield tuple("" if each is None else each for each in fields)
