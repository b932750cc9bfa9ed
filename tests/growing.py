"""A server for each pattern that shows it, and the same one in health; docs/plots draws them too."""

from math import cos, exp, pi
from random import Random

from tests.servers import (
    CARD,
    DAY,
    STEP,
    Moment,
    Process,
    conversations,
    creeping,
    healthy,
    leaking,
    one,
    out_of_memory,
    running_away,
    torch,
    working,
)
from vramwatch.core.units import MIB


def idle_between(count, each, kept):
    """Five minutes of work every half hour; each half hour leaves ``each`` MiB, on top of ``kept``."""
    for minute in range(count):
        is_busy = minute % 30 < 5
        held = kept + each * (minute // 30) + 800.0 * is_busy
        if held + 700.0 > CARD:
            return
        yield one(minute * STEP, held, 0.5 * is_busy)


def never_idle(count, each):
    """Always at work, with a release every seven minutes that falls to an ever higher floor."""
    chance = Random(3)
    for minute in range(count):
        held = 6000.0 + each * max(0, minute - 60) + (minute % 7 != 0) * chance.uniform(400, 2500)
        yield one(minute * STEP, held, chance.uniform(0.4, 0.6))


def swapping(count, lost_a_busy_hour, seed=2):
    """25 models are swapped in and out as they are asked for; being at work loses memory."""
    chance, lost, minute = Random(seed), 0.0, 0
    levels = [2.0 * chance.randint(1500, 5000) for _ in range(25)]
    while minute < count:
        level = chance.choice(levels)
        for _ in range(chance.randint(1, 4)):
            lost += lost_a_busy_hour / 60
            yield one(minute * STEP, level + lost + chance.uniform(300, 4000), 1.0)
            minute += 1
        for _ in range(chance.randint(3, 9)):
            yield one(minute * STEP, level + lost // 20 * 20, 0.0)
            minute += 1


def days_of_load(days, lost_a_day, step=300.0, most=7000.0):
    chance = Random(4)
    for i in range(round(days * DAY / step)):
        time = i * step
        load = 0.5 - 0.45 * cos(2 * pi * time / DAY)
        yield one(time, 5000.0 + lost_a_day * time / DAY + load * chance.uniform(0.5, 1) * most, load)


def stairs(count, every, stair):
    """Never at rest, never a release: now and then a buffer more."""
    chance = Random(5)
    for minute in range(count):
        taken = stair * max(0, (minute - 60) // every)
        yield one(minute * STEP, 7000.0 + taken + chance.uniform(0, 40), 0.5)


def dying_workers(count, left, every=60):
    """A worker an hour; what it leaves behind nobody holds."""
    for minute in range(count):
        number, at = divmod(minute, every)
        workers = (Process(6000.0, 4100 + number, begins=number * every * STEP),) if at >= 2 else ()
        yield Moment(minute * STEP, workers, 0.5 if workers else 0.0, 300.0 + left * min(number, 5))


def helpers(count, every, size, end=False):
    """A server starts a helper every so many minutes, and ends the one before, or does not."""
    for minute in range(count):
        came = list(range(max(0, (minute - 60) // every + 1)))
        beside = [Process(size, 4200 + k, begins=(60 + k * every) * STEP) for k in came]
        yield Moment(minute * STEP, (Process(9000.0), *(beside[-1:] if end else beside)), 0.5)


def lives(more, count=7, each=75):
    """A service that is rolled out anew every so many minutes, each time with ``more`` MiB of weights."""
    for number in range(count):
        begins = number * (each + 2) * STEP
        for minute in range(each):
            yield one(begins + minute * STEP, 9000.0 + more * number, 0.5, pid=4100 + number, begins=begins)
        for minute in (each, each + 1):
            yield Moment(begins + minute * STEP, (Process(500.0, 99, "other"),), 0.0)


def pool(count, each):
    """An engine that took 22,000 MiB at its start; in its pool of 12,000 requests come and go."""
    shares, lost = working(count, 6), 0.0
    for minute, (share, talk) in enumerate(zip(shares, conversations(shares, 4000.0, 6), strict=True)):
        lost += each if share and minute >= 120 else 0.0
        told = {
            "engine_kv_bytes": min(12_000.0, lost + talk) * MIB,
            "engine_pool_bytes": 12_000.0 * MIB,
            "requests_running": float(round(share * 8)),
            "requests_waiting": 0.0,
        }
        yield one(minute * STEP, 22_000.0, share, told=told)


def pressed_pool(count, asked):
    """From the third hour on more is asked than a pool of 12,000 MiB holds, or nearly so much."""
    for minute in range(count):
        wanted = 6000.0 if minute < 120 else asked
        told = {
            "engine_kv_bytes": min(12_000.0, wanted) * MIB,
            "engine_pool_bytes": 12_000.0 * MIB,
            "requests_running": 8.0,
            "requests_waiting": 20.0 * (wanted > 12_000.0),
        }
        yield one(minute * STEP, 22_000.0, 0.9, told=told)


def spilling(on_gpu):
    told = {"model_bytes": 12_000.0 * MIB, "model_gpu_bytes": on_gpu * MIB}
    return (one(minute * STEP, 9000.0, 0.1, told=told) for minute in range(20))


def large_inputs(second, height, count=640):
    """Two large inputs in the fourth and fifth hour, a ``second`` model from the eighth on."""
    shares = working(count, 7)
    for minute, (share, talk) in enumerate(zip(shares, conversations(shares, 1500.0, 7), strict=True)):
        held = 8000.0 + talk + second * (minute >= 450) + height * (minute in (200, 260))
        yield one(minute * STEP, held, share)


def refused(told):
    """A quiet server of which somebody says in its ninth minute that it was refused memory."""
    return (one(i * 10.0, 9000.0, 0.5, events=(told,) if i == 50 else ()) for i in range(60))


def ending_when_full(held_before):
    for i in range(100):
        yield one(i * 10.0, 9000.0 if i < 97 else held_before, 0.5)
    for i in range(100, 140):
        yield Moment(i * 10.0, (Process(500.0, 99, "other"),), 0.0)


def filling(limit, time_constant, count=700, tells=True):
    """A cache that fills with what is asked, towards ``limit`` MiB; ``time_constant``: seconds of work."""
    shares, busy = working(count, 8), 0.0
    for minute, (share, talk) in enumerate(zip(shares, conversations(shares, 600.0, 8), strict=True)):
        busy += STEP * (share > 0)
        kv = limit * (1 - exp(-busy / time_constant))
        told = torch(8500.0 + kv + talk, kv=kv) if tells else {}
        yield one(minute * STEP, 9000.0 + kv + talk, share, told=told)


GROWING = {
    "same_state": lambda: leaking(560),
    "level_return": lambda: swapping(420, 1200.0),
    "event_floor": lambda: never_idle(400, 12.0),
    "staircase": lambda: stairs(330, 25, 400.0),
    "daily_floor": lambda: days_of_load(6.3, 900.0),
    "idle_creep": lambda: creeping(160),
    "near_full": lambda: idle_between(500, 30.0, 21_000.0),
    "unattributed": lambda: dying_workers(200, 2500.0),
    "process_count": lambda: helpers(200, 20, 400.0),
    "restart_growth": lambda: lives(400.0),
    "fast_path": running_away,
    "pool_leak": lambda: pool(420, 20.0),
    "pool_pressure": lambda: pressed_pool(240, 15_000.0),
    "spilled": lambda: spilling(9000.0),
    "spike": lambda: large_inputs(9000.0, 7500.0),
    "out_of_memory": lambda: refused(out_of_memory(4100)),
}
"""By the pattern that it shows: a server in which it is seen."""

SILENT = {
    "same_state": lambda: healthy(560),
    "level_return": lambda: swapping(420, 0.0),
    "event_floor": lambda: never_idle(400, 0.0),
    "staircase": lambda: stairs(330, 25, 0.0),
    "daily_floor": lambda: days_of_load(6.3, 0.0),
    "idle_creep": lambda: creeping(160, each=0.0),
    "near_full": lambda: idle_between(500, 0.0, 22_000.0),
    "unattributed": lambda: dying_workers(200, 0.0),
    "process_count": lambda: helpers(200, 20, 400.0, end=True),
    "restart_growth": lambda: lives(0.0),
    "fast_path": lambda: running_away(each=0.0),
    "pool_leak": lambda: pool(420, 0.0),
    "pool_pressure": lambda: pressed_pool(240, 11_000.0),
    "spilled": lambda: spilling(12_000.0),
    "spike": lambda: large_inputs(9000.0, 3000.0, count=560),
    "out_of_memory": lambda: refused(out_of_memory(5555, gpu=None)),
}
"""The same servers, in which nothing is wrong."""
