"""The bounded memory of one quantity of one life, folded sample by sample.

A Lane is one quantity of one life (of a process, of an owner, of what nobody holds). It keeps

- its envelope by ten seconds, minutes and hours: extremes, and the work done so far;
- its rests: where memory stood at the end of every idle stretch, the one state that always returns;
- its valleys: what it fell back to at every release, in event time;
- its spikes: how high it rose between two valleys, of each hour the highest, over which floor;
- its returns: the votes of equal levels (see ``recurrence``).

Times are seconds that never step back, suspend included; values are bytes; work is requests where they
are counted, else busy seconds.
"""

from array import array
from collections.abc import Sequence
from itertools import pairwise
from math import inf

from vramwatch.core.recurrence import Recurrence
from vramwatch.core.units import MIB

MOMENT, MINUTE, HOUR, DAY = 10.0, 60.0, 3600.0, 86_400.0
"""Seconds that the spans of an envelope last."""

MOMENTS_KEPT, MINUTES_KEPT, HOURS_KEPT = 180, 720, 960
"""Half an hour by ten seconds, twelve hours by minutes, forty days by hours."""

IDLE_FOR = 120.0
"""Seconds without work after which memory is at rest: caches that are given back have been."""

REST_BLOCK = 900.0
"""Seconds after which a long rest counts once more."""

RESTS_KEPT, VALLEYS_KEPT, SPIKES_KEPT = 256, 256, 168
"""Points of the floor remembered; when there are more, every other one of the older half is let go of."""

REBOUND = 64 * MIB
"""A valley must have been fallen into and risen from by so much; see also REBOUND_SHARE."""

REBOUND_SHARE = 0.01
"""The same as a share of the capacity."""


class Envelope:
    """Extremes within equal spans of time, the newest ``kept`` of them, oldest first.

    ``index``: number of the span, ``work``: done when it ended. A span without samples is left out.
    """

    __slots__ = ("high", "index", "kept", "low", "span", "work")

    def __init__(self, span: float, kept: int) -> None:
        self.span, self.kept = span, kept
        self.index = array("I" if span >= MINUTE else "l")  # minutes up to the year 9999 fit four bytes
        self.low, self.high = array("f"), array("f")  # to 8 KiB at 80 GB, and half the size of doubles
        self.work = array("d")

    def __len__(self) -> int:
        return len(self.index)

    def add(self, index: int, low: float, high: float, work: float) -> None:
        """Take in a span that has ended, later than all before it."""
        spans = self.index
        spans.append(index)
        self.low.append(low)
        self.high.append(high)
        self.work.append(work)
        if len(spans) > self.kept + self.kept // 8:  # in one go, seldom
            for column in (self.index, self.low, self.high, self.work):
                del column[: len(column) - self.kept]

    def least_of(self, size: int) -> "Points":
        """Return the least of every ``size`` spans, at the time when they begin."""
        floor = Points(len(self) + 1)
        if size == 1:
            floor.time = array("d", [index * self.span for index in self.index])
            floor.work, floor.value = self.work[:], array("d", self.low)
            return floor
        end = -inf
        starts = []
        for place, index in enumerate(self.index):
            if index >= end:
                end = index - index % size + size
                starts.append(place)
        for start, stop in pairwise((*starts, len(self))):
            floor.add(self.index[start] * self.span, self.work[start], min(self.low[start:stop]))
        return floor

    def since(self, time: float) -> int:
        """Return the place of the first span that begins at ``time`` or later; may be its length."""
        wanted, low, high = time / self.span, 0, len(self.index)
        while low < high:
            middle = (low + high) // 2
            if self.index[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        return low


class Points:
    """Points of a floor: when, after how much work, how many bytes. Oldest first, bounded."""

    __slots__ = ("kept", "time", "value", "work")

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.time, self.work, self.value = array("d"), array("d"), array("d")

    def __len__(self) -> int:
        return len(self.time)

    def add(self, time: float, work: float, value: float) -> None:
        self.time.append(time)
        self.work.append(work)
        self.value.append(value)
        if len(self.time) > self.kept:
            for column in (self.time, self.work, self.value):
                del column[1 : self.kept // 2 : 2]

    def least_of(self, size: int) -> "Points":
        """Return the lowest of every ``size`` successive points, with its time.

        The oldest few, that make no whole block, are left out.
        """
        floor = Points(len(self) + 1)
        for start in range(len(self) % size, len(self), size):
            lowest = min(range(start, start + size), key=self.value.__getitem__)
            floor.add(self.time[lowest], self.work[lowest], self.value[lowest])
        return floor

    def lower(self, value: float) -> None:
        """Lower the newest point to ``value`` if that is less."""
        self.value[-1] = min(self.value[-1], value)

    def since(self, time: float) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
        """Return times, work and values of the points from ``time`` on."""
        start = next((i for i, at in enumerate(self.time) if at >= time), len(self.time))
        return self.time[start:], self.work[start:], self.value[start:]


class Lane:
    """One quantity of one life. ``votes`` False: nobody asks what the levels that return agree on."""

    __slots__ = (
        "_before",
        "_falling",
        "_hour_high",
        "_hour_low",
        "_idle_since",
        "_minute_high",
        "_minute_low",
        "_peak",
        "_rest_began",
        "_valley_time",
        "_valley_work",
        "began",
        "high",
        "hours",
        "last",
        "low",
        "minutes",
        "moment",
        "moments",
        "rebound",
        "rests",
        "returns",
        "spikes",
        "time",
        "valley",
        "valleys",
        "work",
    )

    def __init__(self, capacity: float, *, votes: bool = True) -> None:
        self.moments = Envelope(MOMENT, MOMENTS_KEPT)
        self.minutes, self.hours = Envelope(MINUTE, MINUTES_KEPT), Envelope(HOUR, HOURS_KEPT)
        self.rests, self.valleys = Points(RESTS_KEPT), Points(VALLEYS_KEPT)
        self.spikes = Points(SPIKES_KEPT)
        self.returns = Recurrence(votes)
        self.rebound = max(REBOUND, REBOUND_SHARE * capacity)
        self.began = self.time = -inf
        self.last = self.work = 0.0
        self.moment = -1
        self.low = self.high = 0.0  # of the ten seconds that are open
        self._minute_low = self._hour_low = inf  # of those that are open, up to the ten seconds before
        self._minute_high = self._hour_high = -inf
        self._idle_since = self._rest_began = inf
        self._falling = False
        self.valley = -inf  # the extreme since the last turn of the zigzag
        self._valley_time = self._valley_work = 0.0
        self._peak, self._before = -inf, inf  # since the last valley, and that valley

    def fold(self, time: float, value: float, work: float, is_idle: bool | None) -> bool:
        """Take one sample; return whether it brought evidence: a rest, a valley, or a level that returned.

        ``is_idle`` None: nobody tells whether anything is worked at.
        """
        moment = int(time // MOMENT)
        has_moved = value != self.last
        if moment != self.moment:
            self._close(moment, time, value)
            has_moved = True
        elif value < self.low:
            self.low = value
        elif value > self.high:
            self.high = value
        came = self.returns.fold(time, value, work, is_idle is not False)
        self.time, self.last, self.work = time, value, work
        if is_idle:
            came |= self._rest(time, value, work)
        else:
            self._idle_since = self._rest_began = inf
        if has_moved:  # a zigzag does not turn where it stands
            came |= self._turn(time, value, work)
        return came

    def _close(self, moment: int, time: float, value: float) -> None:
        """End the ten seconds that are open, and begin others with ``value``; minutes and hours likewise."""
        if self.moment < 0:
            self.began = time
        else:
            low, high = self.low, self.high
            self.moments.add(self.moment, low, high, self.work)
            if low < self._minute_low:  # noqa: PLR1730 — every minute; min and max cost more
                self._minute_low = low
            if high > self._minute_high:  # noqa: PLR1730
                self._minute_high = high
            if moment // 6 != self.moment // 6:
                self._close_minute(moment // 6)
        self.moment = moment
        self.low = self.high = value

    def _close_minute(self, minute: int) -> None:
        ended, low, high = self.moment // 6, self._minute_low, self._minute_high
        self.minutes.add(ended, low, high, self.work)
        if low < self._hour_low:  # noqa: PLR1730 — as above
            self._hour_low = low
        if high > self._hour_high:  # noqa: PLR1730
            self._hour_high = high
        self._minute_low, self._minute_high = inf, -inf
        if minute // 60 != ended // 60:
            self.hours.add(ended // 60, self._hour_low, self._hour_high, self.work)
            self._hour_low, self._hour_high = inf, -inf

    def _rest(self, time: float, value: float, work: float) -> bool:
        """Note where memory stands once nothing has been asked for a while."""
        if self._idle_since == inf:
            self._idle_since = time
        if time - self._idle_since < IDLE_FOR:
            return False
        if self._rest_began != inf and time - self._rest_began < REST_BLOCK:
            self.rests.lower(value)
            return False
        self._rest_began = time
        self.rests.add(time, work, value)
        return True

    def _turn(self, time: float, value: float, work: float) -> bool:
        """Follow the zigzag; return whether a valley has just become known.

        A valley is known once the series has risen by ``rebound`` above it, after a fall of as much. This is
        "heap after full collection" in event time: an idle hour adds nothing.
        """
        if self._falling:
            if value < self.valley:
                self.valley, self._valley_time, self._valley_work = value, time, work
            elif value - self.valley >= self.rebound:
                self.valleys.add(self._valley_time, self._valley_work, self.valley)
                self._note_spike(time, self.valley)
                self._falling, self.valley = False, value
                return True
        elif value > self.valley:
            self.valley = value
        elif self.valley - value >= self.rebound:
            self._falling, self._peak = True, self.valley
            self.valley, self._valley_time, self._valley_work = value, time, work
        return False

    def _note_spike(self, time: float, valley: float) -> None:
        """Keep how far the peak between two valleys rose above both; of each hour the largest."""
        height = self._peak - max(valley, self._before)
        self._before = valley
        spikes = self.spikes
        if not -inf < height < inf or height <= 0:
            return
        if spikes and spikes.time[-1] // HOUR == time // HOUR:
            spikes.value[-1] = max(spikes.value[-1], height)
        else:
            spikes.add(time, valley, height)

    def peak(self, span: float) -> float:
        """Return the most that was held within the last ``span`` seconds, to the hour beyond twelve hours."""
        envelope = self.minutes if span <= MINUTES_KEPT * MINUTE else self.hours
        start = envelope.since(self.time - span)
        return max(
            (*envelope.high[start:], self.high, self._minute_high, self._hour_high if span > HOUR else -inf)
        )

    def pace(self, span: float) -> float:
        """Return the work done a second within the last ``span`` seconds, or since the lane began."""
        envelope = self.minutes if span <= MINUTES_KEPT * MINUTE else self.hours
        start = envelope.since(self.time - span)
        if start >= len(envelope):
            return 0.0
        elapsed = self.time - (envelope.index[start] + 1) * envelope.span
        return (self.work - envelope.work[start]) / elapsed if elapsed > 0 else 0.0

    def floor(self, since: float, until: float) -> float | None:
        """Return the least that was held in the minutes that began between two times and have ended.

        Before the minutes that are kept it is that of whole hours. None: there was no such minute.
        """
        minutes, hours = self.minutes, self.hours
        lows = minutes.low[minutes.since(since) : minutes.since(until)]
        if minutes and since < (kept := minutes.index[0] * MINUTE):
            lows += hours.low[hours.since(since) : hours.since(min(until, kept))]
        return min(lows, default=None)
