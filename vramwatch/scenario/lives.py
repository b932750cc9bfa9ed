"""When the processes of a scenario live, and what each holds at a moment."""

from dataclasses import dataclass
from math import ceil

from vramwatch.core.units import MIB, Bytes, Seconds
from vramwatch.scenario.curves import chance, requests_between, requests_in_flight
from vramwatch.scenario.schema import Cycle, Life, ProcessPlan

QUANTUM = Bytes(2 * MIB)  # the driver maps device memory in 2 MiB pages, so claims are whole multiples
TORCH_SLACK = 1.03  # torch's caching allocator reserves a little more than its tensors need; composed
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Span:
    """One life of a process: the ``number``-th, from ``begin`` until ``end`` (None: for ever)."""

    number: int
    begin: Seconds
    end: Seconds | None

    def covers(self, time: Seconds) -> bool:
        return self.begin <= time and (self.end is None or time < self.end)


@dataclass(frozen=True, slots=True)
class Inside:
    """What a process holds and does at a moment. Bytes; ``claim`` is what the driver would say."""

    claim: Bytes
    allocated: Bytes
    reserved: Bytes
    kv: Bytes
    requests_total: int
    running: int
    waiting: int


def span_of(plan: ProcessPlan, number: int, seed: int) -> Span | None:
    """Return the ``number``-th life of ``plan``, counted from 0; None where it has no such life."""
    life = plan.life
    if life.every is None or life.lasts is None:
        if number != 0:
            return None
        return Span(0, life.starts, None if life.lasts is None else Seconds(life.starts + life.lasts))
    if number < 0:
        return None
    idle = life.every - life.lasts
    begin = Seconds(life.starts + number * life.every + idle * chance(seed, f"{plan.name} life", number))
    return Span(number, begin, Seconds(begin + life.lasts))


def span_at(plan: ProcessPlan, time: Seconds, seed: int) -> Span | None:
    """Return the life that ``plan`` lives at ``time``, or the last before it; None: it never lived yet."""
    number = _cycle_number(plan.life, time)
    for candidate in (number, number - 1):
        span = span_of(plan, candidate, seed)
        if span is not None and span.begin <= time:
            return span
    return None


def _cycle_number(life: Life, time: Seconds) -> int:
    return int((time - life.starts) // life.every) if life.every else 0


def inside(plan: ProcessPlan, span: Span, time: Seconds, seed: int) -> Inside:
    """Return what the process holds at ``time`` within its life ``span``."""
    memory = plan.memory
    ready = Seconds(span.begin + (memory.preallocate.over if memory.preallocate else 0.0))
    total = running = waiting = 0
    if plan.load is not None and time >= ready:
        total = requests_between(plan.load, ready, time)
        running, waiting = requests_in_flight(plan.load, time, seed, plan.name)
    kv = memory.kv.per_request * running if memory.kv else 0
    allocated = kv + _held(plan, span, time, total, seed)
    reserved = _whole(allocated * TORCH_SLACK) if plan.torch else allocated
    return Inside(
        claim=_whole(memory.context + reserved),
        allocated=Bytes(allocated),
        reserved=Bytes(reserved),
        kv=Bytes(kv),
        requests_total=total,
        running=running,
        waiting=waiting,
    )


def _held(plan: ProcessPlan, span: Span, time: Seconds, requests: int, seed: int) -> int:
    memory = plan.memory
    age = time - span.begin
    held = 0.0
    if memory.preallocate:
        taken = age / memory.preallocate.over if memory.preallocate.over else 1.0
        held += memory.preallocate.size * min(taken, 1.0)
    if memory.leak:
        held += memory.leak.per_hour * age / HOUR + memory.leak.per_request * requests
    if memory.load_unload and _is_on(memory.load_unload, time, f"{plan.name} load_unload", seed):
        held += memory.load_unload.size
    if memory.spikes and _is_on(memory.spikes, time, f"{plan.name} spikes", seed):
        held += memory.spikes.size
    return int(held)


def _is_on(cycle: Cycle, time: Seconds, name: str, seed: int) -> bool:
    number = int(time // cycle.every)
    begin = number * cycle.every + (cycle.every - cycle.lasts) * chance(seed, name, number)
    return begin <= time < begin + cycle.lasts


def _whole(size: float) -> Bytes:
    return Bytes(ceil(size / QUANTUM) * QUANTUM)
