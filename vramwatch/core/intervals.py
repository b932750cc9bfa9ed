"""95 % confidence intervals of counts, shares and medians, without scipy."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TAIL = 0.025  # on each side of a 95 % interval
_HALVINGS = 60  # of the interval searched: beyond the precision of a float


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


def poisson(count: int, exposure: float) -> Interval:
    """Return the exact interval of the rate behind ``count`` events in ``exposure`` (Garwood 1936)."""
    most = 4.0 * count + 20.0
    low = _solve(lambda mean: 1 - _poisson_at_most(count - 1, mean), TAIL, most) if count else 0.0
    high = _solve(lambda mean: -_poisson_at_most(count, mean), -TAIL, most)
    return Interval(low / exposure, high / exposure)


def share(hits: int, of: int) -> Interval:
    """Return the exact interval of the share behind ``hits`` out of ``of`` (Clopper and Pearson 1934)."""
    if not of:
        return Interval(0.0, 1.0)
    low = _solve(lambda p: 1 - _binomial_at_most(hits - 1, of, p), TAIL, 1.0) if hits else 0.0
    high = _solve(lambda p: -_binomial_at_most(hits, of, p), -TAIL, 1.0) if hits < of else 1.0
    return Interval(low, high)


def median(values: Sequence[float]) -> Interval:
    """Return the interval of the median between two order statistics (David and Nagaraja 2003, 7.1).

    Fewer than six values bound no median to 95 %: the interval is then infinite.
    """
    ordered = sorted(values)
    count = len(ordered)
    below = 0
    while _binomial_at_most(below, count, 0.5) <= TAIL:
        below += 1
    if not below:
        return Interval(-math.inf, math.inf)
    return Interval(ordered[below - 1], ordered[count - below])


def _poisson_at_most(count: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _binomial_at_most(hits: int, of: int, p: float) -> float:
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if hits >= of else 0.0
    return math.fsum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(hits + 1))


def _solve(rising: Callable[[float], float], value: float, most: float) -> float:
    """Return where ``rising``, between 0 and ``most``, takes ``value``; by bisection."""
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) < value:
            low = middle
        else:
            high = middle
    return (low + high) / 2
