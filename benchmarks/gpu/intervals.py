"""How sure a difference is that was measured in pairs. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

LEVEL = 0.95

FEWEST = 6
"""Pairs below which no interval is told: with fewer, one odd pair makes it."""

_T = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
    12: 2.179, 15: 2.131, 20: 2.086, 25: 2.060, 30: 2.042, 40: 2.021, 60: 2.000, 120: 1.980,
}  # fmt: skip
"""Degrees of freedom -> the 97.5 % quantile of Student's t (NIST/SEMATECH e-Handbook, 1.3.6.7.2)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A change in percent, with its interval at LEVEL. ``pairs``: what it rests on."""

    change: float
    low: float
    high: float
    pairs: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def resolves(self, percent: float) -> bool:
        """Return whether the interval is narrow enough to tell ``percent`` from nothing."""
        return self.half_width <= percent / 2

    def show(self) -> str:
        if self.pairs < FEWEST:
            return f"{self.change:+.2f} % (no interval of {self.pairs} pairs)"
        return f"{self.change:+.2f} % ({self.low:+.2f} to {self.high:+.2f}, {self.pairs} pairs)"


def paired(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Return by how much the second of each pair differs from the first: of the mean of the log ratios.

    Student's interval over pairs: what both of a pair have in common, such as the clocks of a warm GPU,
    cancels. Without FEWEST pairs it is unbounded. Errors: ValueError for a value that is not above 0.
    """
    logs = [log(second / first) for first, second in pairs if _is_positive(first, second)]
    count = len(logs)
    if count == 0:
        return Interval(0.0, -inf, inf, 0)
    mean = statistics.fmean(logs)
    if count < FEWEST:
        return Interval(_percent(mean), -inf, inf, count)
    half = t_quantile(count - 1) * statistics.stdev(logs) / sqrt(count)
    return Interval(_percent(mean), _percent(mean - half), _percent(mean + half), count)


def t_quantile(freedom: int) -> float:
    """Return the quantile of the next smaller degree of freedom in the table: never too narrow.

    Errors: ValueError below 1.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom; an interval takes at least two pairs")
    return _T[max(each for each in _T if each <= freedom)]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest of ``values`` below which ``share`` of them lies. Errors: ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _is_positive(first: float, second: float) -> bool:
    if first <= 0 or second <= 0:
        raise ValueError(f"{first}, {second}: a ratio is of values above 0")
    return True


def _percent(of_log: float) -> float:
    return 100 * (exp(of_log) - 1)
