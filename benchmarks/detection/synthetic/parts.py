"""Processes that several scenarios are built of."""

from collections.abc import Sequence
from random import Random

from benchmarks.detection.synthetic.server import CONTEXT, Life
from benchmarks.detection.synthetic.shapes import (
    SEGMENT,
    Curve,
    add,
    flat,
    settling,
    steps_of,
)

KERNELS = 300.0  # MiB that kernels loaded at first use, workspaces and graphs add in the first minutes
KERNELS_TIME = 240.0  # seconds
LOADING = 60.0  # seconds that the weights take to load
SLOTS = 16  # requests that run at one time at full duty
RELEASED_AFTER = 6  # idle steps after which the allocator's cache is given back to the driver


def torch_server(
    duty: Sequence[float],
    served: Sequence[int],
    step: float,
    rng: Random,
    *,
    weights: float,
    live: Sequence[float],
    kv: Curve | None = None,
    reserve: Sequence[float] | None = None,
    outside: Sequence[float] | None = None,
    pid: int = 4100,
    begin: int = 0,
    gives_back: bool = True,
    is_withheld: bool = False,
    owner: str = "unit:serve.service",
) -> Life:
    """Return a PyTorch process with ``weights``, and ``live`` tensors beyond them. MiB, by its steps.

    ``kv`` is part of ``live``. ``reserve``: kept by the allocator beyond its need; ``outside``: held by
    other libraries. ``gives_back``: whether idle times empty the allocator's cache.
    """
    count = len(duty)
    allocated = add(settling(count, step, weights, LOADING / 3), live)
    reserved = add(_reserved(allocated, duty, gives_back, rng), reserve or flat(count, 0.0))
    other = add(
        flat(count, CONTEXT), settling(count, step, KERNELS, KERNELS_TIME), outside or flat(count, 0.0)
    )
    return Life(
        pid,
        begin,
        other,
        reserved,
        allocated,
        kv,
        served,
        [round(share * SLOTS) for share in duty],
        [rng.randint(0, 3) if share > 0.9 else 0 for share in duty],
        owner,
        is_withheld,
    )


def preallocated(
    duty: Sequence[float],
    served: Sequence[int],
    rng: Random,
    *,
    held: float,
    pool: float,
    kv: Sequence[float],
    waiting: Sequence[int] | None = None,
    pid: int = 4100,
) -> Life:
    """Return an engine that took ``held`` MiB at its start, ``pool`` of them for KV; flat from outside."""
    count = len(duty)
    inside = flat(count, held - CONTEXT)
    return Life(
        pid,
        0,
        flat(count, CONTEXT),
        inside,
        list(inside),
        [min(pool, mebibytes) for mebibytes in kv],
        served,
        [round(share * SLOTS) for share in duty],
        waiting or [0] * count,
        "unit:llm.service",
    )


def _reserved(allocated: Sequence[float], duty: Sequence[float], gives_back: bool, rng: Random) -> Curve:
    """Return what the allocator reserves: the high-water mark, in segments, until its cache is emptied."""
    reserved: Curve = []
    mark, idle = 0.0, 0
    for need, share in zip(allocated, duty, strict=True):
        idle = idle + 1 if share == 0.0 else 0
        mark = max(mark, need)
        if gives_back and (idle == RELEASED_AFTER or rng.random() < 0.01):
            mark = need
        reserved.append(mark)
    return steps_of(reserved, SEGMENT)
