"""Measures growth between equal states: levels that return, and by how much they have shifted.

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
(seconds of busy GPU, requests). Every pair votes twice: by the clock, and by work.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from operator import add

from vramwatch.core.units import MIB

FLAT = 1 * MIB
"""Within this a level stands still: half of the quantum in which the driver hands out memory."""

TOLERANCE = 2 * MIB
"""Two levels within the driver's quantum are equal."""

SEGMENT = 20 * MIB
"""What the caching allocator takes at a time: until so much is lost, levels return unchanged (see
CUDACachingAllocator.cpp, kLargeBuffer)."""

SHORTEST_PLATEAU = 60.0
"""Seconds a level must stand to be a state rather than a moment on the way."""

EXCURSION = 64 * MIB
"""Between two plateaus the memory must have been this far from both, or it has not left and returned."""

RECENT, OLDER = 120, 120
"""Plateaus remembered: the newest, and older ones thinned out to one per ``THINNING``."""

THINNING = 3600.0
"""Seconds between older plateaus: 120 of them reach back five days."""

BIN = math.log(1.03)
"""Width of a bin of rates: 3 %, what the tolerance leaves of a rate some tens of quanta apart."""

SLOWEST, FASTEST = 1.0, 1e10
"""Rates that are told apart, bytes per unit of work: from 86 KB a day, by the clock, to 10 GB a second."""

WIDEST_VOTE = 24
"""Bins over which one pair's vote may be spread; a pair that spreads wider says next to nothing."""

MIRROR = 12
"""Bins about the same rate of falling, 40 % to each side, among which chance is given its best."""

FADING = 0.5 ** (1 / 90)
"""Votes fade by half in 90 plateaus, so that a leak that begins late is not outvoted for ever."""

HEAVIEST = 1e6
"""Weights are scaled back beyond this, far from where a single-precision float loses whole votes."""

_log = math.log
_PER_BIN = 1 / BIN
_FIRST_BIN = math.floor(math.log(SLOWEST) / BIN)
_BINS = math.ceil(math.log(FASTEST) / BIN) - _FIRST_BIN


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
    def majority(self) -> float:
        """How many times its rival's votes it has; one is added, so that a single pair is no majority."""
        return self.votes / (self.rival + 1.0)


class Ballot:
    """The votes by one unit of work, by bins of rates; of ``unchanged`` by bins of the work apart.

    Arrays are made at the first vote, for most series never cast one, and reach as far as votes do.
    """

    __slots__ = ("falling", "rising", "unchanged", "weight")

    def __init__(self) -> None:
        self.rising: array[float] | None = None
        self.falling: array[float] | None = None
        self.unchanged: array[float] | None = None
        self.weight = 1.0

    def fade(self) -> None:
        """Let what was voted so far count less than what follows."""
        if self.rising is None:
            return
        self.weight /= FADING
        if self.weight > HEAVIEST:
            self._scale_back()

    def cast(self, changes: Sequence[float], works: Sequence[float]) -> None:
        """Vote for each of ``changes``, bytes, within as much of ``works``, each in the same place.

        Where no work was done no vote counts, nor does one beyond FASTEST.
        """
        longest = max(works, default=0.0)
        if longest <= 0:
            return
        if self.rising is None or self.falling is None or self.unchanged is None:
            self.rising, self.falling, self.unchanged = (array("f") for _ in range(3))
        rising, falling, unchanged, weight = self.rising, self.falling, self.unchanged, self.weight
        _reach(unchanged, _bin(longest))
        reach = len(rising)
        for change, work in zip(changes, works, strict=True):
            if work <= 0:
                continue
            if -TOLERANCE <= change <= TOLERANCE:
                unchanged[_bin(work)] += weight
                continue
            votes, size = (rising, change) if change > 0 else (falling, -change)
            slower, faster = (size - TOLERANCE) / work, (size + TOLERANCE) / work
            if faster >= FASTEST:
                continue  # the outermost bin would hold rates that have nothing in common
            if slower > SLOWEST:  # as _bin does, without its calls: here the time goes
                first = int(_log(slower) * _PER_BIN) - _FIRST_BIN
                last = int(_log(faster) * _PER_BIN) - _FIRST_BIN
            else:
                first, last = _bin(slower), _bin(faster)
            if last >= reach:
                _reach(rising, last)
                _reach(falling, last)
                reach = len(rising)
            if first == last:
                votes[first] += weight
            elif last - first < WIDEST_VOTE:
                share = weight / (last - first + 1)
                for bin in range(first, last + 1):
                    votes[bin] += share

    def peak(self, least: float) -> Return | None:
        """Return the rate with the clearest majority of those with ``least`` votes; None: there is none."""
        if not self.rising or self.falling is None or self.unchanged is None:
            return None
        weight = self.weight
        needed = least * weight
        if 2 * max(self.rising) < needed:
            return None
        rising, falling = _paired(self.rising), _paired(self.falling)
        apart = [0.0, *accumulate(reversed(self.unchanged))]  # [i]: votes of the i widest bins
        best: Return | None = None
        clearest = 0.0
        beside = zip(rising, [0.0, *rising], [*rising[1:], 0.0], strict=False)
        for bin, (top, before, after) in enumerate(beside):
            votes = top / weight
            if top < needed or top < before or top < after or votes <= clearest:
                continue  # no majority is above its votes
            farther = len(self.unchanged) - _nearest(bin)
            found = Return(
                _middle(bin) * math.exp(BIN / 2),
                votes,
                apart[max(0, farther)] / weight,
                max(falling[max(0, bin - MIRROR) : bin + MIRROR + 1]) / weight,
            )
            if found.majority > clearest:
                best, clearest = found, found.majority
        return best

    def _scale_back(self) -> None:
        for votes in (self.rising, self.falling, self.unchanged):
            if votes is not None:
                votes[:] = array("f", [count / self.weight for count in votes])
        self.weight = 1.0


class Plateaus:
    """Levels that stood, oldest first. Of each its bytes, since and until when, the work done until then, and
    the least and the most that was held between the one before and its end."""

    __slots__ = ("high", "level", "low", "since", "until", "work_until")

    def __init__(self) -> None:
        self.since, self.until, self.work_until = (array("d") for _ in range(3))
        self.level, self.low, self.high = (array("f") for _ in range(3))  # to 8 KiB at 80 GB: FLAT is 1 MiB

    def __len__(self) -> int:
        return len(self.level)

    @property
    def columns(self) -> "tuple[array[float], ...]":
        return self.level, self.since, self.until, self.work_until, self.low, self.high

    def add(self, plateau: Sequence[float]) -> None:
        """Take in one that is later than all others, in the order of ``columns``."""
        for column, value in zip(self.columns, plateau, strict=True):
            column.append(value)

    def pop(self) -> tuple[float, ...]:
        """Let go of the oldest, and return it in the order of ``columns``."""
        return tuple([column.pop(0) for column in self.columns])


class Recurrence:
    """Folds the samples of one life of one process, or of what is judged as one, into votes.

    ``votes`` False: it tells when a plateau has come to stand, and nobody asks for what they agree on.
    """

    __slots__ = ("_older", "_recent", "_stands", "_stretch", "by_time", "by_work", "votes")

    def __init__(self, votes: bool = True) -> None:
        self.votes = votes
        self.by_time, self.by_work = Ballot(), Ballot()
        self._recent, self._older = Plateaus(), Plateaus()
        # The newest, a plateau once it has stood: level, since, work then, until, work then, low, high.
        self._stretch: list[float] | None = None
        self._stands = False

    def fold(self, time: float, value: float, work: float, is_idle: bool = True) -> bool:
        """Take one sample; return whether a plateau has just come to stand, so that votes were cast.

        A level that stands while something is worked at is the load's doing, and no state that returns.
        """
        stretch = self._stretch
        if stretch is not None and -FLAT < value - stretch[0] < FLAT:
            stretch[3], stretch[4] = time, work
            if self._stands or not is_idle or time - stretch[1] < SHORTEST_PLATEAU:
                return False
            self._stands = True
            if self.votes:
                self._vote(stretch)
            return True
        low, high = math.inf, -math.inf
        if stretch is not None:
            if self._stands:
                if self.votes:
                    self._remember(stretch)
            else:  # its extremes and its own level lie between the plateaus before and after
                low, high = min(stretch[5], stretch[0]), max(stretch[6], stretch[0])
        self._stretch = [value, time, work, time, work, low, high]
        self._stands = False
        return False

    def _vote(self, newest: list[float]) -> None:
        """Have the newest plateau vote with every remembered one that the memory has left since."""
        self.by_time.fade()
        self.by_work.fade()
        level, since, work_since, _, _, low, high = newest
        changes: list[float] = []
        times: list[float] = []
        works: list[float] = []
        for plateaus in (self._recent, self._older):
            for other, until, work_until, least, most in zip(
                reversed(plateaus.level),
                reversed(plateaus.until),
                reversed(plateaus.work_until),
                reversed(plateaus.low),
                reversed(plateaus.high),
                strict=True,
            ):
                change = level - other
                if change > 0:
                    has_left = low <= other - EXCURSION or high >= level + EXCURSION
                else:
                    has_left = low <= level - EXCURSION or high >= other + EXCURSION
                if has_left:
                    changes.append(change)
                    times.append(since - until)
                    works.append(work_since - work_until)
                if other < low:  # noqa: PLR1730 — min and max would be called 240 times
                    low = other
                if least < low:  # noqa: PLR1730
                    low = least
                if other > high:  # noqa: PLR1730
                    high = other
                if most > high:  # noqa: PLR1730
                    high = most
        self.by_time.cast(changes, times)
        self.by_work.cast(changes, works)

    def _remember(self, plateau: list[float]) -> None:
        level, since, _, until, work_until, low, high = plateau
        recent, older = self._recent, self._older
        recent.add((level, since, until, work_until, low, high))
        if len(recent) <= RECENT:
            return
        leaving = recent.pop()
        if not older or leaving[1] - older.since[-1] >= THINNING:
            older.add(leaving)
            if len(older) > OLDER:
                older.pop()
        else:  # its extremes stay between its neighbours
            recent.low[0] = min(recent.low[0], leaving[4], leaving[0])
            recent.high[0] = max(recent.high[0], leaving[5], leaving[0])


def _paired(votes: "array[float]") -> list[float]:
    """A rate on the edge of two bins has its votes in both: return each bin's with the next one's."""
    return [*map(add, votes, votes[1:]), votes[-1]]


def _reach(votes: "array[float]", bin: int) -> None:
    """Have ``votes`` a place for ``bin``: those beyond the last vote are none, and take no memory."""
    if bin >= len(votes):
        votes.frombytes(bytes(votes.itemsize * (bin + 1 - len(votes))))


def _bin(quantity: float) -> int:
    """Return the bin of ``quantity`` above 0; the outermost for what lies beyond."""
    if quantity <= SLOWEST:
        return 0
    return min(int(_log(quantity) * _PER_BIN) - _FIRST_BIN, _BINS - 1)


@cache
def _nearest(bin: int) -> int:
    """Return the bin of the least work apart at which this rate differs from none: the faster, the less."""
    return _bin(SEGMENT / _middle(bin))


def _middle(bin: int) -> float:
    return math.exp((bin + _FIRST_BIN + 0.5) * BIN)
