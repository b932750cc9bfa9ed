"""Chance and load as functions of time: the same seed and moment always give the same value."""

from math import cos, floor, pi, sin
from zlib import crc32

from vramwatch.core.units import Seconds
from vramwatch.scenario.schema import Load

JITTER_STEP = Seconds(15.0)  # the running requests wander from one chance to the next in this time

_WORD = 0xFFFF_FFFF_FFFF_FFFF


def chance(seed: int, name: str, number: int) -> float:
    """Return the chance with this ``seed``, ``name`` and ``number``: uniform in [0, 1).

    Source: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    """
    word = (seed * 0x9E37_79B9_7F4A_7C15 + (crc32(name.encode()) << 32) + number) & _WORD
    for _ in range(2):
        word = (word + 0x9E37_79B9_7F4A_7C15) & _WORD
        word = ((word ^ (word >> 30)) * 0xBF58_476D_1CE4_E5B9) & _WORD
        word = ((word ^ (word >> 27)) * 0x94D0_49BB_1331_11EB) & _WORD
        word ^= word >> 31
    return (word >> 11) / (1 << 53)


def request_rate(load: Load, time: Seconds) -> float:
    """Return the requests per second that arrive at ``time``: a cosine from ``low`` to ``peak``."""
    return load.low + (load.peak - load.low) * (1 - cos(2 * pi * time / load.period)) / 2


def requests_between(load: Load, since: Seconds, until: Seconds) -> int:
    """Return how many requests arrived from ``since`` to ``until``: the integral of the rate."""
    if until <= since:
        return 0
    turn = 2 * pi / load.period
    swing = (load.peak - load.low) / 2
    mean = (load.low + swing) * (until - since)
    # Near a trough the two terms nearly cancel, and rounding could make less than none of them.
    return max(0, floor(mean - swing * (sin(turn * until) - sin(turn * since)) / turn))


def requests_in_flight(load: Load, time: Seconds, seed: int, name: str) -> tuple[int, int]:
    """Return (running, waiting) at ``time``: rate x service time (Little's law), varied by the jitter."""
    step, part = divmod(time / JITTER_STEP, 1)
    before, after = chance(seed, name, int(step)), chance(seed, name, int(step) + 1)
    wander = (before + (after - before) * part) * 2 - 1
    present = round(request_rate(load, time) * load.service * (1 + load.jitter * wander))
    running = min(present, load.slots)
    return running, present - running
