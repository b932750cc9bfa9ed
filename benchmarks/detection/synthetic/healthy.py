"""Servers in which nothing grows without end."""

from random import Random

from benchmarks.detection.cases import Cause, Group, Serving
from benchmarks.detection.synthetic.parts import preallocated, torch_server
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import Trace
from benchmarks.detection.synthetic.shapes import (
    add,
    conversations,
    daily,
    flat,
    high_water,
    requests,
    residency,
    settling,
    steady,
    steps_of,
)

CARD_24, CARD_80 = 24_564.0, 81_559.0  # MiB: an RTX 4090, an H100


def warm_up(cell: Cell, rng: Random, _: bool) -> Trace:
    """Context, lazily loaded kernels, graphs and workspaces: all within the first half hour."""
    count, step = 1440, 30.0
    duty = steady(count, 0.5, rng)
    served = requests(duty, step, 2.0, rng)
    live = conversations(duty, 1200.0, rng)
    late = steps_of(settling(count, step, cell["late"], cell["time"]), 2.0)
    server = torch_server(duty, served, step, rng, weights=cell["weights"], live=live, outside=late)
    return Trace(step, flat(count, CARD_24), duty, (server,))


def plan_cache(cell: Cell, rng: Random, _: bool) -> Trace:
    """cuDNN keeps 10,000 plans of 200 KiB: a bounded ramp that takes hours of varied shapes to fill."""
    count, step = 2160, 30.0
    duty = steady(count, 0.6, rng)
    served = requests(duty, step, 1.0, rng)
    plans, seen = [], 0.0
    for share in duty:
        seen += share * cell["shapes"] * (1 - seen / 10_000)
        plans.append(seen * 0.2)
    live = conversations(duty, 900.0, rng)
    server = torch_server(duty, served, step, rng, weights=7000.0, live=live, outside=plans)
    return Trace(step, flat(count, CARD_24), duty, (server,))


def bounded_kv(cell: Cell, rng: Random, _: bool) -> Trace:
    """Transformers by hand: the KV cache follows the conversations, and leaves with them."""
    count, step = 1440, 30.0
    duty = steady(count, cell["duty"], rng)
    served = requests(duty, step, 0.5, rng)
    kv = conversations(duty, cell["kv"], rng)
    server = torch_server(duty, served, step, rng, weights=15_500.0, live=kv, kv=kv)
    return Trace(step, flat(count, CARD_80), duty, (server,))


def daily_load(cell: Cell, rng: Random, _: bool) -> Trace:
    """Two days and nights; memory follows the load, and the allocator keeps what the day needed."""
    count, step = 2880, 60.0
    duty = daily(count, step, 0.02, cell["day"], rng, peak=cell["peak"])
    served = requests(duty, step, 3.0, rng)
    kv = conversations(duty, cell["kv"], rng)
    server = torch_server(duty, served, step, rng, weights=15_500.0, live=kv, kv=kv)
    return Trace(step, flat(count, CARD_80), duty, (server,))


def evening_residency(cell: Cell, rng: Random, _: bool) -> Trace:
    """Models are swapped as requests ask; in the evening the last one stays: the floor falls with load."""
    count, step = 2880, 60.0
    duty = daily(count, step, 0.0, 0.7, rng)
    served = requests(duty, step, 0.2, rng)
    sizes = [3500.0, 6800.0, cell["large"], cell["large"] * 1.4]
    models = residency(duty, sizes, rng)
    server = torch_server(duty, served, step, rng, weights=4000.0, live=models)
    return Trace(step, flat(count, 49_140.0), duty, (server,))


def fitting_spikes(cell: Cell, rng: Random, _: bool) -> Trace:
    """Now and then a long input; its like fits again at any time."""
    count, step = 1440, 30.0
    duty = steady(count, 0.5, rng)
    served = requests(duty, step, 1.0, rng)
    spikes = [cell["spike"] * rng.uniform(0.8, 1.0) if rng.random() < 0.01 else 0.0 for _ in duty]
    live = add(conversations(duty, 800.0, rng), spikes)
    server = torch_server(duty, served, step, rng, weights=9000.0, live=live)
    return Trace(step, flat(count, CARD_24), duty, (server,))


def levelling_ratchet(cell: Cell, rng: Random, _: bool) -> Trace:
    """The longest input so far sets the allocator's mark; inputs have a longest length."""
    count, step = 1440, 30.0
    duty = steady(count, 0.5, rng)
    served = requests(duty, step, 1.0, rng)
    longest = [cell["longest"] * rng.betavariate(1.2, cell["skew"]) * (share > 0) for share in duty]
    server = torch_server(duty, served, step, rng, weights=9000.0, live=longest, gives_back=False)
    return Trace(step, flat(count, CARD_24), duty, (server,))


def fitting_cache(cell: Cell, rng: Random, _: bool) -> Trace:
    """A cache of the application's own fills with distinct keys, up to its limit."""
    count, step = 2160, 30.0
    duty = steady(count, 0.5, rng)
    served = requests(duty, step, 1.0, rng)
    cache = steps_of(settling(count, step, cell["limit"], cell["time"]), 2.0)
    live = add(cache, conversations(duty, 600.0, rng))
    server = torch_server(duty, served, step, rng, weights=9000.0, live=live, kv=cache)
    return Trace(step, flat(count, CARD_24), duty, (server,))


def preallocated_flat(cell: Cell, rng: Random, _: bool) -> Trace:
    """An engine that took its share at the start; inside, requests come and go."""
    count, step = 1440, 60.0
    duty = daily(count, step, 0.0, 0.8, rng)
    served = requests(duty, step, 4.0, rng)
    pool = 0.5 * CARD_80
    kv = conversations(duty, pool * 0.8, rng)
    server = preallocated(duty, served, rng, held=cell["share"] * CARD_80, pool=pool, kv=kv)
    return Trace(step, flat(count, CARD_80), duty, (server,))


def model_cycles(cell: Cell, rng: Random, _: bool) -> Trace:
    """A model is loaded for work and unloaded after it; nothing is lost."""
    count, step = 1440, 30.0
    period = round(cell["period"] / step)
    loaded = [float(i % period < period * 0.6) for i in range(count)]
    duty = [share * rng.uniform(0.3, 0.9) for share in loaded]
    served = requests(duty, step, 0.5, rng)
    live = [cell["model"] * share for share in loaded]
    server = torch_server(duty, served, step, rng, weights=600.0, live=live)
    return Trace(step, flat(count, CARD_24), duty, (server,))


def roll_outs(cell: Cell, rng: Random, _: bool) -> Trace:
    """A new version every few hours: each life warms up again, and is a little larger than the last."""
    count, step = 1440, 60.0
    duty = steady(count, 0.5, rng)
    served = requests(duty, step, 1.0, rng)
    every = round(cell["every"] / step)
    lives = []
    for number, begin in enumerate(range(0, count, every)):
        part = slice(begin, min(begin + every - 2, count))  # two steps without the service
        lives.append(
            torch_server(
                duty[part],
                served[part],
                step,
                rng,
                weights=9000.0 + 60.0 * number,
                live=high_water(conversations(duty[part], 1500.0, rng)),
                pid=4100 + number,
                begin=begin,
            )
        )
    return Trace(step, flat(count, CARD_24), duty, tuple(lives))


SCENARIOS = (
    Scenario(
        "warm-up", warm_up, Cause.WARMUP, Group.LOOK_ALIKE, Serving.IMAGE,
        (
            {"weights": 6800.0, "late": 1400.0, "time": 400.0},
            {"weights": 9000.0, "late": 2464.0, "time": 120.0},
        ),
        (
            {"weights": 7600.0, "late": 1900.0, "time": 600.0},
            {"weights": 5200.0, "late": 900.0, "time": 240.0},
        ),
    ),
    Scenario(
        "plan-cache", plan_cache, Cause.WARMUP, Group.LOOK_ALIKE, Serving.IMAGE,
        ({"shapes": 20.0}, {"shapes": 8.0}), ({"shapes": 30.0}, {"shapes": 12.0}),
    ),
    Scenario(
        "bounded-kv", bounded_kv, Cause.KV_CACHE, Group.LOOK_ALIKE, Serving.LANGUAGE,
        ({"kv": 24_000.0, "duty": 0.6}, {"kv": 40_000.0, "duty": 0.4}),
        ({"kv": 32_000.0, "duty": 0.7}, {"kv": 18_000.0, "duty": 0.5}),
    ),
    Scenario(
        "daily-load", daily_load, Cause.LOAD, Group.LOOK_ALIKE, Serving.LANGUAGE,
        ({"day": 0.8, "kv": 36_000.0, "peak": 0.6}, {"day": 0.95, "kv": 20_000.0, "peak": 0.9}),
        ({"day": 0.7, "kv": 44_000.0, "peak": 0.75}, {"day": 0.9, "kv": 28_000.0, "peak": 0.4}),
    ),
    Scenario(
        "evening-residency", evening_residency, Cause.LOAD, Group.LOOK_ALIKE, Serving.IMAGE,
        ({"large": 12_000.0}, {"large": 17_000.0}), ({"large": 14_500.0}, {"large": 9_500.0}),
    ),
    Scenario(
        "fitting-spikes", fitting_spikes, Cause.SPIKE, Group.HEALTHY, Serving.LANGUAGE,
        ({"spike": 4400.0}, {"spike": 7000.0}), ({"spike": 5600.0}, {"spike": 3000.0}),
    ),
    Scenario(
        "levelling-ratchet", levelling_ratchet, Cause.WARMUP, Group.HEALTHY, Serving.LANGUAGE,
        ({"longest": 9000.0, "skew": 6.0}, {"longest": 6000.0, "skew": 12.0}),
        ({"longest": 7500.0, "skew": 8.0}, {"longest": 10_000.0, "skew": 16.0}),
    ),
    Scenario(
        "fitting-cache", fitting_cache, Cause.KV_CACHE, Group.LOOK_ALIKE, Serving.LANGUAGE,
        ({"limit": 6000.0, "time": 7200.0}, {"limit": 9000.0, "time": 14_400.0}),
        ({"limit": 7500.0, "time": 10_800.0}, {"limit": 4500.0, "time": 18_000.0}),
    ),
    Scenario(
        "preallocated-flat", preallocated_flat, Cause.LOAD, Group.HEALTHY, Serving.LANGUAGE,
        ({"share": 0.95}, {"share": 0.92}), ({"share": 0.97}, {"share": 0.90}),
    ),
    Scenario(
        "model-cycles", model_cycles, Cause.LOAD, Group.HEALTHY, Serving.IMAGE,
        ({"period": 1800.0, "model": 9000.0}, {"period": 900.0, "model": 14_000.0}),
        ({"period": 1200.0, "model": 11_500.0}, {"period": 2700.0, "model": 6500.0}),
    ),
    Scenario(
        "roll-outs", roll_outs, Cause.LOAD, Group.HEALTHY, Serving.IMAGE,
        ({"every": 14_400.0}, {"every": 7200.0}), ({"every": 10_800.0}, {"every": 21_600.0}),
    ),
)  # fmt: skip
