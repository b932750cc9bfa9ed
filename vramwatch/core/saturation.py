"""Decides whether growth is a straight line or levels off: a leak, or a cache that fills.

A series is fitted by least squares as level, straight line, exponential approach or steady ramp to a
plateau, logarithm, and warm-up followed by a line; Schwarz's criterion (BIC) chooses. The time constants
are searched for, everything else has a closed form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, exp, inf, log, log1p, sqrt
from operator import attrgetter, mul
from statistics import NormalDist, median

from vramwatch.core.units import MIB

LEAST_SAMPLES = 8
"""Fewer cannot tell a curve of three parameters and a scatter from a line."""

MOST_POINTS = 90
"""A longer series is judged by the medians of at most so many blocks: bounds the cost, drops spikes."""

QUANTUM = 2 * MIB
"""The driver's step: rounding to it leaves a variance of QUANTUM² / 12, and no fit counts as closer."""

LIKENESS = 0.003
"""Nor as closer than this share of the range (root mean square): no cache fills exactly exponentially."""

DECISIVE = 10.0
"""The BIC by which a curve must beat the line: "very strong" in Kass & Raftery, JASA 90 (1995), 3.2."""

TIME_CONSTANTS = tuple(0.03 * 1.7**i for i in range(9))
"""Tried for the exponential, as shares of the span: from 0.03 (a step) to 2.1 (a line, to the eye)."""

RAMPS = tuple(0.05 * 1.7**i for i in range(6))
"""Tried for the ramp, as shares of the span in which it rises: up to 0.71, so that it rests for a while."""

HALVINGS = 5
"""So often the steps between those tried are halved around the best, which is then known to 1.7 %."""

LOG_TIME_CONSTANTS = (0.003, 0.01, 0.03, 0.1, 0.3)
"""Tried for the logarithm, as shares of the span; its shape changes slowly with them."""

WARM_UP = 0.2
"""A warm-up before a line has a time constant of at most this share; a longer one would be the growth."""

PLATEAU_QUANTILE = NormalDist().inv_cdf(0.9) ** 2
"""By which twice the log likelihood may fall within an 80 % interval: chi-squared with one parameter."""

PARAMETERS = 3
"""Of every slowing curve: where it starts, how far it goes, how fast."""

SAME_LINE = 1e-9
"""Two regressors whose squared correlation is this close to 1 cannot be told apart."""


_Curve = Callable[[Sequence[float], float], list[float]]  # shares of the span, time constant -> 0 towards 1


class Shape(StrEnum):
    FLAT = "flat"
    LINEAR = "linear"
    SATURATING = "saturating"


@dataclass(frozen=True, slots=True)
class Plateau:
    """Where growth comes to rest: bytes, their 80 % interval.

    ``time_constant``: seconds in which an exponential comes 63 % closer, or a steady ramp arrives.
    """

    low: float
    value: float
    high: float
    time_constant: float


@dataclass(frozen=True, slots=True)
class Saturation:
    """How a series grows.

    ``evidence``: BIC of the straight line less BIC of the best slowing curve; above 0 it slows, from
    DECISIVE on it may be called saturating. ``plateau`` None: there is none, or the series slows down
    and cannot say yet where it will end.
    """

    shape: Shape
    evidence: float
    plateau: Plateau | None = None


def saturation(times: Sequence[float], values: Sequence[float]) -> Saturation | None:
    """Return the shape of ``values`` (bytes) over ascending ``times`` (seconds): one life, no restart within.

    None: fewer than LEAST_SAMPLES, or no time passes between them. Saturating is said of growth alone: a
    fall that slows is linear. Residuals of memory hang together, so the criterion counts
    n (1 - r) / (1 + r) samples, r being their lag-1 autocorrelation (Bayley & Hammersley 1946). The
    plateau's interval is its profile likelihood.
    Source: Schwarz, "Estimating the dimension of a model", Annals of Statistics 6 (1978).
    Errors: ValueError when the lengths differ.
    """
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times for {len(values)} values; every value needs its time")
    times, values = _thinned(times, values)
    if len(values) < LEAST_SAMPLES or times[-1] <= times[0]:
        return None
    points = _points(times, values)
    line = _fit(points, points.shares)
    exponentials = _tried(points, _exponential, TIME_CONSTANTS, HALVINGS)
    ramps = _tried(points, _ramp, RAMPS, HALVINGS)
    logarithms = _tried(points, _logarithm, LOG_TIME_CONSTANTS)
    slowing = [fit for fit in (*exponentials, *ramps, *logarithms) if fit.gain > 0]
    worth = _independent(_residuals(points, min((line, *slowing), key=_squares)))

    def bic(squares: float, parameters: int) -> float:
        return worth * log(max(squares, points.scatter)) + parameters * log(worth)

    level = bic(points.power, 1)
    straight = bic(line.squares, 2)
    curved = bic(_least(slowing or [line]), PARAMETERS)
    warm_ups = [fit for fit in exponentials if fit.constant <= WARM_UP]
    warmed = bic(min(_with_line(line, fit) for fit in warm_ups), PARAMETERS + 1)
    evidence = straight - curved
    if evidence >= DECISIVE and curved <= warmed:
        approaches = min(exponentials, ramps, key=_least)
        is_bounded = _least(approaches) <= _least(logarithms)
        plateau = _plateau(points, approaches, worth) if is_bounded else None
        return Saturation(Shape.SATURATING, evidence, plateau)
    return Saturation(Shape.FLAT if level <= min(straight, warmed) else Shape.LINEAR, evidence)


@dataclass(frozen=True, slots=True)
class _Points:
    """At most MOST_POINTS samples: when, as shares of the span (0..1), and bytes above their mean."""

    shares: list[float]
    rises: list[float]
    span: float  # seconds
    mean: float  # bytes
    power: float  # sum of the rises' squares
    scatter: float  # bytes squared: no fit counts as leaving less over, in all


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares of the bytes by one regressor, which is given less its mean."""

    squares: float  # left over, bytes squared
    gain: float  # bytes a unit of the regressor
    regressor: list[float]
    mean: float
    power: float  # sum of the regressor's squares
    constant: float = 0.0  # the time constant it was made with, as a share of the span


def _thinned(times: Sequence[float], values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return the medians of at most MOST_POINTS blocks; a series that is not longer, as it is."""
    size = ceil(len(values) / MOST_POINTS)
    if size <= 1:
        return times, values
    blocks = [slice(start, start + size) for start in range(0, len(values), size)]
    return [median(times[block]) for block in blocks], [median(values[block]) for block in blocks]


def _points(times: Sequence[float], values: Sequence[float]) -> _Points:
    span = times[-1] - times[0]
    mean = sum(values) / len(values)
    rises = [value - mean for value in values]
    least = max(QUANTUM / sqrt(12), LIKENESS * (max(values) - min(values)))
    return _Points(
        shares=[(time - times[0]) / span for time in times],
        rises=rises,
        span=span,
        mean=mean,
        power=_dot(rises, rises),
        scatter=len(values) * least**2,
    )


def _fit(points: _Points, regressor: list[float], constant: float = 0.0) -> _Fit:
    mean = sum(regressor) / len(regressor)
    centred = [x - mean for x in regressor]
    power = _dot(centred, centred)
    shared = _dot(centred, points.rises)
    return _Fit(max(0.0, points.power - shared**2 / power), shared / power, centred, mean, power, constant)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the sum of the products of two sequences, as far as the shorter goes."""
    return float(sum(map(mul, one, other)))


def _squares(fit: _Fit) -> float:
    return fit.squares


def _least(fits: Sequence[_Fit]) -> float:
    return min(map(_squares, fits))


def _exponential(shares: Sequence[float], constant: float) -> list[float]:
    return [1 - exp(-share / constant) for share in shares]


def _ramp(shares: Sequence[float], constant: float) -> list[float]:
    return [share / constant if share < constant else 1.0 for share in shares]


def _logarithm(shares: Sequence[float], constant: float) -> list[float]:
    return [log1p(share / constant) for share in shares]


def _tried(points: _Points, curve: _Curve, constants: Sequence[float], halvings: int = 0) -> list[_Fit]:
    """Return the fits of ``curve`` that were tried, by time constant; the closest is among them."""

    def fit(constant: float) -> _Fit:
        return _fit(points, curve(points.shares, constant), constant)

    fits = [fit(constant) for constant in constants]
    best = min(fits, key=_squares)
    ratio = constants[1] / constants[0]
    for _ in range(halvings):
        ratio = sqrt(ratio)
        beside = (best.constant / ratio, best.constant * ratio)
        near = [fit(constant) for constant in beside if constant <= constants[-1]]
        fits += near
        best = min((best, *near), key=_squares)
    return sorted(fits, key=attrgetter("constant"))


def _residuals(points: _Points, fit: _Fit) -> list[float]:
    return [rise - fit.gain * x for rise, x in zip(points.rises, fit.regressor, strict=True)]


def _independent(residuals: list[float]) -> float:
    """Return how many independent samples ``residuals`` are worth, at least 2."""
    power = _dot(residuals, residuals)
    correlation = _dot(residuals, residuals[1:]) / power if power > 0 else 0.0
    correlation = max(0.0, correlation)
    return max(2.0, len(residuals) * (1 - correlation) / (1 + correlation))


def _with_line(line: _Fit, warm_up: _Fit) -> float:
    """Return the squares that ``warm_up`` and a rising ``line`` together leave over; inf if none rises."""
    shared = _dot(line.regressor, warm_up.regressor)
    left = line.power * warm_up.power - shared**2
    if left <= SAME_LINE * line.power * warm_up.power:
        return inf
    line_sum, warm_sum = line.gain * line.power, warm_up.gain * warm_up.power
    slope = (line_sum * warm_up.power - warm_sum * shared) / left
    if slope <= 0:
        return inf
    # What the line explains of the residuals of the warm-up (Frisch-Waugh-Lovell theorem).
    return max(0.0, warm_up.squares - slope**2 * left / warm_up.power)


def _plateau(points: _Points, approaches: list[_Fit], worth: float) -> Plateau | None:
    """Return the plateau of the closest of ``approaches``, by time constant; None if it is not bounded.

    Within an approach the plateau may move until the squares exceed what the likelihood allows; the
    interval is the union over all of them.
    """
    best = min(approaches, key=_squares)
    count = len(points.shares)
    allowed = max(best.squares, points.scatter) * exp(PLATEAU_QUANTILE / max(1.0, worth - PARAMETERS))
    within = [fit for fit in approaches if fit.squares <= allowed]
    if within[-1] is approaches[-1]:
        return None
    lows, highs = [], []
    for fit in within:
        play = sqrt((allowed - fit.squares) * (1 / count + (1 - fit.mean) ** 2 / fit.power))
        lows.append(_end(points, fit) - play)
        highs.append(_end(points, fit) + play)
    return Plateau(min(lows), _end(points, best), max(highs), best.constant * points.span)


def _end(points: _Points, fit: _Fit) -> float:
    """Return the bytes to which an approach leads: its regressor goes to 1."""
    return points.mean + fit.gain * (1 - fit.mean)
