"""Rounds instants to the milliseconds that history keeps, so that polls judged again are identical."""

from dataclasses import replace

from vramwatch.core.model import Instant


def to_ms(seconds: float) -> int:
    """Return a time in whole milliseconds."""
    return round(seconds * 1000)


def kept_instant(at: Instant) -> Instant:
    """Return ``at`` as it is kept."""
    return replace(at, wall=to_ms(at.wall) / 1000, boottime=to_ms(at.boottime) / 1000)
