"""Decides whether enough was seen of a window for "nothing found" to mean anything."""

from collections.abc import Collection
from enum import StrEnum

from vramwatch.core.floors import WARM_UP, is_material
from vramwatch.core.lanes import DAY
from vramwatch.core.windows import Window

SETTLED_AFTER = 1800.0
"""Seconds after its warm-up that a life must have lasted, for what it settled at to mean something."""


class Lack(StrEnum):
    """Why there is too little to judge a window by."""

    BRIEF = "brief"  # it was not seen for SETTLED_AFTER after its warm-up
    LOAD = "load"  # it moved, nobody tells what was asked of it, and a day, which has every load, is not over


def lack(window: Window) -> Lack | None:
    """Return what is missing to judge ``window``; None: nothing is."""
    lane = window.used
    settled = _settled(window)
    if lane.time - settled < SETTLED_AFTER:
        return Lack.BRIEF
    if not window.tells_load and lane.time - lane.began < DAY and has_moved(window):
        return Lack.LOAD
    return None


def has_moved(window: Window) -> bool:
    """Return whether it moved by what is worth a word since it had settled; else no load is needed."""
    lane = window.used
    settled = _settled(window)
    low = lane.floor(settled, lane.time)
    return is_material(lane.peak(lane.time - settled) - (lane.last if low is None else low), window)


def lack_of_all(lacks: Collection[Lack | None]) -> Lack | None:
    """Return what is missing where windows stand for one another: nothing where one of them has all."""
    if None in lacks:
        return None
    return Lack.LOAD if Lack.LOAD in lacks else Lack.BRIEF


def _settled(window: Window) -> float:
    """Return from when on what was seen of it counts."""
    lane = window.used
    return max(lane.began, lane.time - window.age + WARM_UP)
