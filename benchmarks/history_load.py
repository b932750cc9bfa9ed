"""A seeded server whose memory moves as inference servers move theirs, as polls and as plain values.

Six workloads on each GPU: an engine that took its memory at start, a caching allocator, a slow leak, a
server that loads and unloads models, an idle notebook, and a batch job that ends and starts anew. Their
rates of change make about 7.7 % of the samples differ from the sample before, as was found on real servers.
"""

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from vramwatch.core.model import (
    ClaimKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    Reading,
    Tenant,
)
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.units import GIB, MIB, Bytes, Seconds

BOOT = "7d0e6d5c-0000-4000-8000-00000000b00b"
BEGIN = 1_790_812_800.0
"""Unix seconds of the first poll: the start of an hour, any one will do."""

HOUR, DAY = 3600, 86_400

QUANTUM = 2 * MIB  # in which the driver hands out memory
TOTAL, RESERVED, CONTEXT = 80 * GIB, 640 * MIB, 512 * MIB
JOB_LIFE = 4 * HOUR
"""Seconds after which the batch job is another process, unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class Habit:
    """How one workload moves: how often (part of the polls), how far, and between which bounds (bytes)."""

    name: str
    rate: float
    step: int
    low: int
    high: int
    start: int
    is_growth: bool = False


HABITS = (
    Habit("engine", 0.01, QUANTUM, 30 * GIB, 31 * GIB, 30 * GIB),
    Habit("allocator", 0.12, 16 * QUANTUM, 4 * GIB, 12 * GIB, 6 * GIB),
    Habit("leak", 0.02, QUANTUM, 1 * GIB, 8 * GIB, 1 * GIB, is_growth=True),
    Habit("loader", 0.08, 256 * QUANTUM, 2 * GIB, 16 * GIB, 8 * GIB),
    Habit("notebook", 0.0, QUANTUM, 1 * GIB, 1 * GIB, 1 * GIB),
    Habit("job", 0.055, 4 * QUANTUM, 1 * GIB, 6 * GIB, 2 * GIB),
)


@dataclass(slots=True)
class _Process:
    """One workload on one GPU, and the holding that it has now."""

    habit: Habit
    pid: int
    owner: Owner
    held: int
    holding: Holding = field(init=False)

    def __post_init__(self) -> None:
        self.begin(0)

    def begin(self, second: int) -> None:
        """Be a new process of the same owner from ``second`` on."""
        key = ProcessKey(BOOT, self.pid, second + 1)
        title = f"/opt/{self.habit.name}/bin/serve --port {self.pid}"
        self._hold(Tenant(ProcessFacts(key, name=self.habit.name, title=title, user="serving"), self.owner))

    def move(self, chance: random.Random) -> bool:
        """Take one second's chance to move; return whether it moved."""
        habit = self.habit
        if chance.random() >= habit.rate:
            return False
        sizes = range(1, habit.step // QUANTUM + 1)
        step = chance.choice(sizes) * QUANTUM * (1 if habit.is_growth else chance.choice((-1, 1)))
        moved = self.held + step
        if not habit.low <= moved <= habit.high:
            moved = habit.low if habit.is_growth else self.held - step
        self.held = min(max(moved, habit.low), habit.high)
        self._hold(self.holding.tenant)
        return True

    def _hold(self, tenant: Tenant) -> None:
        kinds = frozenset({ClaimKind.COMPUTE})
        self.holding = Holding(self.pid, Bytes(self.held), tenant, kinds)


@dataclass(slots=True)
class _Card:
    """One GPU with its workloads, and what a ledger of it shares with the ledger before."""

    gpu: Gpu
    processes: list[_Process]
    reading: Reading = field(init=False)
    holdings: tuple[Holding, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.settle()

    def settle(self) -> None:
        """Bring the books up to what the workloads hold now."""
        ordered = sorted(self.processes, key=lambda process: (-process.held, process.pid))
        self.holdings = tuple(process.holding for process in ordered)
        used = sum(process.held for process in self.processes) + CONTEXT
        free = TOTAL - RESERVED - used
        self.reading = Reading(self.gpu, Memory(Bytes(TOTAL), Bytes(used), Bytes(free), Bytes(RESERVED)))

    def ledger(self, at: Instant) -> Ledger:
        return Ledger(at, self.reading, self.holdings, Bytes(CONTEXT), (), at)


class Load:
    """The server, poll by poll. The same arguments give the same polls."""

    def __init__(
        self,
        gpus: int = 8,
        processes: int = 6,
        *,
        flat: bool = False,
        job_life: int = JOB_LIFE,
        seed: int = 3,
    ) -> None:
        """``processes``: on each GPU; ``flat``: nothing ever moves; ``job_life``: seconds."""
        self._chance = random.Random(seed)
        self._flat = flat
        self._job_life = job_life
        self._cards = [_card(number, processes) for number in range(gpus)]
        self.changes = 0  # samples of processes and GPUs that differed from the one before

    @property
    def series(self) -> int:
        """How many series are counted: each process's and each GPU's used bytes."""
        return sum(1 + len(card.processes) for card in self._cards)

    def polls(self, seconds: int, since: int = 0) -> Iterator[Poll]:
        """Yield a poll a second for ``seconds``, from the second ``since`` of this server on."""
        pace = Pace(Seconds(1.0), Seconds(1.0), 0.001)
        for second in range(since, since + seconds):
            self._move(second)
            at = Instant(second + 1, BEGIN + second, 1000.0 + second, BOOT)
            yield Poll(at, tuple(card.ledger(at) for card in self._cards), pace=pace)

    def values(self) -> Iterator[tuple[str, str, int]]:
        """Yield GPU, owner's key (empty: the GPU itself) and used bytes as they stand, series by series."""
        for card in self._cards:
            yield card.gpu.uuid, "", card.reading.memory.used
            for process in card.processes:
                yield card.gpu.uuid, process.owner.key, process.held

    def _move(self, second: int) -> None:
        if self._flat:
            return
        for card in self._cards:
            moved = sum(process.move(self._chance) for process in card.processes)
            if second and second % self._job_life == 0:
                _restart_jobs(card, second)
                card.settle()
            if moved:
                card.settle()
                self.changes += moved + 1


def day_of_values(load: Load, seconds: int) -> "dict[tuple[str, str], array[int]]":
    """Return the used bytes at every poll of ``load``, by GPU and owner's key (empty: the GPU itself)."""
    found: dict[tuple[str, str], array[int]] = {}
    for _ in load.polls(seconds):
        for gpu, owner, used in load.values():
            found.setdefault((gpu, owner), array("q")).append(used)
    return found


def _card(number: int, processes: int) -> _Card:
    gpu = Gpu(f"GPU-{number:08x}-0000-4000-8000-000000000000", str(number), "NVIDIA H100 80GB HBM3")
    return _Card(gpu, [_process(number, rank) for rank in range(processes)])


def _process(number: int, rank: int) -> _Process:
    habit = HABITS[rank % len(HABITS)]
    name = f"{habit.name}-{number}-{rank}"
    owner = Owner(f"unit:{name}.service", name, OwnerKind.UNIT)
    return _Process(habit, 10_000 + 100 * number + rank, owner, habit.start)


def _restart_jobs(card: _Card, second: int) -> None:
    for process in card.processes:
        if process.habit.name == "job":
            process.begin(second)
