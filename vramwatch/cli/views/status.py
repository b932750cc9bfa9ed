"""A Poll as people see it: every Gpu as a bar divided by owner, with what the figures mean."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from vramwatch.cli.views.bar import marks
from vramwatch.cli.views.gpu import Frame, gpu_lines
from vramwatch.cli.views.text import Glyphs, Line, Span, Tone, clean, line, wrap
from vramwatch.cli.views.words import blame
from vramwatch.cli.when import show_when
from vramwatch.core.model import Gpu, Instant, Ledger, Missing, Pace, Poll, SeriesKey
from vramwatch.core.units import show_seconds

NARROWEST, WIDEST = 40, 160
"""Columns between which the view adapts; beyond them a line is harder to read, not easier."""

OLD_POLLS, OLD_SECONDS = 3, 30.0
"""A reading of so many intervals and so many seconds is old: whoever made it has stopped."""


@dataclass(frozen=True, slots=True)
class Status:
    """A Poll with what a reader of it knows beside it.

    ``changes``: bytes by which a series moved within the last ``span`` seconds; no entry: not known.
    ``since``: UUID (None: all GPUs) -> when its readings ended, unix seconds.
    """

    poll: Poll
    now: Instant
    zone: tzinfo | None = None
    changes: Mapping[SeriesKey, int] = field(default_factory=dict)
    span: float | None = None  # seconds; None: no history to compare with
    since: Mapping[str | None, float] = field(default_factory=dict)
    past: bool = False  # asked for as it was then: its age is no fault


def age(then: Instant, now: Instant) -> float:
    """Return the seconds from ``then`` to ``now``: boot time where both are of one boot, else the wall's."""
    return now.boottime - then.boottime if then.boot_id == now.boot_id else now.wall - then.wall


def is_old(status: Status) -> bool:
    """Whether the readings have stopped: nothing new for 30 s and three intervals."""
    interval = status.poll.pace.interval if status.poll.pace else 0.0
    return age(status.poll.at, status.now) > max(OLD_SECONDS, OLD_POLLS * interval)


def status_lines(status: Status, width: int, glyphs: Glyphs) -> list[Line]:
    """Return the view of ``status`` in ``width`` columns; at least 40 are used."""
    width = min(max(width, NARROWEST), WIDEST)
    poll = status.poll
    frame = Frame(
        width=width,
        glyphs=glyphs,
        now=status.now.wall,
        zone=status.zone,
        marks=marks(holding.tenant.owner for ledger in poll.ledgers for holding in ledger.holdings),
        changes=status.changes,
        span=status.span,
    )
    lines = _heading(status, width)
    for entry, depth in in_order((*poll.ledgers, *poll.missing)):
        lines.append(Line())
        if isinstance(entry, Ledger):
            lines += gpu_lines(entry, frame, depth)
        else:
            lines += _missing_lines(entry, status, width, depth)
    if not poll.ledgers and not poll.missing:
        lines += [Line(), line("The driver lists no GPU.", Tone.WARNING)]
    return lines


def in_order(entries: Iterable[Ledger | Missing]) -> list[tuple[Ledger | Missing, int]]:
    """Return the entries as people count GPUs, each with its depth: MIG instances (1) under their device (0).

    What concerns all GPUs comes first. An instance whose device is not among the entries stands where
    the device would.
    """
    return sorted(((entry, _depth(entry.gpu)) for entry in entries), key=lambda pair: _place(pair[0].gpu))


def _depth(gpu: Gpu | None) -> int:
    return 1 if gpu and gpu.parent else 0


def _place(gpu: Gpu | None) -> tuple[list[tuple[int, str]], str]:
    if gpu is None:
        return [], ""
    parts = gpu.ordinal.split(":")
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], gpu.uuid


def _heading(status: Status, width: int) -> list[Line]:
    elapsed = age(status.poll.at, status.now)
    if status.past:
        at = show_when(status.poll.at.wall, 0.0, status.zone, seconds=True)
        before = f", {show_seconds(round(elapsed))} before the moment asked for" if is_old(status) else ""
        return wrap(f"as read at {at}{before}", width, 0, Tone.STRONG)
    at = show_when(status.poll.at.wall, status.now.wall, status.zone, seconds=True)
    if elapsed < -1:
        read = f"read at {at}, which is {show_seconds(-elapsed)} ahead of this machine's clock"
    else:
        read = f"read {show_seconds(max(0, round(elapsed)))} ago, at {at}"
    old = is_old(status)
    lines = [Line((Span(read, Tone.WARNING if old else Tone.FAINT), *_rate(status.poll.pace)))]
    if old:
        lines += wrap(
            f"This reading is old: nothing newer for {show_seconds(elapsed)}.", width, 0, Tone.WARNING
        )
    return lines + _pace_lines(status.poll.pace, width)


def _rate(pace: Pace | None) -> tuple[Span, ...]:
    return (Span(f", every {show_seconds(pace.interval)}", Tone.FAINT),) if pace else ()


def _pace_lines(pace: Pace | None, width: int) -> list[Line]:
    if pace is None or pace.lowered_because is None:
        return []
    words = (
        f"Reading more slowly (memory every {show_seconds(pace.interval)}, process lists every "
        f"{show_seconds(pace.list_interval)}): {clean(pace.lowered_because)}; "
        f"{pace.driver_share:.2%} of the time is spent inside the driver."
    )
    return wrap(words, width, 0, Tone.WARNING)


def _missing_lines(missing: Missing, status: Status, width: int, depth: int) -> list[Line]:
    gpu = missing.gpu
    start = status.since.get(gpu.uuid if gpu else None)
    since = f" since {show_when(start, status.now.wall, status.zone)}" if start is not None else ""
    who = f"GPU {gpu.ordinal}  {clean(gpu.name)}" if gpu else "All GPUs"
    words = f"blind{since}, because {blame(missing.fault, gpu)}"
    return [line("  " * depth + who, Tone.STRONG), *wrap(words, width, 2 + 2 * depth, Tone.WARNING)]
