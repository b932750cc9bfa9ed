"""From which to which value an axis goes, so that the values on it are round."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from vramwatch.core.units import KIB

_ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
"""Parts of a power of ten that people read easily, close enough together to waste little of a panel."""

SMALLEST_SHARE = 0.05
"""Of its largest value: an axis spans no less, or the noise of a quiet series would fill it."""

FROM_ZERO = 0.5
"""A series whose smallest value is below this share of its largest has its axis begin at zero."""


@dataclass(frozen=True, slots=True)
class Scale:
    low: float
    high: float

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    def share(self, value: float) -> float:
        """Return where ``value`` stands: 0 at ``low``, 1 at ``high``."""
        return (value - self.low) / (self.high - self.low)


def scale(lowest: float, highest: float, quantity: str) -> Scale:
    """Return a Scale that holds both values, with round ends and a round middle in ``quantity``'s unit."""
    if 0 < lowest < FROM_ZERO * highest:
        lowest = 0.0
    lowest = min(lowest, highest - SMALLEST_SHARE * abs(highest))
    for half in _halves(quantity):
        low = lowest // half * half
        if low + 2 * half >= highest:
            return Scale(low, low + 2 * half)
    raise ValueError(f"{highest} is not finite")


def _halves(quantity: str) -> Iterator[float]:
    """Yield round spans in ascending order; bytes are round in KiB, MiB and so on."""
    if quantity.endswith("_bytes"):
        for unit in count():
            for ten in (1, 10, 100):
                yield from (part * ten * KIB**unit for part in _ROUND)
    else:
        for power in count(-3):
            yield from (part * 10.0**power for part in _ROUND)
