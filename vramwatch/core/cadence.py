"""How often to read, and what: the pure decision behind the poll's rates.

Reading a GPU's memory costs the driver microseconds; reading its process list makes it walk all its
clients under the lock that CUDA calls need too (milliseconds on busy servers). So memory is read at
every poll, lists seldom or when memory has moved, and the whole stays within a budget of driver time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vramwatch.core.model import Ask, Readings
from vramwatch.core.poll import Pace
from vramwatch.core.units import MIB, Seconds

MOVED = 2 * MIB
"""Less than this is no movement: the driver hands out memory in steps of 2 MiB."""

QUIET_AFTER = Seconds(60.0)
"""This long without movement and without a process, and the base interval rises."""

NEARLY_FULL_POLLS = 10
"""A Gpu that would be full within so many polls at the rate just seen is read at the fastest rate."""

MEMORY = "memory"
SLOW = "slow"
LIST = "list:"  # + UUID
"""Keys of ``Readings.driver_seconds``: what a group of calls cost. Others count for the whole alone."""

BUCKET = Seconds(30.0)
"""Unspent driver time is kept for so long: one large sweep of lists may use what quiet polls left."""

SMOOTHING = 0.2
"""Weight of the newest cost in the running estimate of what a call costs."""

SHARE_WINDOW = Seconds(60.0)
"""Span over which the share of driver time that people are shown is smoothed."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The operator's bounds. Seconds; ``driver_share`` of wall time, 0..1."""

    interval: Seconds = Seconds(1.0)
    fastest: Seconds = Seconds(0.2)
    slowest: Seconds = Seconds(5.0)
    list_interval: Seconds = Seconds(5.0)
    list_min_interval: Seconds = Seconds(2.0)
    slow_interval: Seconds = Seconds(30.0)
    driver_share: float = 0.005


@dataclass(frozen=True, slots=True)
class Seen:
    """What the cadence remembers of one Gpu. Times are boottime."""

    used: int
    free: int
    at: float
    rate: float = 0.0  # bytes a second since the poll before
    listed_at: float = float("-inf")
    listed_used: int = -1  # used bytes when its list was last read
    has_processes: bool = True


@dataclass(frozen=True, slots=True)
class Cadence:
    """The state between two polls; advanced by ``after``, read by ``ask`` and ``pace``."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    cost: Mapping[str, Seconds] = field(default_factory=dict)  # call group -> smoothed cost
    purse: Seconds = Seconds(0.0)  # driver time that may be spent now; negative: overdrawn
    at: float | None = None  # boottime of the latest poll
    slow_at: float = float("-inf")
    moved_at: float = float("-inf")
    share: float = 0.0  # smoothed share of wall time inside driver calls


def ask(cadence: Cadence, rates: Rates, now: float) -> Ask:
    """Return what to read at the poll of boottime ``now``, beside every Gpu's memory.

    A list is due when it is old, or when its Gpu's memory has moved since; the most overdue come
    first, and only as many as the purse of driver time can pay. Nothing is known at the first poll:
    everything is read.
    """
    if cadence.at is None:
        return Ask(lists=None, slow=True)
    purse = _purse(cadence, rates, now) - cadence.cost.get(MEMORY, 0.0)
    slow = now - cadence.slow_at >= rates.slow_interval and cadence.cost.get(SLOW, 0.0) <= purse
    if slow:
        purse -= cadence.cost.get(SLOW, 0.0)
    due = sorted(
        (overdue, uuid)
        for uuid, seen in cadence.seen.items()
        if (overdue := now - seen.listed_at - _list_wait(seen, rates)) >= 0
    )
    lists = set()
    for _, uuid in reversed(due):
        price = cadence.cost.get(LIST + uuid, 0.0)
        if min(price, BUCKET * rates.driver_share) > purse:  # a dearer one is read on credit
            break
        purse -= price
        lists.add(uuid)
    return Ask(lists=frozenset(lists), slow=slow)


def after(cadence: Cadence, rates: Rates, now: float, asked: Ask, readings: Readings) -> Cadence:
    """Return the state after a poll at boottime ``now`` that was asked ``asked`` and brought ``readings``."""
    spent = sum(readings.driver_seconds.values())
    seen: dict[str, Seen] = {}
    moved = False
    for reading in readings.gpus:
        before = cadence.seen.get(reading.gpu.uuid)
        memory = reading.memory
        elapsed = now - before.at if before else 0.0
        change = memory.used - before.used if before else 0
        moved = moved or abs(change) >= MOVED
        listed = asked.lists is None or reading.gpu.uuid in asked.lists
        seen[reading.gpu.uuid] = Seen(
            used=memory.used,
            free=memory.free,
            at=now,
            rate=change / elapsed if elapsed > 0 else 0.0,
            listed_at=now if listed else before.listed_at if before else float("-inf"),
            listed_used=memory.used if listed else before.listed_used if before else memory.used,
            has_processes=bool(reading.claims) if reading.claims is not None else _had(before),
        )
    elapsed = now - cadence.at if cadence.at is not None else 0.0
    return Cadence(
        seen=seen,
        cost=_costs(cadence.cost, readings.driver_seconds),
        purse=Seconds(_purse(cadence, rates, now) - spent),
        at=now,
        slow_at=now if asked.slow else cadence.slow_at,
        moved_at=now if moved or cadence.at is None else cadence.moved_at,
        share=_share(cadence.share, spent, elapsed),
    )


def pace(cadence: Cadence, rates: Rates) -> Pace:
    """Return the interval to the next poll and the rates as they now are, with the reason if lowered.

    The base interval falls to ``fastest`` while a Gpu could be full within a few polls at the rate
    just seen, and rises to ``slowest`` when nothing moves and nobody runs. Both bow to the budget:
    no interval is shorter than what reading the memory alone costs divided by the allowed share.
    """
    interval = rates.interval
    if any(_nearly_full(seen, rates) for seen in cadence.seen.values()):
        interval = rates.fastest
    elif _is_quiet(cadence):
        interval = rates.slowest
    if not cadence.cost:
        return Pace(interval, rates.list_interval, cadence.share)
    memory = cadence.cost.get(MEMORY, 0.0)
    floor = Seconds(memory / rates.driver_share)
    lists = sum(cost for group, cost in cadence.cost.items() if group.startswith(LIST))
    left = rates.driver_share - memory / max(interval, floor, 1e-9)
    affordable = Seconds(lists / left) if left > 0 else Seconds(float("inf"))
    lowered = None
    if floor > interval:
        lowered = "reading memory alone would exceed the budget of driver time"
    elif affordable > rates.list_interval:
        lowered = "reading the process lists takes long and would exceed the budget of driver time"
    return Pace(
        interval=max(interval, floor),
        list_interval=max(rates.list_interval, min(affordable, Seconds(3600.0))),
        driver_share=cadence.share,
        lowered_because=lowered,
    )


def _list_wait(seen: Seen, rates: Rates) -> Seconds:
    moved = abs(seen.used - seen.listed_used) >= MOVED
    return rates.list_min_interval if moved else rates.list_interval


def _had(before: Seen | None) -> bool:
    return before.has_processes if before else True


def _purse(cadence: Cadence, rates: Rates, now: float) -> float:
    if cadence.at is None:
        return 0.0
    earned = (now - cadence.at) * rates.driver_share
    return min(cadence.purse + earned, BUCKET * rates.driver_share)


def _costs(before: Mapping[str, Seconds], spent: Mapping[str, Seconds]) -> Mapping[str, Seconds]:
    if not spent:
        return before
    costs = dict(before)
    for group, seconds in spent.items():
        old = costs.get(group, seconds)
        costs[group] = Seconds(old + SMOOTHING * (seconds - old))
    return costs


def _share(before: float, spent: float, elapsed: float) -> float:
    if elapsed <= 0:
        return before
    weight = min(1.0, elapsed / SHARE_WINDOW)
    return before + weight * (spent / elapsed - before)


def _nearly_full(seen: Seen, rates: Rates) -> bool:
    return seen.rate > 0 and seen.free / seen.rate < NEARLY_FULL_POLLS * rates.interval


def _is_quiet(cadence: Cadence) -> bool:
    if cadence.at is None or any(seen.has_processes for seen in cadence.seen.values()):
        return False
    return cadence.at - cadence.moved_at >= QUIET_AFTER
