"""Healthy servers whose recording is bad, or whose card is not theirs alone: never a leak."""

from dataclasses import replace
from random import Random

from benchmarks.detection.cases import Cause, Group, Serving
from benchmarks.detection.synthetic.healthy import CARD_80
from benchmarks.detection.synthetic.parts import torch_server
from benchmarks.detection.synthetic.scenario import Cell, Scenario
from benchmarks.detection.synthetic.server import Gap, Trace
from benchmarks.detection.synthetic.shapes import add, conversations, daily, flat, requests, steady

COUNT, STEP = 1440, 30.0
DEAD_FOR = 1  # steps between two lives of one pid


def plain(cell: Cell, rng: Random, is_withheld: bool = False) -> Trace:
    """Return half a day of a language model served by hand."""
    duty = steady(COUNT, cell.get("duty", 0.5), rng)
    kv = conversations(duty, cell.get("kv", 20_000.0), rng)
    served = requests(duty, STEP, 0.5, rng)
    server = torch_server(duty, served, STEP, rng, weights=15_500.0, live=kv, kv=kv, is_withheld=is_withheld)
    return Trace(STEP, flat(COUNT, CARD_80), duty, (server,))


def gaps(cell: Cell, rng: Random, _: bool) -> Trace:
    """Readings are missing, for minutes and for hours, and what is between is another state of load."""
    trace = plain(cell, rng)
    holes, at = [], 60
    while at < COUNT - 200:
        length = rng.choice((4, 30, 120))
        holes.append(Gap(at, at + length, rng.choice(("daemon_stopped", "driver_hung", "stalled"))))
        at += length + round(cell["apart"] * rng.uniform(0.5, 1.5))
    return replace(trace, gaps=tuple(holes))


def withheld_claims(cell: Cell, rng: Random, _: bool) -> Trace:
    """The driver says what the card holds, and of no process how much."""
    return plain(cell, rng, is_withheld=True)


def reused_pid(cell: Cell, rng: Random, _: bool) -> Trace:
    """One pid, several lives, each of another size: no growth of one process."""
    duty = steady(COUNT, 0.5, rng)
    served = requests(duty, STEP, 0.5, rng)
    length = COUNT // 4
    lives = []
    for number in range(4):
        part = slice(number * length, (number + 1) * length - DEAD_FOR)
        kv = conversations(duty[part], 6000.0, rng)
        lives.append(
            torch_server(
                duty[part],
                served[part],
                STEP,
                rng,
                weights=6000.0 + number * cell["larger"],
                live=kv,
                kv=kv,
                begin=part.start,
                owner=f"unit:job-{number}.service",
            )
        )
    return Trace(STEP, flat(COUNT, CARD_80), duty, tuple(lives))


def clock_set_back(cell: Cell, rng: Random, _: bool) -> Trace:
    """The wall clock was corrected in the middle: rows descend in time."""
    return replace(plain(cell, rng), clock_back=(COUNT // 2, cell["back"]))


def mebibytes_as_bytes(cell: Cell, rng: Random, _: bool) -> Trace:
    """Whoever wrote the file wrote MiB."""
    return replace(plain(cell, rng), scale=1)


def other_tenant(cell: Cell, rng: Random, _: bool) -> Trace:
    """Another tenant, whose processes are not shown, has a day of load of its own."""
    trace = plain({"kv": 12_000.0}, rng)
    load = daily(COUNT, STEP, 0.05, 0.9, rng, peak=cell["peak"])
    return replace(trace, hidden=add(flat(COUNT, 3000.0), conversations(load, cell["tenant"], rng)))


def reconfigured(cell: Cell, rng: Random, _: bool) -> Trace:
    """The MIG instance is made anew, smaller: what is used has not grown, though its share has."""
    trace = plain({"kv": 6000.0}, rng)
    at = COUNT // 2
    total = flat(at, CARD_80) + flat(COUNT - at, cell["smaller"])
    return replace(trace, total=total)


SCENARIOS = tuple(
    Scenario(
        name,
        build,
        cause,
        Group.BAD_INPUT,
        Serving.LANGUAGE,
        tuning,
        test,
        may_be_refused=build in (clock_set_back, mebibytes_as_bytes),
    )
    for name, build, cause, tuning, test in (
        ("gaps", gaps, Cause.LOAD, ({"apart": 120.0, "kv": 30_000.0},), ({"apart": 80.0, "kv": 22_000.0},)),
        ("withheld-claims", withheld_claims, Cause.LOAD, ({"kv": 24_000.0},), ({"kv": 36_000.0},)),
        ("reused-pid", reused_pid, Cause.LOAD, ({"larger": 9000.0},), ({"larger": 6000.0},)),
        ("clock-set-back", clock_set_back, Cause.LOAD, ({"back": 3600.0},), ({"back": 900.0},)),
        ("mebibytes-as-bytes", mebibytes_as_bytes, Cause.LOAD, ({"duty": 0.5},), ({"duty": 0.7},)),
        (
            "other-tenant",
            other_tenant,
            Cause.LOAD,
            ({"tenant": 30_000.0, "peak": 0.5},),
            ({"tenant": 22_000.0, "peak": 0.8},),
        ),
        ("reconfigured", reconfigured, Cause.LOAD, ({"smaller": 40_448.0},), ({"smaller": 30_000.0},)),
    )
)
