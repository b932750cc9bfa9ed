"""Curves that memory and load are made of: lists of one number a step. MiB, seconds, shares of 1.

The quanta are those of the CUDA driver and of PyTorch's caching allocator (CUDACachingAllocator.cpp:
2 MiB small segments and rounding of large ones, 20 MiB for middle sizes).
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random

DRIVER_QUANTUM = 2.0  # MiB: what cudaMalloc rounds to
SEGMENT = 20.0  # MiB: a segment of the caching allocator
DAY = 86_400.0

Curve = list[float]


def flat(count: int, value: float) -> Curve:
    return [value] * count


def add(*curves: Sequence[float]) -> Curve:
    """Return the sums, step by step. Errors: ValueError when one is longer."""
    return [sum(values) for values in zip(*curves, strict=True)]


def steps_of(values: Iterable[float], quantum: float) -> Curve:
    """Return ``values`` rounded up to whole quanta."""
    return [math.ceil(value / quantum) * quantum for value in values]


def high_water(values: Iterable[float]) -> Curve:
    """Return the largest so far, step by step."""
    return list(accumulate(values, max))


def settling(count: int, step: float, height: float, time: float) -> Curve:
    """Return a curve that rises to ``height`` and stays, with the time constant ``time``."""
    return [height * (1 - math.exp(-i * step / time)) for i in range(count)]


def daily(count: int, step: float, night: float, day: float, rng: Random, peak: float = 0.6) -> Curve:
    """Return a noisy duty between ``night`` and ``day``, highest at ``peak``, a share of 24 hours."""
    wander = 0.0
    duty = []
    for i in range(count):
        wander = 0.95 * wander + rng.gauss(0, 0.02)
        phase = math.cos(2 * math.pi * (i * step / DAY - peak))
        duty.append(_clipped(night + (day - night) * (1 + phase) / 2 + wander))
    return duty


def steady(count: int, level: float, rng: Random) -> Curve:
    """Return a duty around ``level``, with pauses in which nothing is asked."""
    duty: Curve = []
    while len(duty) < count:
        busy, idle = rng.randint(10, 60), rng.randint(2, 12)
        duty += [_clipped(rng.gauss(level, 0.08)) for _ in range(busy)] + [0.0] * idle
    return duty[:count]


def requests(duty: Iterable[float], step: float, per_second: float, rng: Random) -> list[int]:
    """Return the requests of each step: the mean is in proportion to duty, the spread that of Poisson."""
    counts = []
    for share in duty:
        mean = share * per_second * step
        counts.append(max(0, round(rng.gauss(mean, math.sqrt(mean)))))
    return counts


def cumulated(increments: Iterable[float]) -> Curve:
    return list(accumulate(increments))


def residency(duty: Sequence[float], sizes: Sequence[float], rng: Random) -> Curve:
    """Return the memory of models that are swapped in as requests ask for them, and stay until the next.

    Swaps are as frequent as work is: when the load goes, the model that came last stays resident.
    """
    held = sizes[0]
    memory = []
    for share in duty:
        if rng.random() < 0.25 * share:
            held = rng.choice(sizes)
        memory.append(held)
    return memory


def conversations(duty: Iterable[float], mebibytes: float, rng: Random) -> Curve:
    """Return the KV cache of the requests that run: in proportion to duty, and gone when it is."""
    return [mebibytes * share * rng.uniform(0.7, 1.0) for share in duty]


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))
