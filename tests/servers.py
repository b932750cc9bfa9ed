"""Small synthetic servers, played poll by poll through the real watch: what happens is a list of Moments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from tests.polls import BOOT, START
from vramwatch.config.detection import DetectionOptions
from vramwatch.core.incidents import State, Terms, Transition
from vramwatch.core.model import (
    Container,
    EngineFacts,
    Event,
    EventKind,
    Gauge,
    GhostKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    Origin,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    Reading,
    Tenant,
)
from vramwatch.core.poll import Poll
from vramwatch.core.units import MIB, Bytes
from vramwatch.judging.watch import Watch

GPU = Gpu("GPU-00000000", "0", "NVIDIA GeForce RTX 4090")
CARD = 24_000.0
"""MiB of the card, unless a Moment says otherwise."""

HOUR, DAY = 3600.0, 86_400.0


@dataclass(frozen=True)
class Process:
    """``held``: MiB, in the driver's quanta of 2; None: withheld. ``begins``: seconds of the story."""

    held: float | None
    pid: int = 4100
    owner: str = "serve"
    begins: float = 0.0
    told: Mapping[str, float] = field(default_factory=dict)  # by quantity, bytes as they are
    ghost: GhostKind | None = None
    budget: float | None = None  # MiB, of its owner
    image: str | None = None  # of its container
    rank: int | None = None  # among the processes of an engine


@dataclass(frozen=True)
class Moment:
    """``time``: seconds of the story. ``hidden``: MiB that no listed process holds.

    ``back``: seconds by which the wall clock is behind. ``processes`` None: the list was not read.
    """

    time: float
    processes: tuple[Process, ...] | None = ()
    duty: float | None = None
    hidden: float = 300.0
    total: float = CARD
    events: tuple[Event, ...] = ()
    back: float = 0.0


def one(time: float, held: float | None, duty: float | None = None, **more) -> Moment:
    """A Moment of a card with one process. ``told`` and the like belong to the process."""
    of_process = {key: more.pop(key) for key in ("told", "pid", "begins", "owner") if key in more}
    return Moment(time, (Process(held, **of_process),), duty, **more)


def poll(seq: int, moment: Moment) -> Poll:
    at = Instant(seq, START + moment.time - moment.back, 1000.0 + moment.time, BOOT)
    processes = moment.processes or ()
    holdings = sorted(
        (_holding(each) for each in processes), key=lambda h: (h.held is None, -(h.held or 0), h.pid)
    )
    named = sum(h.held for h in holdings if h.held is not None)
    unseen = sum(9000 * MIB for h in holdings if h.held is None)
    used = named + unseen + round(moment.hidden * MIB)
    total, reserved = round(moment.total * MIB), 400 * MIB
    used = min(used, total - reserved)
    gauges = tuple(Gauge(each.pid, name, value) for each in processes for name, value in each.told.items())
    memory = Memory(Bytes(total), Bytes(used), Bytes(total - used - reserved), Bytes(reserved))
    reading = Reading(GPU, memory, utilization=moment.duty, gauges=gauges)
    listed = None if moment.processes is None else at
    return Poll(
        at, (Ledger(at, reading, tuple(holdings), Bytes(used - named), (), listed),), events=moment.events
    )


def _holding(process: Process) -> Holding:
    key = ProcessKey(BOOT, process.pid, round(100 * process.begins) + 1)
    container = None if process.image is None else Container("c1", "docker", image=process.image)
    facts = ProcessFacts(key, name="python", started=START + process.begins, container=container)
    budget = None if process.budget is None else Bytes(round(process.budget * MIB))
    owner = Owner(f"unit:{process.owner}.service", process.owner, OwnerKind.UNIT, budget=budget)
    held = None if process.held is None else Bytes(int(process.held // 2) * 2 * MIB)
    engine = None if process.rank is None else EngineFacts("sglang", "worker", rank=process.rank)
    return Holding(process.pid, held, Tenant(facts, owner, engine), ghost=process.ghost)


def watch() -> Watch:
    """Every detector that is found, on the terms of the house."""
    return Watch(DetectionOptions().detectors.on(), Terms())


def play(moments: Iterable[Moment], through: Watch | None = None) -> list[Transition]:
    """Return every transition, in its order."""
    judge = through or watch()
    return [moved for seq, moment in enumerate(moments, 1) for moved in judge.turn(poll(seq, moment))]


def seconds(transition: Transition) -> float:
    """Return the second of the story at which it was told."""
    return transition.at.boottime - 1000.0


def fired(transitions: Iterable[Transition]) -> list[Transition]:
    return [each for each in transitions if each.incident.state is State.FIRING]


def patterns(transitions: Iterable[Transition]) -> set[str]:
    """Return every pattern that was told of, as the first or beside it."""
    told = [each.incident.judgement for each in transitions]
    return {name for each in told for name in (each.pattern, *each.others)}


def working(count: int, seed: int, level: float = 0.5) -> list[float]:
    """Return a share at work for each of ``count`` steps, with pauses in which nothing is asked."""
    chance, shares = Random(seed), []
    while len(shares) < count:
        shares += [chance.uniform(0.6, 1.4) * level for _ in range(chance.randint(10, 50))]
        shares += [0.0] * chance.randint(7, 14)
    return shares[:count]


def conversations(shares: Iterable[float], most: float, seed: int) -> list[float]:
    """Return MiB that come with the work and go with it."""
    chance = Random(seed)
    return [share * most * chance.uniform(0.7, 1.0) for share in shares]


def out_of_memory(
    pid: int | None, gpu: str | None = GPU.uuid, origin: Origin = Origin.LOG, **numbers
) -> Event:
    return Event(EventKind.OUT_OF_MEMORY, "out of memory", gpu=gpu, pid=pid, numbers=numbers, origin=origin)


# --- servers that several tests play ------------------------------------------------------------

STEP = 60.0
"""Seconds between two Moments of the servers below."""


def torch(live: float, reserve: float = 0.0, **more: float) -> dict[str, float]:
    """Return what a PyTorch process tells of ``live`` MiB of tensors; ``kv`` of them are KV cache."""
    told = {
        "torch_reserved_bytes": (live + reserve) * MIB,
        "torch_allocated_bytes": live * MIB,
    }
    if "kv" in more:
        told["engine_kv_bytes"] = more.pop("kv") * MIB
    return told | more


def leaking(
    count: int = 640,
    each: float = 16.0,
    begins: int = 120,
    where: str = "",
    weights: float = 7000.0,
    seed: int = 1,
) -> Iterable[Moment]:
    """Each minute at work leaves ``each`` MiB behind from minute ``begins`` on, until the card is full.

    ``where``: the layer that its process tells of as grown: live, kv, reserved or outside; "": it tells none.
    """
    shares = working(count, seed)
    lost = 0.0
    for minute, (share, talk) in enumerate(zip(shares, conversations(shares, 2000.0, seed), strict=True)):
        lost += each if share and minute >= begins else 0.0
        if weights + lost + talk + 700.0 > CARD:
            return
        told: Mapping[str, float] = {}
        if where:
            kv = talk + (lost if where == "kv" else 0.0)
            live = weights - 500.0 + talk + (lost if where in ("live", "kv") else 0.0)
            told = torch(live, reserve=lost if where == "reserved" else 0.0, kv=kv)
        yield one(minute * STEP, weights + lost + talk, share, told=told)


def healthy(count: int = 640, **more) -> Iterable[Moment]:
    """The same server, of which nothing stays behind."""
    return leaking(count, each=0.0, **more)


def creeping(count: int = 400, each: float = 5.0, begins: int = 60, total: float = CARD) -> Iterable[Moment]:
    """Nothing is ever asked, and each minute takes ``each`` MiB more from minute ``begins`` on."""
    for minute in range(count):
        yield one(minute * STEP, 9000.0 + each * max(0, minute - begins), 0.0, total=total)


def running_away(
    each: float = 90.0, begins: int = 120, requests: int = 0, count: int = 400
) -> Iterable[Moment]:
    """Every ten seconds take ``each`` MiB more; ``requests`` of them are counted in ten seconds."""
    for i in range(count):
        lost = each * max(0, i - begins)
        if 9000.0 + lost + 700.0 > CARD:
            return
        told = torch(8500.0 + lost, requests_total=float(i * requests)) if requests else {}
        yield one(i * 10.0, 9000.0 + lost, 0.9, told=told)
