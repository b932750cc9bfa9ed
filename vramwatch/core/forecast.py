"""Forecasts when memory runs out, with an interval, or says why there is no forecast."""

from dataclasses import dataclass
from enum import StrEnum
from math import exp, hypot, inf, log

from vramwatch.core.peaks import FARTHEST, Swing
from vramwatch.core.saturation import LEAST_SAMPLES, Plateau, Saturation, Shape
from vramwatch.core.trend import Slope

WIDEST = 10.0
"""Of an interval, on the logarithm: beyond 22,000 times the wait nothing is said any more."""


class Reason(StrEnum):
    """Why there is no forecast."""

    THIN = "thin_evidence"  # too few samples to tell a line from a curve that comes to rest
    NOT_GROWING = "not_growing"  # the interval of the slope does not lie above 0
    FITS = "saturates_below_capacity"
    MAY_FIT = "may_saturate_below_capacity"  # the plateau's interval holds the capacity
    SLOWING = "slowing_without_plateau"  # where it will come to rest cannot be told yet
    FAR = "farther_than_a_year"
    NO_RATE = "no_growth_over_time"  # a spike, an accident, bytes left behind once
    NO_CAPACITY = "capacity_unknown"  # nobody tells how large the pool is


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """When the capacity is reached, in the time of ``now``: 80 % of outcomes lie from low to high."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Abstention:
    reason: Reason


@dataclass(frozen=True, slots=True)
class Straight:
    """Growth along a line. ``wait``: seconds to exhaustion, the median.

    ``sooner``, ``later``: how far the interval reaches to either side, on the logarithm of the wait.
    """

    wait: float
    sooner: float
    later: float

    def told(self, now: float, widening: float) -> Exhaustion:
        """Return it as of ``now``, its interval ``widening`` times as wide on the logarithm."""
        late = min(self.wait * exp(min(self.later * widening, WIDEST)), max(self.wait, FARTHEST))
        return Exhaustion(now + self.wait, now + self.wait * exp(-self.sooner * widening), now + late)


def straight(now: float, swing: Swing, capacity: float, slope: Slope) -> Straight | Abstention:
    """Return when growth along ``slope`` reaches ``capacity`` bytes at a peak of the load, as Swing has it.

    What the peaks and what the slope leave open have nothing to do with each other: on the logarithm of
    the time left their shares add as squares. Errors: none.
    """
    if slope.low <= 0:
        return Abstention(Reason.NOT_GROWING)
    if capacity - max(swing.peaks) > FARTHEST * slope.median:
        return Abstention(Reason.FAR)
    waits = swing.waits(now, slope.median, capacity)
    if waits.median >= FARTHEST:
        return Abstention(Reason.FAR)
    return Straight(
        waits.median,
        hypot(log(waits.median / waits.early), log(slope.high / slope.median)),
        hypot(log(waits.late / waits.median), log(slope.median / slope.low)),
    )


def exhaustion(
    now: float, level: float, capacity: float, slope: Slope | None, saturation: Saturation | None
) -> Exhaustion | Abstention:
    """Return when growth from ``level`` bytes at ``now`` (seconds) reaches ``capacity`` bytes. No errors.

    Straight growth takes the room left through the slope and its interval, which is handed in with 80 %
    confidence; growth to a plateau above the capacity takes the exponential's way there, from the
    plateau and its interval. ``level`` is what must fit: floor and load together, where load swings.
    ``slope`` None, like a short one, is thin evidence; ``saturation`` None leaves the straight line.
    A capacity that is reached already is exhausted now.
    """
    if level >= capacity:
        return Exhaustion(now, now, now)
    if slope is None or slope.count < LEAST_SAMPLES:
        return Abstention(Reason.THIN)
    if slope.low <= 0:
        return Abstention(Reason.NOT_GROWING)
    if saturation and saturation.shape is Shape.SATURATING:
        return _curved(now, level, capacity, saturation.plateau)
    room = capacity - level
    return _bounded(now, room / slope.median, room / slope.high, room / slope.low)


def _curved(now: float, level: float, capacity: float, plateau: Plateau | None) -> Exhaustion | Abstention:
    if plateau is None:
        return Abstention(Reason.SLOWING)
    if plateau.high <= capacity:
        return Abstention(Reason.FITS)
    if plateau.low <= capacity:
        return Abstention(Reason.MAY_FIT)

    def wait(height: float) -> float:
        # dy/dt = (height - y) / time constant, solved for y = capacity
        return plateau.time_constant * log((height - level) / (height - capacity))

    return _bounded(now, wait(plateau.value), wait(plateau.high), wait(plateau.low))


def _bounded(now: float, wait: float, soonest: float, latest: float) -> Exhaustion | Abstention:
    if wait > FARTHEST:
        return Abstention(Reason.FAR)
    return Exhaustion(now + wait, now + soonest, now + latest)


def seconds_left(forecast: Exhaustion | Abstention, now: float) -> tuple[float, float]:
    """Return the seconds to the early bound and to the median of exhaustion; inf where it abstains."""
    if isinstance(forecast, Abstention):
        return (inf, inf)
    return (forecast.low - now, forecast.at - now)
