"""Who grew most: last minus first of every owner, how fast, and what was said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from vramwatch.cli.views.history import (
    FIGURE,
    Past,
    gpu_name,
    readable_width,
    show_value,
    span_lines,
    subject_name,
)
from vramwatch.cli.views.series_records import series_record
from vramwatch.cli.views.text import Glyphs, Line, Tone, left, line, right, wrap
from vramwatch.cli.views.tracks import HOUR, Subject
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, Severity, State, Transition
from vramwatch.core.model import Gpu
from vramwatch.core.records import Json, moment
from vramwatch.core.texts import clean
from vramwatch.core.trend import Slope
from vramwatch.core.wording import CAUSES, clock, work_words

SHARE = 8
"""Columns of a share of a GPU."""

_WIDE = 24 + 4 * FIGURE + SHARE
"""Columns from which on every figure stands beside the name: of which then so much is left at least."""

COLUMNS = (
    "gpu", "ordinal", "subject_kind", "owner", "quantity",
    "first", "last", "growth", "peak", "gpu_share_ratio",
    "slope_per_hour", "slope_low_per_hour", "slope_high_per_hour", "incident", "state", "severity", "cause",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Growth:
    """What one series gained within a span. ``first`` None: it was not there yet; ``last``: not any more.

    ``share``: of the Gpu's total, what it held last; None: not known, or no bytes. ``slope``: of its floor,
    in its unit a second; None: too few floors. ``verdict``: how what was said of it stood at the end of the
    span; None: nothing was said.
    """

    series: Subject
    first: float | None
    last: float | None
    peak: float
    share: float | None
    slope: Slope | None = None
    verdict: Transition | None = None


def gained(first: float | None, last: float | None) -> float:
    """Return last minus first: who was not there held nothing, so the gains on a Gpu add up to its own."""
    return (last or 0) - (first or 0)


def growth_lines(growths: Sequence[Growth], past: Past, width: int, glyphs: Glyphs) -> list[Line]:
    """Return each with its slope and its verdict, in their order. ``past`` has span and names."""
    width = readable_width(width)
    lines = [*span_lines(past, width), _columns_line(width)]
    for growth in growths:
        lines += _growth_row(growth, past, width, glyphs)
        lines += wrap(_slope_words(growth), width, 4, Tone.FAINT)
        if growth.verdict is not None:
            lines += wrap(_verdict_words(growth.verdict, past.zone), width, 4, _tone(growth.verdict))
    return lines


def _columns_line(width: int) -> Line:
    if width < _WIDE:
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
    if width >= _WIDE:
        figures = "".join(right(figure, FIGURE) for figure in (grown, first, last, peak))
        return [line(left(name, width - 4 * FIGURE - SHARE, glyphs.ellipsis) + figures + right(share, SHARE))]
    row = left(name, width - 2 * FIGURE, glyphs.ellipsis) + right(grown, FIGURE) + right(last, FIGURE)
    return [line(row), *wrap(f"from {first}, peak {peak}, {share} of GPU", width, 4, Tone.FAINT)]


def _slope_words(growth: Growth) -> str:
    """Return "+58 MiB an hour (80% interval: +50 MiB to +61 MiB)"; a dash for what cannot be told."""
    slope = growth.slope
    if slope is None:
        return "- an hour"
    median, low, high = (
        show_value(growth.series.key.quantity, each * HOUR, signed=True)
        for each in (slope.median, slope.low, slope.high)
    )
    return f"{median} an hour (80% interval: {low} to {high})"


def _verdict_words(verdict: Transition, zone: tzinfo | None) -> str:
    """Return "firing, critical: a leak, +30 MiB with each release cycle, memory runs out 2026-11-29 12:38
    (incident 1a2b3c4d5e6f)", with the end of what stands alone.
    """
    incident = verdict.incident
    judgement = incident.judgement
    what = ", ".join((CAUSES[judgement.cause], *work_words(judgement.evidence), *_end_words(incident, zone)))
    return f"{incident.state}, {judgement.severity}: {what} (incident {clean(incident.id)})"


def _end_words(incident: Incident, zone: tzinfo | None) -> Iterator[str]:
    forecast = incident.judgement.forecast
    if incident.state is not State.RESOLVED and isinstance(forecast, Exhaustion):
        what = "its budget" if "budget_bytes" in incident.judgement.evidence.numbers else "memory"
        yield f"{what} runs out {clock(forecast.at, zone)}"


def _tone(verdict: Transition) -> Tone:
    if verdict.incident.state is not State.FIRING:
        return Tone.FAINT
    return Tone.GHOST if verdict.incident.judgement.severity is Severity.CRITICAL else Tone.WARNING


def growth_record(growth: Growth, gpus: Mapping[str, Gpu]) -> Json:
    """Return one object; the figures' unit is at the end of their keys."""
    unit = growth.series.key.quantity.rpartition("_")[2]
    slope, low, high = _slope_figures(growth.slope)
    return {
        **series_record(growth.series, gpus),
        f"first_{unit}": growth.first,
        f"last_{unit}": growth.last,
        f"growth_{unit}": gained(growth.first, growth.last),
        f"peak_{unit}": growth.peak,
        "gpu_share_ratio": growth.share,
        f"slope_{unit}_per_hour": slope,
        f"slope_low_{unit}_per_hour": low,
        f"slope_high_{unit}_per_hour": high,
        "verdict": _verdict_record(growth.verdict),
    }


def _slope_figures(slope: Slope | None) -> tuple[float | None, float | None, float | None]:
    """Return slope, low and high an hour."""
    if slope is None:
        return None, None, None
    return slope.median * HOUR, slope.low * HOUR, slope.high * HOUR


def _verdict_record(verdict: Transition | None) -> Json | None:
    if verdict is None:
        return None
    figures = dict(zip(COLUMNS[-4:], _verdict_figures(verdict), strict=True))
    return {**moment("time", verdict.at.wall), **figures}


def _verdict_figures(verdict: Transition | None) -> tuple[str | None, ...]:
    """Return incident, state, severity and cause."""
    if verdict is None:
        return None, None, None, None
    incident = verdict.incident
    judgement = incident.judgement
    return incident.id, str(incident.state), str(judgement.severity), str(judgement.cause)


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
            *_slope_figures(growth.slope),
            *_verdict_figures(growth.verdict),
        )
        yield tuple("" if each is None else each for each in fields)
