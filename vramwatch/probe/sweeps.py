"""How large a batch, prompt or answer may be within a budget: foreseen by two runs, tried, bisected. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_RUNS = 24
"""Of one sweep: a bisection of a million takes twenty."""

LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Tried:
    """``peak``: bytes; None: it was more than the budget."""

    value: int
    peak: int | None


def following(tried: Sequence[Tried], start: int, budget: int) -> int | None:
    """Return the value to try next; None: the largest that fits is known, or nothing fits.

    The peak of a request is a straight line of its batch, and nearly one of its tokens: the line through the
    two largest that fitted says where the budget ends. What is foreseen is tried, never believed.
    """
    fits = sorted((each for each in tried if each.peak is not None), key=lambda each: each.value)
    fails = min((each.value for each in tried if each.peak is None), default=LARGEST + 1)
    if not fits:
        smaller = start if not tried else fails // 2
        return smaller or None
    largest = fits[-1].value
    if largest + 1 >= fails or len(tried) >= MOST_RUNS:
        return None
    foreseen = 2 * largest if len(fits) < 2 else _foreseen(fits[-2], fits[-1], budget)
    if any(each.peak is None for each in tried) and not largest < foreseen < fails:
        foreseen = (largest + fails) // 2
    return min(max(foreseen, largest + 1), fails - 1)


def _foreseen(first: Tried, second: Tried, budget: int) -> int:
    """Return the largest value whose peak lies within the budget, by the line through both."""
    rise = ((second.peak or 0) - (first.peak or 0)) / (second.value - first.value)
    if rise <= 0:
        return 2 * second.value
    return second.value + int((budget - (second.peak or 0)) / rise)


def largest(tried: Sequence[Tried]) -> Tried | None:
    """Return the largest that fitted; None: nothing did."""
    return max((each for each in tried if each.peak is not None), key=lambda each: each.value, default=None)
