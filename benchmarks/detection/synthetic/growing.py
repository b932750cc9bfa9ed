"""Servers in which something grows until the card is full, within hours."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from benchmarks.detection.cases import Cause, Group, Serving
from benchmarks.detection.synthetic.healthy import CARD_24, CARD_80
from benchmarks.detection.synthetic.parts import torch_server
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import CONTEXT, Gap, Life, Trace
from benchmarks.detection.synthetic.shapes import (
    Curve,
    add,
    conversations,
    cumulated,
    daily,
    flat,
    requests,
    settling,
    steady,
    steps_of,
)

COUNT, STEP = 1440, 30.0
BEGINS = 240  # steps: two healthy hours come first


def leaked(served: Sequence[int], per_request: float, grows: bool, begins: int = BEGINS) -> Curve:
    """Return what requests leave behind, from step ``begins`` on. MiB."""
    return cumulated(per_request * count if grows and i >= begins else 0.0 for i, count in enumerate(served))


def leak_per_request(cell: Cell, rng: Random, grows: bool, is_withheld: bool = False) -> Trace:
    """A tensor of constant size stays behind at each request."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, cell["requests"], rng)
    kv = conversations(duty, 3000.0, rng)
    live = add(kv, leaked(served, cell["each"], grows))
    server = torch_server(
        duty, served, STEP, rng, weights=cell["weights"], live=live, kv=kv, is_withheld=is_withheld
    )
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def leak_beside_a_tenant(cell: Cell, rng: Random, grows: bool) -> Trace:
    """The leak of one service, and beside it the unseen load of another tenant."""
    trace = leak_per_request(cell, rng, grows)
    load = daily(COUNT, STEP, 0.1, 0.9, rng, peak=0.3)
    return replace(trace, total=flat(COUNT, 40_960.0), hidden=conversations(load, 9000.0, rng))


def leak_with_withheld_claims(cell: Cell, rng: Random, grows: bool) -> Trace:
    return leak_per_request(cell, rng, grows, is_withheld=True)


def leak_with_gaps(cell: Cell, rng: Random, grows: bool) -> Trace:
    trace = leak_per_request(cell, rng, grows)
    holes = tuple(Gap(at, at + rng.choice((3, 10, 40))) for at in range(100, COUNT - 60, 150))
    return replace(trace, gaps=holes)


def leak_through_restarts(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Each life leaks from its start; a supervisor restarts it, until one life gets to the end."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 1.0, rng)
    begins = [0, *(round(COUNT * share) for share in (0.15, 0.30))]
    ends = [*(begin - 2 for begin in begins[1:]), COUNT]
    lives = []
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        part = slice(begin, end)
        live = add(
            leaked(served[part], cell["each"], grows, begins=0), conversations(duty[part], 2000.0, rng)
        )
        lives.append(
            torch_server(
                duty[part], served[part], STEP, rng, weights=6000.0, live=live, pid=4100 + number, begin=begin
            )
        )
    return Trace(STEP, flat(COUNT, CARD_24), duty, tuple(lives), grows_from=0, life_from=begins[-1])


def staircase(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Nothing for an hour, then a whole buffer more that is never given back."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 1.0, rng)
    every = round(cell["every"] / STEP)
    stairs = [cell["stair"] * max(0, (i - BEGINS) // every + 1) * grows for i in range(COUNT)]
    live = add(stairs, conversations(duty, 1500.0, rng))
    server = torch_server(duty, served, STEP, rng, weights=7000.0, live=live)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def load_cycles_with_loss(cell: Cell, rng: Random, grows: bool) -> Trace:
    """A model is loaded and unloaded; each cycle keeps a part."""
    period = round(cell["period"] / STEP)
    loaded = [float(i % period < period * 0.6) for i in range(COUNT)]
    duty = [share * rng.uniform(0.3, 0.9) for share in loaded]
    served = requests(duty, STEP, 0.5, rng)
    lost = [cell["lost"] * max(0, i - BEGINS) // period * grows for i in range(COUNT)]
    live = add([cell["model"] * share for share in loaded], lost)
    server = torch_server(duty, served, STEP, rng, weights=600.0, live=live)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def idle_creep(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Grows while nothing is asked: a heartbeat that keeps its results."""
    duty = [share if share > 0.25 else 0.0 for share in daily(COUNT, STEP, 0.0, 0.7, rng, peak=0.1)]
    served = requests(duty, STEP, 1.0, rng)
    per_step = cell["rate"] * STEP / 3600
    creep = cumulated(per_step * grows * (share == 0.0 and i >= BEGINS) for i, share in enumerate(duty))
    live = add(steps_of(creep, 2.0), conversations(duty, 2000.0, rng))
    server = torch_server(duty, served, STEP, rng, weights=cell["weights"], live=live)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def fragmentation(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Live tensors stay as they are; the allocator reserves ever more for shapes that no longer fit."""
    duty = steady(COUNT, 0.6, rng)
    served = requests(duty, STEP, 1.0, rng)
    kv = conversations(duty, 3000.0, rng)
    holes = steps_of(leaked(served, cell["each"], grows), 20.0)
    server = torch_server(duty, served, STEP, rng, weights=8000.0, live=kv, kv=kv, reserve=holes)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def non_torch_leak(cell: Cell, rng: Random, grows: bool) -> Trace:
    """A library beside PyTorch keeps 2 MiB an iteration; the allocator's figures stay as they are."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, cell["requests"], rng)
    outside = leaked(served, 2.0, grows)
    live = conversations(duty, 1500.0, rng)
    server = torch_server(duty, served, STEP, rng, weights=8000.0, live=live, outside=outside)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def ghost(cell: Cell, rng: Random, grows: bool) -> Trace:
    """Workers die, and what they held stays on the card without an owner."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 1.0, rng)
    every = round(cell["every"] / STEP)
    hidden, lives = flat(COUNT, 0.0), []
    for number, begin in enumerate(range(0, COUNT - 4, every)):
        end = min(begin + every - 2, COUNT)
        part = slice(begin, end)
        live = conversations(duty[part], 1500.0, rng)
        lives.append(
            torch_server(
                duty[part], served[part], STEP, rng, weights=6000.0, live=live, pid=4100 + number, begin=begin
            )
        )
        for i in range(end, COUNT):
            hidden[i] += cell["left"] * grows
    return Trace(
        STEP, flat(COUNT, CARD_80), duty, tuple(lives), hidden, grows_from=every - 2, life_from=every - 2
    )


def process_count(cell: Cell, rng: Random, grows: bool) -> Trace:
    """A pool starts helpers and never ends them; each has a context of its own."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 1.0, rng)
    every = round(cell["every"] / STEP)
    live = conversations(duty, 1500.0, rng)
    lives = [torch_server(duty, served, STEP, rng, weights=9000.0, live=live)]
    for number, begin in enumerate(range(BEGINS, COUNT - 1, every)):
        length = COUNT - begin if grows else min(every, COUNT - begin)
        size = CONTEXT + cell["helper"] * rng.uniform(0.6, 1.0)
        lives.append(Life(4200 + number, begin, settling(length, STEP, size, 20.0)))
    return Trace(STEP, flat(COUNT, CARD_24), duty, tuple(lives), grows_from=BEGINS, life_from=BEGINS)


def unbounded_kv(cell: Cell, rng: Random, grows: bool) -> Trace:
    """The history of every conversation stays in the cache."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 0.2, rng)
    kv = add(conversations(duty, 6000.0, rng), leaked(served, cell["each"], grows))
    server = torch_server(duty, served, STEP, rng, weights=15_500.0, live=kv, kv=kv)
    return Trace(STEP, flat(COUNT, CARD_80), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def oversized_cache(cell: Cell, rng: Random, grows: bool) -> Trace:
    """A cache that would settle, were the card larger."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 1.0, rng)
    limit = cell["limit"] if grows else cell["limit"] / 6
    filling = settling(COUNT - BEGINS, STEP, limit, cell["time"])
    cache = steps_of(flat(BEGINS, 0.0) + filling, 2.0)
    live = add(cache, conversations(duty, 600.0, rng))
    server = torch_server(duty, served, STEP, rng, weights=9000.0, live=live, kv=cache)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=BEGINS, life_from=BEGINS)


def unfitting_spike(cell: Cell, rng: Random, grows: bool) -> Trace:
    """A large input fitted once; then a second model came, and its like fits no more."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 1.0, rng)
    came, again = COUNT // 2, COUNT - 120
    second = flat(came, 0.0) + flat(COUNT - came, cell["second"] * (1.0 if grows else 0.2))
    spikes = [cell["spike"] * (i in (BEGINS, BEGINS + 90, again)) for i in range(COUNT)]
    live = add(second, spikes, conversations(duty, 500.0, rng))
    server = torch_server(duty, served, STEP, rng, weights=9000.0, live=live)
    return Trace(STEP, flat(COUNT, CARD_24), duty, (server,), grows_from=came, life_from=came)


LEAKS = (
    {"each": 3.0, "requests": 0.4, "weights": 8000.0},
    {"each": 0.6, "requests": 0.8, "weights": 7000.0},
)
OTHER_LEAKS = (
    {"each": 2.0, "requests": 0.5, "weights": 9500.0},
    {"each": 10.0, "requests": 0.05, "weights": 8500.0},
)

SCENARIOS = (
    *(Scenario(name, build, cause, group, serving, tuning, test, judges_forecast=linear)
    for name, build, cause, group, serving, linear, tuning, test in (
        (
            "leak-per-request", leak_per_request, Cause.LEAK, Group.GROWTH, Serving.LANGUAGE, True,
            LEAKS, OTHER_LEAKS,
        ),
        (
            "leak-beside-a-tenant", leak_beside_a_tenant, Cause.LEAK, Group.GROWTH, Serving.LANGUAGE, False,
            LEAKS[:1], OTHER_LEAKS[:1],
        ),
        (
            "leak-with-gaps", leak_with_gaps, Cause.LEAK, Group.GROWTH, Serving.LANGUAGE, True,
            LEAKS[:1], OTHER_LEAKS[:1],
        ),
        (
            "leak-through-restarts", leak_through_restarts, Cause.LEAK, Group.GROWTH, Serving.IMAGE, True,
            ({"each": 1.0}, {"each": 1.6}), ({"each": 1.3}, {"each": 2.2}),
        ),
        (
            "staircase", staircase, Cause.LEAK, Group.GROWTH, Serving.IMAGE, False,
            ({"every": 3600.0, "stair": 1600.0}, {"every": 1800.0, "stair": 922.0}),
            ({"every": 2700.0, "stair": 1200.0}, {"every": 5400.0, "stair": 2400.0}),
        ),
        (
            "load-cycles-with-loss", load_cycles_with_loss, Cause.LEAK, Group.GROWTH, Serving.IMAGE, True,
            (
                {"period": 900.0, "model": 6000.0, "lost": 300.0},
                {"period": 600.0, "model": 9000.0, "lost": 160.0},
            ),
            (
                {"period": 1200.0, "model": 7000.0, "lost": 420.0},
                {"period": 720.0, "model": 5000.0, "lost": 200.0},
            ),
        ),
        (
            "idle-creep", idle_creep, Cause.LEAK, Group.GROWTH, Serving.IMAGE, False,
            ({"rate": 900.0, "weights": 14_000.0}, {"rate": 500.0, "weights": 16_000.0}),
            ({"rate": 700.0, "weights": 15_000.0}, {"rate": 1200.0, "weights": 12_000.0}),
        ),
        (
            "fragmentation", fragmentation, Cause.FRAGMENTATION, Group.GROWTH, Serving.LANGUAGE, True,
            ({"each": 0.9}, {"each": 0.5}), ({"each": 0.7}, {"each": 1.2}),
        ),
        (
            "non-torch-leak", non_torch_leak, Cause.NON_TORCH, Group.GROWTH, Serving.IMAGE, True,
            ({"requests": 0.7}, {"requests": 0.5}), ({"requests": 0.6}, {"requests": 0.9}),
        ),
        (
            "ghost", ghost, Cause.GHOST, Group.GROWTH, Serving.LANGUAGE, False,
            ({"every": 3600.0, "left": 8000.0}, {"every": 5400.0, "left": 11_000.0}),
            ({"every": 4500.0, "left": 9500.0}, {"every": 2700.0, "left": 6500.0}),
        ),
        (
            "process-count", process_count, Cause.PROCESS_COUNT, Group.GROWTH, Serving.LANGUAGE, False,
            ({"every": 1200.0, "helper": 120.0}, {"every": 2400.0, "helper": 500.0}),
            ({"every": 1500.0, "helper": 200.0}, {"every": 1800.0, "helper": 400.0}),
        ),
        (
            "unbounded-kv", unbounded_kv, Cause.KV_CACHE, Group.GROWTH, Serving.LANGUAGE, True,
            ({"each": 24.0}, {"each": 15.0}), ({"each": 19.0}, {"each": 32.0}),
        ),
        (
            "oversized-cache", oversized_cache, Cause.KV_CACHE, Group.GROWTH, Serving.LANGUAGE, False,
            ({"limit": 24_000.0, "time": 14_400.0}, {"limit": 20_000.0, "time": 10_800.0}),
            ({"limit": 22_000.0, "time": 18_000.0}, {"limit": 30_000.0, "time": 21_600.0}),
        ),
        (
            "unfitting-spike", unfitting_spike, Cause.SPIKE, Group.SPIKE, Serving.LANGUAGE, False,
            ({"spike": 6500.0, "second": 9000.0}, {"spike": 9000.0, "second": 7500.0}),
            ({"spike": 7500.0, "second": 8200.0}, {"spike": 5500.0, "second": 10_000.0}),
        ),
    )),
    Scenario(
        "leak-with-withheld-claims", leak_with_withheld_claims, Cause.LEAK, Group.GROWTH, Serving.LANGUAGE,
        LEAKS[:1], OTHER_LEAKS[:1], judges_cause=False,
    ),
)  # fmt: skip
