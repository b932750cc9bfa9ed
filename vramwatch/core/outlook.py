"""Forecast for a window: how fast it grows, since when, and under which load."""

from vramwatch.core.floors import WARM_UP, slowing
from vramwatch.core.forecast import Abstention, Exhaustion, Reason, Straight, exhaustion, straight
from vramwatch.core.lanes import DAY, HOUR, MINUTE, Lane, Points
from vramwatch.core.peaks import Swing
from vramwatch.core.saturation import LEAST_SAMPLES, Saturation, Shape
from vramwatch.core.trend import Slope, seasonal_slope
from vramwatch.core.units import MIB
from vramwatch.core.verdicts import Rate
from vramwatch.core.windows import Window

HOURS_A_DAY = 24

WEEK = 7 * DAY
"""Seconds of the past that say how fast memory grows and what the load brings."""

ONSET_TOLERANCE, ONSET_SHARE = 64 * MIB, 0.12
"""How far above the line of its growth a floor at rest may lie, before growth had not begun yet there."""

Forecast = Exhaustion | Abstention


def by_days(window: Window, rate: Rate) -> Rate:
    """Return the rate by whole days, which have every load; ``rate`` where they cannot tell that it grows.

    At least three days of the growth that was found at ``rate`` are needed.
    """
    lane = window.used
    settled = max(lane.time - window.age + HOUR, onset(lane, rate.median), lane.time - WEEK)
    start = lane.hours.since(settled)
    slope = seasonal_slope(lane.hours.index[start:], lane.hours.low[start:], HOURS_A_DAY)
    if slope is None or slope.low <= 0:
        return rate
    return Rate(slope.low / HOUR, slope.median / HOUR, slope.high / HOUR)


def outlook(
    window: Window, rate: Rate | None, curve: Saturation | None, is_urgent: bool, widening: float
) -> Forecast:
    """Return when what grows in ``window`` at ``rate``, along ``curve``, exhausts the memory.

    ``widening``: of the interval of straight growth, on the logarithm of the time left.
    """
    if rate is None:
        return Abstention(Reason.NO_RATE)
    if not window.is_bounded:
        return Abstention(Reason.NO_CAPACITY)
    lane, capacity, slope = window.used, window.capacity - window.taken, slope_of(rate)
    if is_urgent:
        return exhaustion(window.now, _recent_peak(lane), capacity, slope, curve)
    if not is_straight(curve):
        level = projected_peak(lane, rate.median)
        swing = max(0.0, level - lane.last) if curve is not None and curve.plateau is not None else 0.0
        return exhaustion(window.now, level - swing, capacity - swing, slope, curve)
    if lane.last >= capacity:
        return Exhaustion(window.now, window.now, window.now)
    told = straight(window.now, swing_of(lane, rate.median), capacity, slope)
    return told.told(window.now, widening) if isinstance(told, Straight) else told


def is_straight(curve: Saturation | None) -> bool:
    """Return whether nothing says that growth slows down."""
    return curve is None or curve.shape is not Shape.SATURATING


def slope_of(rate: Rate) -> Slope:
    """Return ``rate`` as a slope that enough samples stand behind: its pattern has seen to that."""
    return Slope(rate.low, rate.median, rate.high, LEAST_SAMPLES)


def _recent_peak(lane: Lane) -> float:
    """Return the most that was held within the last minute."""
    return max(*lane.moments.high[lane.moments.since(lane.time - MINUTE) :], lane.high, lane.last)


def projected_peak(lane: Lane, rate: float) -> float:
    """Return what the highest peak of the last day would reach now, had it come now.

    It counts for what has grown since at ``rate`` bytes a second, as far back as the floor shows growth.
    """
    since = max(lane.time - DAY, onset(lane, rate))
    level = max(lane.high, lane.last)
    for envelope in (lane.minutes, lane.hours):
        for place in range(envelope.since(lane.time - DAY), len(envelope)):
            ended = (envelope.index[place] + 1) * envelope.span
            level = max(level, envelope.high[place] + rate * max(0.0, lane.time - max(ended, since)))
    return level


def swing_of(lane: Lane, rate: float) -> Swing:
    """Return the peaks of every hour of the last week, or of every ten minutes of a life of hours."""
    envelope, size = (lane.hours, 1) if lane.time - lane.began >= DAY else (lane.minutes, 10)
    span = envelope.span * size
    since = onset(lane, rate)
    lifted: dict[float, float] = {}
    for place in range(envelope.since(lane.time - WEEK), len(envelope)):
        start = envelope.index[place] // size * span
        ended = (envelope.index[place] + 1) * envelope.span
        peak = envelope.high[place] + rate * max(0.0, lane.time - max(ended, since))
        lifted[start] = max(peak, lifted.get(start, peak))
    latest = max(lane.high, lane.last)
    if latest > max(lifted.values(), default=0.0):
        lifted[lane.time // span * span] = latest
    return Swing(tuple(lifted), tuple(lifted.values()), span)


def onset(lane: Lane, rate: float) -> float:
    """Return since when the floor at rest has risen at ``rate`` bytes a second, by its points; else long ago.

    As in ``floors.slowing``, a point counts as what memory never went below afterwards.
    """
    points = lane.rests
    if len(points) < 3:
        return lane.began
    kept = min(points.value[-2:])
    last, level = points.time[-2], kept
    since = last
    for place in range(len(points) - 2, -1, -1):
        back = last - points.time[place]
        kept = min(kept, points.value[place])
        if kept - (level - rate * back) > max(ONSET_TOLERANCE, ONSET_SHARE * rate * back):
            break
        since = points.time[place]
    return since


def curve_of(window: Window) -> Saturation | None:
    """Return whether the floor slows down, over work where it is known. None: too little to say."""
    lane = window.used
    warm = max(lane.time - window.age + WARM_UP / 3, lane.began)
    for floor in (_rests, _valleys, _least):
        times, works, values = floor(lane).since(warm)
        if len(values) >= LEAST_SAMPLES:
            return slowing(times, works, values)
    return None


def _rests(lane: Lane) -> Points:
    return lane.rests


def _valleys(lane: Lane) -> Points:
    return lane.valleys.least_of(3)


def _least(lane: Lane) -> Points:
    """Return the least of every ten minutes of the last half day, or of every hour of a longer life."""
    return lane.minutes.least_of(10) if lane.time - lane.began <= 12 * HOUR else lane.hours.least_of(1)
