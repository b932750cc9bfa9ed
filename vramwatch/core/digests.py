"""The text of the daily or weekly digest: what fired, who grows, who is idle, how much room is left.

Pure; ``vramwatch.telling.digesting`` gathers it from history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from enum import StrEnum

from vramwatch.core.messages import Host, Item, title
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.wording import clock

MOST = 8
"""Lines below one heading; the rest is counted."""


class Period(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"


@dataclass(frozen=True, slots=True)
class Noted:
    """An incident, the channels that took a message about it, and why the newest one was withheld."""

    item: Item
    told: tuple[str, ...] = ()
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """An Owner on one GPU. Bytes. ``idle``: seconds for which its GPU has done no work."""

    name: str
    gpu: str  # as people call it: "0"
    held: int
    gained: int = 0
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Headroom:
    """What of a GPU was free even when most was used. Bytes."""

    gpu: str
    name: str
    total: int
    peak: int


@dataclass(frozen=True, slots=True)
class Digest:
    """Of the span from ``since`` until ``until`` (unix seconds). Each part with what matters most first.

    ``withheld``: what fired and was told to nobody. ``noted``: what was seen and has not fired.
    """

    since: float
    until: float
    fired: tuple[Noted, ...] = ()
    withheld: tuple[Noted, ...] = ()
    noted: tuple[Noted, ...] = ()
    growers: tuple[Holder, ...] = ()
    idlers: tuple[Holder, ...] = ()
    rooms: tuple[Headroom, ...] = ()


def due(last: float, now: float, period: Period, at: time, zone: tzinfo | None) -> tuple[float, float] | None:
    """Return the span of which a digest is due at ``now``; None: none is. Unix seconds.

    ``last``: when one was made last, or when history begins. A week ends on Monday. However many were
    missed, one is made: of the newest span.
    """
    local = datetime.fromtimestamp(now, zone)
    days = local.weekday() if period is Period.WEEKLY else 0
    length = 7 if period is Period.WEEKLY else 1
    until = _on(local - timedelta(days=days), at, zone)
    if until > now:
        days += length
        until = _on(local - timedelta(days=days), at, zone)
    if not last < until:
        return None
    return _on(local - timedelta(days=days + length), at, zone), until


def _on(day: datetime, at: time, zone: tzinfo | None) -> float:
    return datetime.combine(day.date(), at, zone).timestamp()


def digest_text(digest: Digest, host: Host, zone: tzinfo | None = None) -> str:
    """Return the digest as lines of text; ends with the command to run and where."""
    lines = [f"From {clock(digest.since, zone)} to {clock(digest.until, zone)}."]
    for heading, told in (
        ("Fired", [_noted(each) for each in digest.fired]),
        ("Fired, and was told to nobody", [_noted(each) for each in digest.withheld]),
        ("Slower growth, noted", [_noted(each) for each in digest.noted]),
        ("Has grown most", [_grower(each) for each in digest.growers]),
        ("Memory that is held without work", [_idler(each) for each in digest.idlers]),
        ("Room", [_room(each) for each in digest.rooms]),
    ):
        lines += ["", heading, *_bounded(told)]
    return "\n".join([*lines, "", f"On {clean(host.name)} run:  {host.whereabouts.reading('incidents')}"])


def _bounded(told: Sequence[str]) -> list[str]:
    more = [f"  and {len(told) - MOST} more"] if len(told) > MOST else []
    return [*(f"  {each}" for each in told[:MOST]), *more] or ["  nothing"]


def _noted(noted: Noted) -> str:
    told = f", told to {', '.join(map(clean, noted.told))}" if noted.told else ""
    withheld = f", {clean(noted.withheld)}" if noted.withheld and not noted.told else ""
    return f"{title(noted.item)}  [{noted.item.incident.id}]{told}{withheld}"


def _grower(holder: Holder) -> str:
    gained, held = show_bytes(holder.gained, signed=True), show_bytes(holder.held)
    return f"{clean(holder.name)} on GPU {clean(holder.gpu)}: {gained}, holds {held}"


def _idler(holder: Holder) -> str:
    where = f"GPU {clean(holder.gpu)}"
    idle = show_seconds(holder.idle)
    return f"{clean(holder.name)} on {where}: {show_bytes(holder.held)}, no work on it for {idle}"


def _room(room: Headroom) -> str:
    left = f"{show_bytes(max(0, room.total - room.peak))} of {show_bytes(room.total)}"
    return f"GPU {clean(room.gpu)} ({clean(room.name)}): {left} were never used"
