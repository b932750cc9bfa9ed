"""What a detector sees of one subject: its Lane, the load, and its surroundings.

Times are those of the Lanes (see ``lanes``): seconds that never step back; values are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

from vramwatch.core.lanes import DAY, HOUR, MINUTE, MINUTES_KEPT, Lane
from vramwatch.core.model import SubjectKind
from vramwatch.core.verdicts import Flight

PRESSED_OVER = 1800.0
"""Seconds over which the share of time in which requests wait for a full pool is taken."""

FLAT_SHARE = 0.01
"""A process that never moves by more than this share of what it holds took it all at its start."""

LONGEST_HOLE = 300.0
"""Over a longer hole between two samples nobody knows what was done."""

IDLE_DUTY = 0.005
"""A smaller share of time at work is none: drivers tell whole percent."""

LIVES_KEPT, DEPARTURES_KEPT = 32, 32


class Layer(StrEnum):
    """What a process's memory is made of; their sum is what the driver sees."""

    NON_TORCH = "non_torch"  # the driver's figure less what the caching allocator has reserved
    CACHED = "cached"  # reserved less allocated
    LIVE = "live"  # allocated less what the engine accounts for as KV
    KV = "kv"


@dataclass(slots=True)
class Load:
    """What is asked of a Gpu. ``busy``: seconds at work so far; ``duty``: the share told last, or None."""

    busy: float = 0.0
    duty: float | None = None
    time: float = -inf

    def fold(self, time: float, duty: float | None) -> None:
        """Take in the share of the time since the sample before that the Gpu was at work; None: not told."""
        if duty is not None:
            self.duty = duty
        elapsed = time - self.time
        if self.duty is not None and 0 < elapsed <= LONGEST_HOLE:
            self.busy += elapsed * self.duty
        self.time = time

    @property
    def is_idle(self) -> bool | None:
        return None if self.duty is None else self.duty < IDLE_DUTY


@dataclass(frozen=True, slots=True)
class Departure:
    """A process that is no longer listed: when, and the unattributed bytes just before."""

    time: float
    unattributed: float


@dataclass(frozen=True, slots=True)
class Accident:
    """An out-of-memory. ``origin``: who says so; "inferred" is our own conclusion. ``numbers``: as told.

    ``flight``: the minutes before it, as of Evidence.
    """

    time: float
    origin: str
    numbers: Mapping[str, float]
    flight: Mapping[str, Flight] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Life:
    """A life that is over. ``base``: bytes at which it had settled after its warm-up.

    ``version``: the image it ran, where known. ``rate``: bytes a second by which it was found to grow; 0: it
    was not.
    """

    began: float
    base: float
    version: str | None = None
    rate: float = 0.0


@dataclass(slots=True)
class Members:
    """The processes of one owner on one Gpu.

    ``began``: of those that live, when each was first seen. ``ended``: when one last left. ``lives``: those
    that are over and were long enough to settle, oldest first.
    """

    began: dict[str, float] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    ended: float = -inf
    lives: list[Life] = field(default_factory=list)


@dataclass(slots=True)
class Window:
    """All that a detector may look at. Times as of the Lanes; ``wall`` less ``now`` makes unix seconds.

    ``capacity``: bytes of the device or of the MIG instance, or the ``budget`` of its owner where that leaves
    less. ``is_bounded``: False: nobody tells it, and it is the most that was ever seen. ``taken``: bytes of
    it that others hold; of a budget, those of the same owner. ``started``: when its process did, None: not
    known. ``whole``: nothing more specific than this window holds the bytes in it. ``told``: what its process
    says of itself, by quantity. ``pressed``: the share of the last minutes in which requests waited for a
    pool that was full. ``ran``: ``running`` as of the poll before. ``fullness``: the share of its KV pool in
    use, 0 to 1; None: not told, or its bytes are. ``counts_requests``: whether its work is counted in
    requests. ``withheld``: the driver listed a process without its bytes, which are among these. ``ghosts``:
    bytes held by exited processes.
    """

    kind: SubjectKind
    used: Lane
    load: Load
    now: float
    wall: float
    capacity: float
    is_bounded: bool = True
    taken: float = 0.0
    budget: float | None = None
    started: float | None = None
    whole: bool = True
    layers: dict[Layer, Lane] = field(default_factory=dict)
    fullness: Lane | None = None
    running: float | None = None
    waiting: float | None = None
    ran: float | None = None
    told: Mapping[str, float] = field(default_factory=dict)
    pressed: float = 0.0
    members: Members | None = None
    departures: list[Departure] = field(default_factory=list)
    counts_requests: bool = False
    withheld: bool = False
    ghosts: float = 0.0
    ghosts_since: float = inf
    accidents: list[Accident] = field(default_factory=list)

    @property
    def age(self) -> float:
        """Seconds since its process started, or since it was first seen."""
        return self.now - (self.used.began if self.started is None else self.started)

    @property
    def tells_load(self) -> bool:
        """Whether it is known when nothing is worked at."""
        return self.running is not None or self.load.duty is not None

    @property
    def pool(self) -> "Window | None":
        """Its KV pool as a window of its own: what is used within what was taken at the start.

        None: it tells no such figure, or takes its memory as it goes.
        """
        kv = self.layers.get(Layer.KV)
        if kv is None or not self.is_flat:
            return None
        told = self.told.get("engine_pool_bytes")
        size = told or kv.peak(MINUTES_KEPT * MINUTE)
        return replace(
            self, used=kv, capacity=size, is_bounded=told is not None, taken=0.0, budget=None, layers={}
        )

    @property
    def is_flat(self) -> bool:
        """Whether all that it holds was taken at its start, as engines with a pool do."""
        lane = self.used
        start = lane.hours.since(lane.time - self.age + HOUR)
        lows, highs = lane.hours.low[start:], lane.hours.high[start:]
        return bool(lows) and max(highs) - min(lows) <= FLAT_SHARE * max(highs)

    def bind(self, budget: float, siblings: float) -> None:
        """Have the owner's ``budget`` count, of which its other processes hold ``siblings`` bytes.

        It does where it leaves less than the device. Call it after capacity and taken were set.
        """
        if budget - siblings < self.capacity - self.taken:
            self.capacity = self.budget = budget
            self.taken = siblings

    @property
    def room(self) -> float:
        """Bytes that are left when all that is held is at its recent most; may be below 0."""
        return self.capacity - self.taken - self.used.peak(DAY)

    def at(self, time: float) -> float:
        """Return the unix seconds of ``time``."""
        return time + (self.wall - self.now)
