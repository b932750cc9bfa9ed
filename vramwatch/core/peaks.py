"""When growth and the peaks of the load together reach the capacity, if the load repeats itself.

Memory runs out at a peak, not at the floor. Past peaks, each raised by the growth since then, are what every
later stretch may bring; once a day has been seen, the peaks of about the same time of day. The chance that
a stretch reaches the capacity is the share of these that would, and the chances of successive stretches give
the distribution of the time of exhaustion: a product-limit estimate (Kaplan and Meier, JASA 53, 1958).
"""

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

EARLY, MEDIAN, LATE = 0.9, 0.5, 0.1
"""The shares that have not been exhausted yet: the two outer ones hold 80 % between them."""

DAY = 86_400.0

FARTHEST = 365 * DAY
"""Seconds. What lies beyond a year will not come from a trend of hours or days."""

BY_STRETCH = 7 * 24
"""Stretches that are told apart by their time of day; later the time left is days and weeks."""

BESIDE = 1
"""Stretches to each side of the same time of day whose peaks count as well: load is never quite on time."""

FEWEST = 3
"""Peaks of one time of day that say what it brings; with fewer, all peaks of any time do."""

KERNEL = 1.06 * sqrt(3)
"""Half the width of a uniform kernel, in standard deviations times n^(-1/5): Silverman's rule (Density
Estimation, 1986, 3.4.2), whose 1.06 is a kernel's own standard deviation."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds until the capacity is reached: the median, and the interval that holds it with 80 %."""

    early: float
    median: float
    late: float


@dataclass(frozen=True, slots=True)
class Swing:
    """Peaks of a load, oldest first, at least one, each lifted by what has grown since: bytes.

    ``starts``: when the stretch of each began, seconds; each lasts ``span``.
    """

    starts: Sequence[float]
    peaks: Sequence[float]
    span: float

    def waits(self, now: float, rate: float, capacity: float) -> Waits:
        """Return when growth at ``rate`` bytes a second, above 0, lifts the peaks to ``capacity`` bytes."""
        likely = _Likely(self)
        left = 1.0
        passed: list[float] = []
        first = max(0.0, (capacity - max(self.peaks) - likely.play) / rate)
        for begin, end in _stretches(now, first, self.span):
            least = capacity - rate * (begin + end) / 2
            chance = likely.reaching(now + begin, least) if end - begin <= self.span else likely.ever(least)
            after = left * (1 - chance) ** ((end - begin) / self.span)
            passed += _crossings(left, after, begin, end)
            if after <= LATE:
                break
            left = after
        early, median, late = [*passed, *[FARTHEST] * 3][:3]
        return Waits(early, median, late)


def _stretches(now: float, first: float, span: float) -> Iterator[tuple[float, float]]:
    """Yield begin and end of every stretch from ``first`` on, seconds from ``now``, up to FARTHEST.

    After the first BY_STRETCH whole days are taken together.
    """
    begin, end = first, ((now + first) // span + 1) * span - now
    for count in itertools.count(1):
        if begin >= FARTHEST:
            return
        yield begin, max(begin, end)
        begin, end = max(begin, end), end + (span if count < BY_STRETCH else DAY)


def _crossings(before: float, after: float, begin: float, end: float) -> Iterator[float]:
    """Yield when each of the three shares is crossed on the way, where it is."""
    for share in (EARLY, MEDIAN, LATE):
        if after <= share < before:
            yield begin + (end - begin) * (before - share) / (before - after)


class _Likely:
    """What a stretch at any time of day may bring: peaks of about that time, come higher or lower.

    ``play``: by how much at most, as likely as not by any of it.
    """

    def __init__(self, swing: Swing) -> None:
        self._span = swing.span
        self._all = sorted(swing.peaks)
        self._at: dict[int, list[float]] = {}
        self._count = max(1, round(DAY / swing.span))
        if swing.starts[-1] + swing.span - swing.starts[0] >= DAY:
            for start, peak in zip(swing.starts, swing.peaks, strict=True):
                place = int(start // self._span)
                for near in range(place - BESIDE, place + BESIDE + 1):
                    self._at.setdefault(near % self._count, []).append(peak)
        for each in self._at.values():
            each.sort()
        groups = [each for each in self._at.values() if len(each) >= FEWEST] or [self._all]
        size = sum(map(len, groups)) / len(groups)
        variance = sum(map(_variance, groups)) / len(groups)
        self.play = KERNEL * sqrt(variance) * size**-0.2

    def reaching(self, time: float, least: float) -> float:
        """Return the chance that a peak of about this time of day is ``least`` bytes or more."""
        known = self._at.get(int(time // self._span) % self._count, ())
        return self._chance(known if len(known) >= FEWEST else self._all, least)

    def ever(self, least: float) -> float:
        """Return the same of a peak of any time."""
        return self._chance(self._all, least)

    def _chance(self, peaks: Sequence[float], least: float) -> float:
        surely = bisect_left(peaks, least + self.play)
        perhaps = bisect_left(peaks, least - self.play, 0, surely)
        above = sum(peaks[perhaps:surely]) - (surely - perhaps) * (least - self.play)
        return (len(peaks) - surely + (above / (2 * self.play) if self.play > 0 else 0.0)) / len(peaks)


def _variance(values: Sequence[float]) -> float:
    """Return the variance, as floats have it: statistics.pvariance is exact, and takes ten times as long."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values)
