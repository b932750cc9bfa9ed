"""Growth measured between equal states: levels that return, and by how much they have shifted.

A process returns to exactly the same bytes whenever it is in the same state: the same model loaded, the
queue empty, the cache flushed. If every cycle loses something, it returns to the same level *plus what
was lost since*. Take every pair of flat stretches (plateaus) between which the memory went somewhere
else: a pair of equal states of a healthy process differs by nothing; of a leaking one by the leak's rate
times the work between them. Pairs of unequal states differ by anything. So the pairs vote: each for the
rate at which its second level would be its first one, grown. A leak is a rate that gathers clearly more
votes than "nothing was lost". This is the Hough transform (P. V. C. Hough, 1962), which finds the one
slope that many point pairs share among many that do not; it needs no name for a state, no model of load,
and no trend of the floor, which load moves by itself.

A pure fold of bounded size; time in seconds, levels in bytes, work in any unit that does not fall
(seconds of busy GPU, requests, or time itself).
"""

import math
from collections import deque
from dataclasses import dataclass
from itertools import accumulate, chain

from vramwatch.core.units import MIB

FLAT = 1 * MIB
"""Within this a level stands still: half of the quantum in which the driver hands out memory."""

TOLERANCE = 2 * MIB
"""Two levels within the driver's quantum are equal."""

SHORTEST_PLATEAU = 60.0
"""Seconds a level must stand to be a state rather than a moment on the way."""

EXCURSION = 64 * MIB
"""Between two plateaus the memory must have been this far from both, or it has not left and returned."""

RECENT, OLDER = 120, 240
"""Plateaus remembered: the newest, and older ones thinned out to one per ``THINNING``."""

THINNING = 1800.0
"""Seconds between older plateaus: 240 of them reach back five days."""

BIN = math.log(1.03)
"""Width of a bin of rates: 3 %, what the tolerance leaves of a rate some tens of quanta apart."""

WIDEST_VOTE = 60
"""Bins over which one pair's vote may be spread; a pair that spreads wider says next to nothing."""

MIRROR = range(-12, 13)
"""Bins about the same rate of falling, 40 % to each side, among which chance is given its best."""

FADING = 0.5 ** (1 / 90)
"""Votes fade by half in 90 plateaus, so that a leak that begins late is not outvoted for ever."""

MAJORITY, LEAST_VOTES = 4.0, 6.0
"""A rate is clear with so many times its rival's votes, and so many at all. Healthy services seen so far
stay below 2.7 times."""

HEAVIEST = 1e9
"""Weights are scaled back beyond this, far from where a double loses whole votes."""


@dataclass(slots=True)
class _Plateau:
    """A stretch in which a level stood. ``low``, ``high``: extremes since the plateau before."""

    level: int
    since: float
    work_since: float
    work_until: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Return:
    """The rate that most pairs of levels agree on. Counts are votes, faded.

    ``rate``: bytes per unit of work; ``votes`` for it, ``unchanged`` for "nothing was lost" among the
    pairs far enough apart to tell the two, ``falling``: the most for about the same rate downwards,
    which nothing real explains and which therefore measures chance.
    """

    rate: float
    votes: float
    unchanged: float
    falling: float

    @property
    def rival(self) -> float:
        return max(self.unchanged, self.falling)

    @property
    def is_clear(self) -> bool:
        """Whether the levels agree on this rate rather than on none."""
        return self.votes >= LEAST_VOTES and self.votes >= MAJORITY * self.rival


class Recurrence:
    """Folds the samples of one life of one process, or of what is judged as one, into votes."""

    def __init__(self) -> None:
        self._plateaus: deque[_Plateau] = deque()
        self._older: deque[_Plateau] = deque()
        self._stretch: _Plateau | None = None  # the newest, a plateau once it has stood long enough
        self._stands = False  # whether the newest stretch is a plateau already
        self._rising: dict[int, float] = {}
        self._falling: dict[int, float] = {}
        self._unchanged: dict[int, float] = {}  # bin of the work apart -> votes
        self._weight = 1.0

    def fold(self, time: float, value: int, work: float) -> bool:
        """Take one sample; return whether a plateau has just come to stand, so that votes were cast."""
        stretch = self._stretch
        if stretch is not None and abs(value - stretch.level) < FLAT:
            stretch.work_until = work
            if self._stands or time - stretch.since < SHORTEST_PLATEAU:
                return False
            self._stands = True
            self._vote(stretch)
            return True
        low, high = math.inf, -math.inf
        if stretch is not None and self._stands:
            self._remember(stretch)
        elif stretch is not None:
            low, high = min(stretch.low, stretch.level), max(stretch.high, stretch.level)
        self._stretch = _Plateau(value, time, work, work, low, high)
        self._stands = False
        return False

    def peak(self) -> Return | None:
        """Return the rate with the clearest majority; None while no pair has voted for any growth."""
        best: Return | None = None
        apart = sorted(self._unchanged, reverse=True)
        votes = list(accumulate(self._unchanged[bin] for bin in apart))
        seen = 0
        for bin in sorted(self._rising):  # the faster the rate, the nearer the pairs that tell it from none
            nearest = _bin(2 * TOLERANCE / _middle(bin))
            while seen < len(apart) and apart[seen] >= nearest:
                seen += 1
            found = Return(
                _middle(bin) * math.exp(BIN / 2),
                self._pair(self._rising, bin) / self._weight,
                (votes[seen - 1] if seen else 0.0) / self._weight,
                max(self._pair(self._falling, bin + off) for off in MIRROR) / self._weight,
            )
            if best is None or _clarity(found) > _clarity(best):
                best = found
        return best

    def _vote(self, newest: _Plateau) -> None:
        """Have the newest plateau vote with every remembered one that the memory has left since."""
        self._weight /= FADING
        if self._weight > HEAVIEST:
            self._scale_back()
        low, high = newest.low, newest.high
        for plateau in chain(reversed(self._plateaus), reversed(self._older)):
            least, most = sorted((plateau.level, newest.level))
            if low <= least - EXCURSION or high >= most + EXCURSION:
                self._cast(newest.level - plateau.level, newest.work_since - plateau.work_until)
            low = min(low, plateau.level, plateau.low)
            high = max(high, plateau.level, plateau.high)

    def _cast(self, change: int, work: float) -> None:
        if work <= 0:
            return
        if abs(change) <= TOLERANCE:
            apart = _bin(work)
            self._unchanged[apart] = self._unchanged.get(apart, 0.0) + self._weight
            return
        first = _bin((abs(change) - TOLERANCE) / work)
        last = _bin((abs(change) + TOLERANCE) / work)
        if last - first >= WIDEST_VOTE:
            return
        votes = self._rising if change > 0 else self._falling
        share = self._weight / (last - first + 1)
        for bin in range(first, last + 1):
            votes[bin] = votes.get(bin, 0.0) + share

    def _remember(self, plateau: _Plateau) -> None:
        self._plateaus.append(plateau)
        if len(self._plateaus) <= RECENT:
            return
        leaving = self._plateaus.popleft()
        if not self._older or leaving.since - self._older[-1].since >= THINNING:
            self._older.append(leaving)
            if len(self._older) > OLDER:
                self._older.popleft()
        else:  # its extremes stay between its neighbours
            heir = self._plateaus[0]
            heir.low = min(heir.low, leaving.low, leaving.level)
            heir.high = max(heir.high, leaving.high, leaving.level)

    def _pair(self, votes: dict[int, float], bin: int) -> float:
        """A rate on the edge of two bins has its votes in both."""
        return votes.get(bin, 0.0) + votes.get(bin + 1, 0.0)

    def _scale_back(self) -> None:
        for votes in (self._rising, self._falling, self._unchanged):
            scaled = {bin: count / self._weight for bin, count in votes.items()}
            votes.clear()
            votes.update((bin, count) for bin, count in scaled.items() if count > 1 / HEAVIEST)
        self._weight = 1.0


def _bin(quantity: float) -> int:
    return math.floor(math.log(quantity) / BIN)


def _middle(bin: int) -> float:
    return math.exp((bin + 0.5) * BIN)


def _clarity(found: Return) -> float:
    """One vote is added to the rival, so that a single pair without a rival is no majority."""
    return found.votes / (found.rival + 1.0)
