"""What the views of history share: what was found, how it is called, and what happened in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

from vramwatch.cli.views.status import NARROWEST, WIDEST
from vramwatch.cli.views.text import Line, Tone, wrap
from vramwatch.cli.views.tracks import Grid, Subject, Track
from vramwatch.cli.views.words import because, happened
from vramwatch.core.model import Gpu, SubjectKind
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes

if TYPE_CHECKING:
    from vramwatch.store import EventRow, GapRow

MOST_TOLD = 5
"""Gaps, and events, told one by one; of more, as a GPU that comes and goes makes, one line tells the sum."""

FIGURE = 11
"""Columns of a figure with a space before it: the longest is "-1023 MiB"."""

ROOMY = 60
"""Columns from which a table shows all its figures; below it the most telling ones."""

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Past:
    """What was found within ``grid``: tracks, gaps and events, with the names of the GPUs.

    ``rest``: the series beside the tracks with their peaks, largest first.
    """

    tracks: Sequence[Track]
    gaps: Sequence["GapRow"]
    grid: Grid
    gpus: Mapping[str, Gpu]
    zone: tzinfo | None
    events: Sequence["EventRow"] = ()
    rest: Sequence[tuple[Subject, float]] = ()


def readable_width(width: int) -> int:
    """Return the columns that a view uses of a terminal's ``width``."""
    return min(max(width, NARROWEST), WIDEST)


def is_no_ghost(series: Subject, peak: float) -> bool:
    """Whether this is the series of ghosts of a Gpu that had none."""
    return series.key.kind is SubjectKind.GHOST and peak == 0


def gpu_name(uuid: str, gpus: Mapping[str, Gpu]) -> str:
    """Return "GPU 0  NVIDIA H100"; the UUID where nothing else is known of it."""
    gpu = gpus.get(uuid)
    return f"GPU {gpu.ordinal}  {clean(gpu.name)}" if gpu else f"GPU {clean(uuid)}"


def gpu_order(uuid: str, gpus: Mapping[str, Gpu]) -> tuple[list[int], str]:
    """Return a key that sorts GPUs as people count them."""
    gpu = gpus.get(uuid)
    parts = gpu.ordinal.split(":") if gpu else []
    return [int(part) for part in parts if part.isdecimal()], uuid


def subject_name(series: Subject) -> str:
    """Return what people call the subject of a series, safe to print."""
    owner = clean(series.owner.name) or clean(series.owner.key) if series.owner else clean(series.key.subject)
    if series.key.kind is SubjectKind.PROCESS and series.process:
        facts = series.process
        return f"pid {facts.key.pid} {clean(facts.name)} ({owner})"
    return {
        SubjectKind.GPU: "the whole GPU",
        SubjectKind.UNATTRIBUTED: "unattributed",
        SubjectKind.GHOST: "ghosts (their owners have them too)",
    }.get(series.key.kind, owner)


def title(series: Subject, gpus: Mapping[str, Gpu]) -> str:
    """Return "GPU 0  NVIDIA H100  chat  used_bytes"."""
    return f"{gpu_name(series.key.gpu, gpus)}  {subject_name(series)}  {series.key.quantity}"


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


def clock(wall: float, over: Grid, zone: tzinfo | None) -> str:
    """Return a time of the span, no more exact than its steps ask for."""
    local = datetime.fromtimestamp(wall, zone)
    day = "%m-%d " if over.until - over.since > DAY else ""
    return local.strftime(f"{day}%H:%M:%S" if over.step < 60 else f"{day}%H:%M")


def span_lines(past: Past, width: int) -> list[Line]:
    """Return "2026-11-22 03:00:00 .. 2026-11-23 03:00:00"."""
    since, until = (
        datetime.fromtimestamp(wall, past.zone).strftime("%Y-%m-%d %H:%M:%S")
        for wall in (past.grid.since, past.grid.until)
    )
    return wrap(f"{since} .. {until}", width, 0, Tone.FAINT)


# --- what happened in between -------------------------------------------------------------------


def gaps_of(uuid: str, past: Past) -> list["GapRow"]:
    return [gap for gap in past.gaps if gap.gpu in (None, uuid)]


def events_of(uuid: str, past: Past) -> list["EventRow"]:
    return [row for row in past.events if row.event.gpu in (None, uuid)]


def between_lines(
    gaps: Sequence["GapRow"], events: Sequence["EventRow"], past: Past, width: int
) -> list[Line]:
    """Return a line for each gap and each event, in the order of time; of many of a kind, one for all."""
    told = sorted([*_told_gaps(gaps, past), *_told_events(events, past)], key=lambda each: each[0])
    return [each for _, words, tone in told for each in wrap(f"-- {words} --", width, 0, tone)]


def _told_gaps(gaps: Sequence["GapRow"], past: Past) -> list[tuple[float, str, Tone]]:
    """Return since, words and tone: "03:10..03:14 no readings: the driver did not answer"."""
    if len(gaps) > MOST_TOLD:
        stretch = f"{clock(gaps[0].since, past.grid, past.zone)}..{_end(gaps[-1], past)}"
        words = f"{stretch} no readings {len(gaps)} times, last: {because(gaps[-1].reason)}"
        return [(gaps[0].since, words, Tone.WARNING)]
    return [
        (
            gap.since,
            f"{clock(gap.since, past.grid, past.zone)}..{_end(gap, past)} no readings: {because(gap.reason)}",
            Tone.WARNING,
        )
        for gap in gaps
    ]


def _told_events(events: Sequence["EventRow"], past: Past) -> list[tuple[float, str, Tone]]:
    """Return when, words and tone: "03:10 released by alice (uid 1000): for 15m"."""
    told = [
        (row.wall, f"{clock(row.wall, past.grid, past.zone)} {happened(row.event)}", Tone.FAINT)
        for row in events[-MOST_TOLD:]
    ]
    left = len(events) - len(told)
    if left:
        stretch = " .. ".join(clock(row.wall, past.grid, past.zone) for row in (events[0], events[left - 1]))
        told.insert(0, (events[0].wall, f"{stretch} {left} earlier events", Tone.FAINT))
    return told


def _end(gap: "GapRow", past: Past) -> str:
    return "now" if gap.until is None else clock(gap.until, past.grid, past.zone)
