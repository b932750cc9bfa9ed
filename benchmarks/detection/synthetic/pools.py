"""Engines that preallocate: flat from outside, and what happens inside their pool."""

from random import Random

from benchmarks.detection.cases import Cause, Group, Serving, View
from benchmarks.detection.synthetic.healthy import CARD_80
from benchmarks.detection.synthetic.parts import preallocated
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import Trace
from benchmarks.detection.synthetic.shapes import add, conversations, cumulated, daily, flat, requests, steady

COUNT, STEP = 1440, 30.0
BEGINS = 240  # steps: two healthy hours come first
HELD = 0.92 * CARD_80  # MiB: vLLM's gpu_memory_utilization
POOL = 0.5 * CARD_80
LONGEST_QUEUE = 40


def pool_leak(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Blocks of aborted requests are never given back: KV is used while nothing runs or waits."""
    duty = steady(COUNT, 0.4, rng)
    served = requests(duty, STEP, 2.0, rng)
    per_step = POOL * STEP / (cell["hours"] * 3600)
    lost = cumulated(per_step * grows * (i >= BEGINS) * (share > 0) for i, share in enumerate(duty))
    kv = add(conversations(duty, 0.4 * POOL, rng), lost)
    server = preallocated(duty, served, rng, held=HELD, pool=POOL, kv=kv)
    return Trace(STEP, flat(COUNT, CARD_80), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def pool_pressure(cell: Cell, rng: Random, grows: bool) -> Trace:
    """More is asked than the pool holds: it stays full, and a queue stands for hours."""
    ask = cell["ask"] if grows else cell["ask"] / 2.5
    duty = daily(COUNT, STEP, 0.3, 0.95, rng, peak=0.3)
    served = requests(duty, STEP, 4.0, rng)
    wanted = [share * ask * POOL for share in duty]
    waiting = [round(LONGEST_QUEUE * max(0.0, 1 - POOL / max(want, 1.0))) for want in wanted]
    server = preallocated(duty, served, rng, held=HELD, pool=POOL, kv=wanted, waiting=waiting)
    begins = next((i for i, queue in enumerate(waiting) if queue), BEGINS)
    return Trace(STEP, flat(COUNT, CARD_80), duty, (server,), grows_from=begins, life_from=begins)


SCENARIOS = (
    Scenario(
        "pool-leak", pool_leak, Cause.LEAK, Group.POOL, Serving.LANGUAGE,
        ({"hours": 10.0}, {"hours": 20.0}), ({"hours": 14.0}, {"hours": 7.0}),
        views=(View.ALL_LAYERS,),
    ),
    Scenario(
        "pool-pressure", pool_pressure, Cause.KV_CACHE, Group.POOL, Serving.LANGUAGE,
        ({"ask": 1.5}, {"ask": 2.2}), ({"ask": 1.8}, {"ask": 1.4}),
        views=(View.ALL_LAYERS,), judges_cause=False,
    ),
)  # fmt: skip
