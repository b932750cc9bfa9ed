"""The polls of an hour of which minutes alone are left, as far as these still tell them.

Of a minute in which memory moved three polls are told, at its first, its middle and its last poll: every
figure at the end of its envelope that lies farther from what it ended with, then at the other end, then
what it ended with. So what falls is high first and low then, what rises the other way round, and a
detector sees the floor and the peak of every series as they were read; in which second they were is lost.
Of a minute in which nothing moved its last poll is told. What is no memory and no count (utilization,
temperature, power) is told as its mean.

A GPU that was there for a part of a minute is told at three polls of that part.

Each figure is true by itself. Those of the first two polls may be of different seconds, so that together
they need not balance.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vramwatch.store.columns import Value
from vramwatch.store.hours import Axis
from vramwatch.store.rollups import MinuteTrack, Rollup, Stretch
from vramwatch.store.ticks import GpuTick, Tick

LAST = 2
"""The look at what a minute ended with, after those at the farther and at the nearer end of its envelope."""

Sweeps = dict[int, tuple[int, ...]]
"""What is read together: series, by the number of the sweep."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What must be known of series, by id: whose mean is told, and which tell that the list was read."""

    means: Collection[int]
    of_lists: frozenset[int]


class _GpuMinutes:
    """One GPU in one hour."""

    def __init__(self, gpu: int, notes: list[int], tracks: Mapping[int, MinuteTrack], listed: int) -> None:
        self._gpu = gpu
        self._notes = notes
        self._tracks = tracks
        self._listed = listed
        self._carried: dict[int, Value | None] = {
            id: track.carried for id, track in tracks.items() if track.carried is not None
        }

    def read(self, minute: int) -> dict[int, Rollup]:
        """Return what was read within ``minute``, by series."""
        told = ((id, track.rollups[minute]) for id, track in self._tracks.items())
        return {id: rollup for id, rollup in told if rollup is not None}

    def tick(
        self, read: Mapping[int, Rollup], at: tuple[int, int], look: int, traits: Traits, sweep: int
    ) -> GpuTick:
        """Return how it stands at one look; ``at``: the poll, and its seq."""
        poll, seq = at
        if not traits.of_lists.isdisjoint(read):
            self._listed = seq
        changes: dict[int, Value | None] = {**self._carried}
        self._carried = {}
        changes |= {id: _value(each, look, is_mean=id in traits.means) for id, each in read.items()}
        return GpuTick(self._gpu, self._notes[poll], sweep, self._listed, tuple(changes.items()))

    def silent(self, poll: int) -> GpuTick:
        """Return how it stands at a poll of which nothing is told of it."""
        changes = tuple(self._carried.items())
        self._carried = {}
        return GpuTick(self._gpu, self._notes[poll], 0, self._listed, changes)

    def polls(self, stretch: Stretch) -> Sequence[int]:
        """Return the polls of a minute at which it was there; all of them, where it was at none."""
        whole = range(*stretch)
        return [poll for poll in whole if self._notes[poll]] or whole

    def end(self, minute: int) -> None:
        """Have the next tick tell which series had no value any more at the end of ``minute``."""
        self._carried |= dict.fromkeys(id for id, track in self._tracks.items() if minute in track.ended)


def tell_minutes(
    axis: Axis,
    minutes: Sequence[Stretch],
    gpus: Mapping[int, Mapping[int, MinuteTrack]],
    traits: Traits,
    listed: Mapping[int, int],
) -> tuple[list[Tick], Sweeps]:
    """Return the ticks of an hour, each of which tells of all ``gpus``, and their sweeps.

    ``gpus``: GPU -> series -> its minutes. ``listed``: seq of the newest process list of each GPU before.
    """
    books = [_GpuMinutes(id, axis.notes[id], tracks, listed.get(id, 0)) for id, tracks in gpus.items()]
    ticks: list[Tick] = []
    sweeps: Sweeps = {0: ()}
    for minute, stretch in enumerate(minutes):
        read = [book.read(minute) for book in books]
        numbers = [_sweep(sweeps, each) for each in read]
        has_moved = any(_moves(each, traits) for each in read)
        looks = [
            _looks(book.polls(stretch), has_moved=has_moved) if each else {}
            for book, each in zip(books, read, strict=True)
        ]
        for poll in sorted({poll for each in looks for poll in each} or {stretch[1] - 1}):
            at = poll, axis.seqs[poll]
            told = (
                book.tick(each, at, look[poll], traits, number) if poll in look else book.silent(poll)
                for book, each, look, number in zip(books, read, looks, numbers, strict=True)
            )
            ticks.append(_tick(axis, poll, tuple(told)))
        for book in books:
            book.end(minute)
    return ticks, sweeps


def _looks(polls: Sequence[int], *, has_moved: bool) -> dict[int, int]:
    """Return poll -> look at a minute: as many as there are ``polls``, at most three."""
    chosen = dict.fromkeys((polls[0], polls[len(polls) // 2], polls[-1]) if has_moved else polls[-1:])
    return dict(zip(chosen, ((LAST,), (0, LAST), (0, 1, LAST))[len(chosen) - 1], strict=True))


def _moves(read: Mapping[int, Rollup], traits: Traits) -> bool:
    return any(each.minimum != each.maximum for id, each in read.items() if id not in traits.means)


def _value(rollup: Rollup, look: int, *, is_mean: bool) -> Value:
    if is_mean:
        return rollup.total / rollup.count
    if look == LAST:
        return rollup.last
    is_low_first = rollup.last - rollup.minimum >= rollup.maximum - rollup.last
    return rollup.minimum if is_low_first == (look == 0) else rollup.maximum


def _sweep(sweeps: Sweeps, read: Mapping[int, Rollup]) -> int:
    """Return the number of a new sweep of what was read; 0: nothing was."""
    if not read:
        return 0
    number = len(sweeps)
    sweeps[number] = tuple(read)
    return number


def _tick(axis: Axis, poll: int, gpus: tuple[GpuTick, ...]) -> Tick:
    return Tick(
        axis.seqs[poll],
        axis.walls[poll],
        axis.boottimes[poll],
        axis.runs[poll],
        axis.paces[poll],
        axis.shares[poll],
        gpus,
    )
