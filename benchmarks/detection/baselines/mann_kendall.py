"""The strict trend test: Mann-Kendall over a long window, with a least slope.

Mann (1945), Kendall (1975); the variance with Kendall's correction for ties. S is kept up to date as
samples enter and leave, so that a sample costs two look-ups in the sorted window.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.detection.baselines.line import FULL, SlidingLine
from benchmarks.detection.cases import HOUR
from benchmarks.detection.recordings import MIB, Sample


@dataclass(slots=True)
class MannKendall:
    """``window`` seconds; fires above ``z`` where the line rises ``slope`` MiB per hour or more."""

    window: float
    z: float
    slope: float
    _line: SlidingLine = field(init=False)
    _ordered: list[float] = field(default_factory=list)
    _ties: Counter[float] = field(default_factory=Counter)
    _tied: int = 0  # the sum over groups of ties of t(t-1)(2t+5)
    _s: int = 0

    def __post_init__(self) -> None:
        self._line = SlidingLine(self.window)

    def fires(self, sample: Sample) -> bool:
        value = float(sample.used // MIB)
        left = self._line.add(sample.time, value)
        self._s += self._below(value) - self._above(value)
        insort(self._ordered, value)
        self._tie(value, 1)
        for old in left:
            self._s -= self._above(old) - self._below(old)
            del self._ordered[bisect_left(self._ordered, old)]
            self._tie(old, -1)
        if self._line.span < FULL * self.window or self._line.slope * HOUR < self.slope:
            return False
        return self._score() > self.z

    def _score(self) -> float:
        count = len(self._ordered)
        variance = (count * (count - 1) * (2 * count + 5) - self._tied) / 18
        return (self._s - 1) / math.sqrt(variance) if variance > 0 and self._s > 0 else 0.0

    def _below(self, value: float) -> int:
        return bisect_left(self._ordered, value)

    def _above(self, value: float) -> int:
        return len(self._ordered) - bisect_right(self._ordered, value)

    def _tie(self, value: float, change: int) -> None:
        before = self._ties[value]
        after = before + change
        self._tied += _weight(after) - _weight(before)
        if after:
            self._ties[value] = after
        else:
            del self._ties[value]


def _weight(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)
