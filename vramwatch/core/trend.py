"""Whether a series rises, and how fast: rank statistics that a spike or a single step does not distort.

GPU memory moves in quanta and is exactly flat in between, so ties are the rule and everything here is
corrected for them. Values are bytes (any unit will do: ranks do not care), times are seconds in
ascending order; both are finite. Pure Python: at these lengths importing numpy costs more than it saves.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import copysign, sqrt
from statistics import NormalDist, median

EXACT_UP_TO = 60
"""Samples up to which every pair gives a slope: 1,770 of them, which cost what 1,440 half-lag pairs do."""


@dataclass(frozen=True, slots=True)
class MannKendall:
    """Mann-Kendall's test. ``s``: pairs that rise less pairs that fall; ``z``: in standard errors."""

    s: int
    variance: float
    z: float
    count: int  # samples


@dataclass(frozen=True, slots=True)
class Slope:
    """Bytes a second: the median, and the interval that holds the true slope with the asked confidence."""

    low: float
    median: float
    high: float
    count: int  # samples


def mann_kendall(values: Sequence[float]) -> MannKendall:
    """Return Mann-Kendall's test of ``values`` in their order, which may be empty. No errors.

    z above 0 is a rise; with independent samples it is standard normal without a trend. A series that is
    exactly flat, or has fewer than two samples, has z = 0.
    Source: Kendall, Rank Correlation Methods (1975): variance corrected for ties, continuity correction.
    """
    s = _rises_less_falls(values)
    return _test(s, _variance(len(values), values), len(values))


def theil_sen(times: Sequence[float], values: Sequence[float], confidence: float = 0.8) -> Slope | None:
    """Return the Theil-Sen slope of ``values`` over ``times`` with its ``confidence`` interval (0..1).

    None: there are no two samples at different times. Up to EXACT_UP_TO samples all pairs are taken;
    above, each sample is paired once with the one half the series later: O(n log n), a standard error
    1.4 times that of all pairs, and a breakdown point of 25 % against 29 %.
    The interval supposes independent residuals: hand in valleys or block minima, not every poll. Growth
    of less than one quantum within half the series has most pairs tied, and the slope 0.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968),
    with the variance of ``mann_kendall`` also corrected for equal times. The half-lag pairs
    share no sample, so theirs is the sign test's: a variance of one for each pair.
    Errors: ValueError when the lengths differ.
    """
    count = len(values)
    points = list(zip(times, values, strict=True))
    if count <= EXACT_UP_TO:
        slopes = sorted(_slopes(combinations(points, 2)))
        variance = _variance(count, values, times)
    else:
        half = count - count // 2
        slopes = sorted(_slopes(zip(points, points[half:], strict=False)))
        variance = float(len(slopes))
    if not slopes:
        return None
    return _bounded(slopes, variance, confidence, count)


def seasonal_slope(
    index: Sequence[int], values: Sequence[float], period: int, confidence: float = 0.8
) -> Slope | None:
    """Return how fast ``values`` rise for each step of ``index`` (ascending), by whole periods alone.

    The slope of two periods is the median of those between samples that are whole periods apart, so that
    what comes and goes with the period cancels; of all pairs of periods the median is taken. The
    interval is that of ``theil_sen``, of the periods and not of their samples, which hang together.
    Periods are counted back from the newest sample. None: fewer than three have half of their samples in
    common. Source: Hirsch, Slack and Smith, "Techniques of trend analysis for monthly water quality
    data", Water Resources Research 18 (1982); on samples that hang together Hirsch and Slack, same 20 (1984).
    """
    known = dict(zip(index, values, strict=True))
    if not known or (newest := index[-1]) - index[0] < 3 * period - 1:
        return None
    periods = [
        [known.get(at) for at in range(newest - period * (back + 1) + 1, newest - period * back + 1)]
        for back in range((newest - index[0] + 1) // period)
    ]
    slopes = []
    for (later, new), (earlier, old) in combinations(enumerate(periods), 2):
        rises = [b - a for a, b in zip(old, new, strict=True) if a is not None and b is not None]
        if 2 * len(rises) >= period:
            slopes.append(median(rises) / (period * (earlier - later)))
    if len(slopes) < 3:
        return None
    return _bounded(sorted(slopes), _variance(len(periods)), confidence, len(values))


def _bounded(slopes: Sequence[float], variance: float, confidence: float, count: int) -> Slope:
    """Return the median of ascending ``slopes`` with Sen's interval; ``variance``: of Kendall's S."""
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(variance)
    low = max(round((len(slopes) - reach) / 2) - 1, 0)
    high = min(round((len(slopes) + reach) / 2), len(slopes) - 1)
    return Slope(slopes[low], median(slopes), slopes[high], count)


def _slopes(pairs: Iterable[tuple[tuple[float, float], tuple[float, float]]]) -> list[float]:
    return [(v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in pairs if t2 > t1]


def _rises_less_falls(values: Sequence[float]) -> int:
    """Return Kendall's S: each value is looked up among its predecessors, which are kept in order."""
    before: list[float] = []
    s = 0
    for count, value in enumerate(values):
        below = bisect_left(before, value)
        not_above = bisect_right(before, value, below)
        s += below - (count - not_above)
        before.insert(not_above, value)
    return s


def _variance(count: int, *tied: Sequence[float]) -> float:
    """Return the variance of S for ``count`` samples, less what the ties in each of ``tied`` take."""
    ties = (t for values in tied for t in Counter(values).values() if t > 1)
    return (_term(count) - sum(map(_term, ties))) / 18


def _term(n: int) -> int:
    return n * (n - 1) * (2 * n + 5)


def _test(s: int, variance: float, count: int) -> MannKendall:
    z = (s - copysign(1, s)) / sqrt(variance) if s and variance > 0 else 0.0
    return MannKendall(s, variance, z, count)
