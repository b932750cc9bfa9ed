"""A Poll as people see it: every Gpu as a bar divided by owner, with what the figures mean."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from enum import Enum, auto

from vramwatch.cli.views.bar import marks
from vramwatch.cli.views.gpu import Frame, gpu_lines, shares
from vramwatch.cli.views.hidden import hidden_lines
from vramwatch.cli.views.loaded import loaded_lines
from vramwatch.cli.views.open_incidents import incident_lines
from vramwatch.cli.views.remedies import attempt_lines
from vramwatch.cli.views.silences import held_back_words
from vramwatch.cli.views.text import Glyphs, Line, Tone, line, wrap
from vramwatch.cli.views.words import blame
from vramwatch.cli.views.workers import worker_lines
from vramwatch.cli.when import show_when
from vramwatch.core.attempts import Attempt
from vramwatch.core.incidents import Transition
from vramwatch.core.model import Fault, FaultKind, Gpu, Instant, Ledger, Missing, SeriesKey
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.records import Json
from vramwatch.core.silences import Silence
from vramwatch.core.texts import clean
from vramwatch.core.units import show_seconds
from vramwatch.core.whereabouts import FOUND, Whereabouts

NARROWEST, WIDEST = 40, 160
"""Columns between which the view adapts; beyond them a line is harder to read, not easier."""

OLD_POLLS, OLD_SECONDS = 3, 30.0
"""A reading of so many intervals and so many seconds is old: whoever made it has stopped."""


class Standing(Enum):
    """How whoever made a Poll stands at the moment it is looked at."""

    PRESENT = auto()  # a daemon that goes on, or the look itself
    CATCHING_UP = auto()  # a simulation that hurries through the past
    STOPPED = auto()  # a daemon that said so when it ended
    SILENT = auto()  # a daemon that has written nothing for too long
    RECORDED = auto()  # a recording that was played


OVER = frozenset({Standing.STOPPED, Standing.SILENT, Standing.RECORDED})
"""Nobody reads on: what the Poll says of its own future no longer holds."""


@dataclass(frozen=True, slots=True)
class Status:
    """A Poll with what a reader of it knows beside it.

    ``changes``: bytes by which a series moved within the last ``span`` seconds; no entry: not known, or it
    is one of ``newcomers``, which came within them.
    ``since``: UUID (None: all GPUs) -> when its readings ended, unix seconds. ``incidents``: how each that is
    open stands. ``acknowledged``: id -> who has it in hand.
    """

    poll: Poll
    now: Instant
    zone: tzinfo | None = None
    changes: Mapping[SeriesKey, int] = field(default_factory=dict)
    newcomers: Collection[SeriesKey] = frozenset()
    span: float | None = None  # seconds; None: no history to compare with
    since: Mapping[str | None, float] = field(default_factory=dict)
    past: bool = False  # asked for as it was then: its age is no fault
    standing: Standing = Standing.PRESENT
    stopped: float | None = None  # unix seconds at which the daemon was, if later than the Poll
    silences: Sequence[Silence] = ()  # all that were ever set
    incidents: Sequence[Transition] = ()
    acknowledged: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[str, Gpu] = field(default_factory=dict)  # all that history knows, by UUID
    attempts: Sequence[Attempt] = ()  # the newest at each owner, of the last day
    workers: Sequence[Json] | None = None  # as core.records.worker_record tells them; None: not known
    models: Sequence[Json] | None = None  # as core.records.loaded_record tells them; None: not known
    remedies_off: str | None = None  # why the daemon does nothing about memory; None: it may, or does not say
    revealing: str | None = None  # the command that makes known what /proc hides; None: nothing is hidden
    names_devices: bool = False  # whether each Gpu is told with its UUID and its place on the bus
    whereabouts: Whereabouts = FOUND  # how commands come to the same daemon and store


def age(then: Instant, now: Instant) -> float:
    """Return the seconds from ``then`` to ``now``: boot time where both are of one boot, else the wall's."""
    return now.boottime - then.boottime if then.boot_id == now.boot_id else now.wall - then.wall


def is_old(status: Status) -> bool:
    """Whether the readings have stopped: nothing new for 30 s and three intervals."""
    return age(status.poll.at, status.now) > old_after(status.poll)


def old_after(poll: Poll) -> float:
    """Return after how many seconds ``poll``, as the newest, is old."""
    interval = poll.pace.interval if poll.pace else 0.0
    return max(OLD_SECONDS, OLD_POLLS * interval)


def standing_words(status: Status) -> str:
    """Return the sentence about whoever made the Poll, and what to do; empty where it is the present."""
    behind = show_seconds(age(status.poll.at, status.now))
    match status.standing:
        case Standing.PRESENT:
            return ""
        case Standing.CATCHING_UP:
            return f"Simulated, catching up with the present: {behind} behind"
        case Standing.SILENT:
            return (
                f"The daemon has written nothing for {behind}; if it has ended, start it with: vramwatch run"
            )
        case Standing.STOPPED:
            ended = status.poll.at.wall if status.stopped is None else status.stopped
            at = show_when(ended, status.now.wall, status.zone, seconds=True)
            return f"The daemon was stopped at {at}; start it with: vramwatch run"
        case Standing.RECORDED:
            return "From a recording: none of this is the present"


def status_lines(status: Status, width: int, glyphs: Glyphs, height: int | None = None) -> list[Line]:
    """Return the view of ``status`` in ``width`` columns; at least 40 are used.

    Where that is more than ``height`` lines (None: as many as it takes), what is free and reserved has no
    rows, and then the smallest owners of each Gpu share one; it may still be more.
    """
    width = min(max(width, NARROWEST), WIDEST)
    frame = _frame(status, width, glyphs)
    lines = _lines(status, frame)
    if height is None or len(lines) <= height:
        return lines
    most_owners = max((len(shares(ledger)) for ledger in status.poll.ledgers), default=0)
    for most in range(max(1, min(most_owners, height)), 0, -1):
        lines = _lines(status, replace(frame, shows_free=False, most_owners=most))
        if len(lines) <= height:
            break
    return lines


def _frame(status: Status, width: int, glyphs: Glyphs) -> Frame:
    return Frame(
        width=width,
        glyphs=glyphs,
        now=status.now.wall,
        zone=status.zone,
        marks=marks(holding.tenant.owner for ledger in status.poll.ledgers for holding in ledger.holdings),
        changes=status.changes,
        newcomers=status.newcomers,
        span=status.span,
        names_devices=status.names_devices,
    )


def _lines(status: Status, frame: Frame) -> list[Line]:
    poll = status.poll
    lines = _heading(status, frame.width)
    if status.incidents:
        known = {**status.gpus, **gpus_of(poll)}  # one that cannot be read has its name all the same
        told = incident_lines(
            status.incidents, status.acknowledged, known, status.now.wall, width=frame.width, zone=status.zone
        )
        lines += [Line(), *told]
    for entry, depth in in_order((*poll.ledgers, *poll.missing)):
        lines.append(Line())
        if isinstance(entry, Ledger):
            lines += gpu_lines(entry, frame, depth)
        else:
            lines += _missing_lines(entry, status, frame.width, depth)
    if not poll.ledgers and not poll.missing:
        lines += [Line(), line("The driver lists no GPU.", Tone.WARNING)]
    if status.attempts:
        lines += [Line(), *attempt_lines(status.attempts, frame.width)]
    if status.workers:
        lines += [Line(), *worker_lines(status.workers, frame.width)]
    if status.models:
        lines += [Line(), *loaded_lines(status.models, frame.width)]
    if status.revealing and (hidden := hidden_lines(poll, status.revealing, frame.width)):
        lines += [Line(), *hidden]
    return lines


def gpus_of(poll: Poll) -> dict[str, Gpu]:
    """Return the GPUs of ``poll`` by UUID, with those that could not be read."""
    seen = [*(ledger.gpu for ledger in poll.ledgers), *(missing.gpu for missing in poll.missing)]
    return {gpu.uuid: gpu for gpu in seen if gpu}


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
    is_stale = status.standing is Standing.PRESENT and is_old(status)
    held_back = held_back_words(status.silences, status.now.wall, status.zone, status.whereabouts)
    return [
        *wrap(standing_words(status), width, 0, Tone.WARNING if status.standing in OVER else Tone.FAINT),
        *wrap(_read_when(status, elapsed), width, 0, Tone.WARNING if is_stale else Tone.FAINT),
        *([] if status.standing in OVER else _pace_lines(status.poll.pace, width)),
        *wrap(held_back, width, 0, Tone.FAINT),
        *wrap(_off_words(status), width, 0, Tone.FAINT),
    ]


def _off_words(status: Status) -> str:
    if status.remedies_off is None:
        return ""
    ending = status.whereabouts.asking("remedies on")
    return f"Remedies are off ({clean(status.remedies_off)}); {ending} ends that."


def _read_when(status: Status, elapsed: float) -> str:
    """Return when the figures were read, and how often they are; their age where no other words say it."""
    at = show_when(status.poll.at.wall, status.now.wall, status.zone, seconds=True)
    pace = status.poll.pace
    goes_on = status.poll.ledgers and status.standing not in OVER  # what reads nothing has no rhythm
    rate = f", every {show_seconds(pace.interval)}" if pace and goes_on else ""
    if status.standing in (Standing.CATCHING_UP, Standing.SILENT, Standing.RECORDED):
        return f"read at {at}{rate}"
    if elapsed < -1:
        return f"read at {at}, which is {show_seconds(-elapsed)} ahead of this machine's clock{rate}"
    ago = show_seconds(max(0, round(elapsed)))
    if goes_on and pace and elapsed > 2 * pace.interval and not is_old(status):
        return f"nothing new for {ago}, since {at}; read{rate.removeprefix(',')}"  # it need not be stored yet
    did = "read" if status.poll.ledgers else "asked"
    return f"{did} {ago} ago, at {at}{rate}"


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
    who = f"GPU {gpu.ordinal}  {clean(gpu.name)}" if gpu else "All GPUs"
    words = _blind_words(missing, status)
    return [line("  " * depth + who, Tone.STRONG), *wrap(words, width, 2 + 2 * depth, Tone.WARNING)]


def _blind_words(missing: Missing, status: Status) -> str:
    gpu, fault = missing.gpu, missing.fault
    start = status.since.get(gpu.uuid if gpu else None)
    when = None if start is None else show_when(start, status.now.wall, status.zone)
    if status.standing not in OVER:
        since = "" if when is None else f" since {when}"
        return f"blind{since}, because {blame(fault, gpu)}"
    since = "blind at the end" if when is None else f"blind from {when} to the end"
    return f"{since}, because {blame(_without_promise(fault), gpu)}"


def _without_promise(fault: Fault) -> Fault:
    """Return a release without its end: no daemon is left to take the GPUs up again then."""
    return replace(fault, detail="") if fault.kind is FaultKind.RELEASED else fault
