"""Scores past forecasts, and sets the width of intervals by them.

When memory runs out is known only once, and too late. When it reaches some level on the way can be forecast
in the same way, and the series itself shows how far that was off. These scores widen or narrow the next
interval: split-conformal intervals (Vovk, Gammerman and Shafer, Algorithmic Learning in a
Random World, 2005), of scores that count in widths of each forecast's own interval (Lei et al.,
"Distribution-free predictive inference for regression", JASA 113 (2018), 5.2). They hold with 80 % as far
as the growths of one host are alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log

from vramwatch.core.forecast import Straight, straight
from vramwatch.core.lanes import MINUTE, Lane
from vramwatch.core.outlook import slope_of, swing_of
from vramwatch.core.verdicts import Rate
from vramwatch.core.windows import Window

CONFIDENCE = 0.8

SHARES = (1 / 4, 1 / 2)
"""Of the room that is left: the levels whose outcome is waited for, one forecast of each at a time."""

SOONEST = 600.0
"""Seconds. What is reached sooner says more of how often one looks than of the forecast."""

PATIENCE = 3.0
"""A level that was not reached within so many times the time expected counts as missed, and is given up."""

NARROWEST = 0.02
"""Of an interval to one side, on the logarithm: a narrower one would make a score of rounding."""

KEPT = 64
"""Scores remembered of a host: what it does changes."""

ENOUGH = 9
"""Scores from which the 80 % quantile is not the largest."""


@dataclass(frozen=True, slots=True)
class Width:
    """By how much intervals are widened, and how many past forecasts here say so; 0: the usual."""

    factor: float
    count: int = 0


USUAL = Width(1.3)
"""What would have held four of five of the forecasts along a line that stood at half life, driver only, in
suite C of benchmarks/detection on its tuning cells with eight tuning seeds each: 112, their quantile 1.34."""


@dataclass(frozen=True, slots=True)
class Hindcast:
    """A forecast of when ``level`` bytes are reached, made at ``made``, for a ``share`` of the room."""

    share: float
    made: float
    level: float
    expected: Straight

    def score(self, waited: float) -> float:
        """Return by how many times its own width it was off, having waited for so many seconds."""
        off = log(max(waited, 1.0) / self.expected.wait)
        return abs(off) / max(self.expected.later if off > 0 else self.expected.sooner, NARROWEST)

    @property
    def latest(self) -> float:
        """Seconds after which it is given up."""
        return self.expected.wait * PATIENCE


def width(scores: Sequence[float]) -> Width:
    """Return how wide intervals must be told after these ``scores``: the usual, where they are few."""
    if len(scores) < ENOUGH:
        return USUAL
    place = ceil((len(scores) + 1) * CONFIDENCE)
    return Width(sorted(scores)[place - 1], len(scores))


def followed(
    waiting: Sequence[Hindcast], window: Window, rate: Rate | None
) -> tuple[tuple[Hindcast, ...], tuple[float, ...]]:
    """Return those that still wait, with new ones in place of those that do not, and the scores of these.

    To be asked at every look at ``window``. ``rate``: at which it grows along a line; None: it does not,
    and nothing new is forecast.
    """
    lane = window.used
    kept, scores = [], []
    for each in waiting:
        waited = _reached(lane, each)
        if waited is None and lane.time - each.made > each.latest:
            waited = lane.time - each.made
        if waited is None:
            kept.append(each)
        else:
            scores.append(each.score(waited))
    if rate is not None:
        kept += _made(window, rate, frozenset(SHARES).difference(each.share for each in kept))
    return tuple(kept), tuple(scores)


def _reached(lane: Lane, hindcast: Hindcast) -> float | None:
    """Return after how many seconds the level was reached, to the minute; None: it was not."""
    minutes = lane.minutes
    for place in range(minutes.since(hindcast.made), len(minutes)):
        if minutes.high[place] >= hindcast.level:
            return (minutes.index[place] + 1) * MINUTE - hindcast.made
    return lane.time - hindcast.made if max(lane.high, lane.last) >= hindcast.level else None


def _made(window: Window, rate: Rate, shares: frozenset[float]) -> Iterator[Hindcast]:
    if not shares:
        return
    lane = window.used
    swing = swing_of(lane, rate.median)
    highest = max(swing.peaks)
    room = window.capacity - window.taken - highest
    for share in sorted(shares):
        level = highest + share * room
        expected = straight(lane.time, swing, level, slope_of(rate))
        if room > 0 and isinstance(expected, Straight) and expected.wait >= SOONEST:
            yield Hindcast(share, lane.time, level, expected)
