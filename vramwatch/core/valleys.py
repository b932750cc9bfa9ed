"""The floor of a series in event time: one sample for each release cycle.

Load moves the hourly floor of a healthy server, so hours are no evidence. What memory falls back to when
something is released is; an idle hour then adds nothing. This is "heap after full collection" for GPUs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Valley:
    """A local minimum: when it was first reached, its bytes, and how far it had risen when known as one."""

    time: float
    value: float
    rebound: float  # bytes, at least those asked for


@dataclass(frozen=True, slots=True)
class ZigZag:
    """The state of the search between two samples: constant in size, whatever the series' length.

    ``extreme`` is the highest value since the latest valley, or, once ``falling``, the lowest since that
    peak, first reached at ``time``.
    """

    rebound: float  # bytes above 0
    falling: bool = False
    time: float = -inf
    extreme: float = -inf


def step(state: ZigZag, time: float, value: float) -> tuple[ZigZag, Valley | None]:
    """Return the state after the sample ``value`` bytes at ``time``, and the Valley that it completes.

    A valley is known once the series has risen ``rebound`` bytes above it, after a fall of as many; the
    start of a series is none. Where one minimum is reached several times, the first counts. Peaks are
    the valleys of negated values. No errors.
    """
    rebound, extreme = state.rebound, state.extreme
    if state.falling:
        if value < extreme:
            return ZigZag(rebound, True, time, value), None
        if value - extreme >= rebound:
            return ZigZag(rebound, False, time, value), Valley(state.time, extreme, value - extreme)
    elif value > extreme:
        return ZigZag(rebound, False, time, value), None
    elif extreme - value >= rebound:
        return ZigZag(rebound, True, time, value), None
    return state, None


def valleys(times: Iterable[float], values: Iterable[float], rebound: float) -> list[Valley]:
    """Return the valleys of a whole series in ascending time, perhaps none; what folding ``step`` gives.

    ``rebound``: bytes above 0 that it must fall before and rise after.
    Errors: ValueError when the lengths differ.
    """
    state = ZigZag(rebound)
    found = []
    for time, value in zip(times, values, strict=True):
        state, valley = step(state, time, value)
        if valley:
            found.append(valley)
    return found


def block_minima(values: Sequence[float], size: int) -> list[float]:
    """Return the least of every ``size`` successive values, oldest first; perhaps none.

    An unfinished last block is left out: its minimum could still fall. Errors: ValueError for size < 1.
    """
    return [min(block) for block in _blocks(values, size)]


def floor(found: Sequence[Valley], size: int) -> list[Valley]:
    """Return the lowest valley of every ``size`` successive ones, as ``block_minima``, with their times."""
    return [min(block, key=lambda valley: valley.value) for block in _blocks(found, size)]


def _blocks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    if size < 1:
        raise ValueError(f"a block holds {size} values; it must hold at least 1")
    return [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
