"""How large a batch, prompt or answer may be within a budget: foreseen by two runs, tried, bisected. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_RUNS = 24
"""Of one sweep: a bisection of a million takes twenty."""

LARGEST = 1 << 20

FARTHEST = 64
"""Times the largest that fitted, that is tried next at most: the line through two peaks that hardly differ,
as those of a few new tokens do, says anything."""


@dataclass(frozen=True, slots=True)
class Tried:
    """``peak``: bytes; None: it was more than the budget."""

    value: int
    peak: int | None


def following(tried: Sequence[Tried], start: int, budget: int, least: int = 1) -> int | None:
    """Return the value to try next, ``least`` or more; None: the largest that fits is known, or nothing fits.

    The peak of a request is a straight line of its batch, and nearly one of its tokens: the line through the
    two largest that fitted says where the budget ends. What is foreseen is tried, never believed.
    """
    fits = sorted((each for each in tried if each.peak is not None), key=lambda each: each.value)
    fails = min((each.value for each in tried if each.peak is None), default=LARGEST + 1)
    if not fits:
        smaller = start if not tried else fails // 2
        return smaller if smaller >= least else None
    largest = fits[-1].value
    if largest + 1 >= fails or len(tried) >= MOST_RUNS:
        return None
    foreseen = 2 * largest if len(fits) < 2 else _foreseen(fits[-2], fits[-1], budget)
    if any(each.peak is None for each in tried) and foreseen >= fails:
        foreseen = math.isqrt(largest * fails) if fails > 4 * largest else (largest + fails) // 2
    return min(max(foreseen, largest + 1), FARTHEST * largest, fails - 1)


def tries_left(tried: Sequence[Tried]) -> int | None:
    """Return how many tries halving would still take; None: nobody knows, for none was too much yet."""
    fails = min((each.value for each in tried if each.peak is None), default=None)
    if fails is None:
        return None
    fits = max((each.value for each in tried if each.peak is not None), default=0)
    return max(1, (fails - fits - 1).bit_length())


def _foreseen(first: Tried, second: Tried, budget: int) -> int:
    """Return the largest value whose peak lies within the budget, by the line through both."""
    rise = ((second.peak or 0) - (first.peak or 0)) / (second.value - first.value)
    if rise <= 0:
        return 2 * second.value
    return second.value + int((budget - (second.peak or 0)) / rise)


def is_proven(tried: Sequence[Tried]) -> bool:
    """Whether one more than the largest that fitted was too much, or nothing larger is ever tried."""
    found = largest(tried)
    return found is None or found.value == LARGEST or Tried(found.value + 1, None) in tried


def largest(tried: Sequence[Tried]) -> Tried | None:
    """Return the largest that fitted; None: nothing did."""
    return max((each for each in tried if each.peak is not None), key=lambda each: each.value, default=None)
