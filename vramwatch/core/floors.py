"""Whether the points of a floor rise as only growth does: strictly, materially, and to the end."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from vramwatch.core.saturation import Shape, saturation
from vramwatch.core.trend import mann_kendall, theil_sen
from vramwatch.core.units import MIB, show_bytes, show_seconds
from vramwatch.core.verdicts import Cause, Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Points, Window

QUANTUM = 2 * MIB

WARM_UP = 1800.0
"""Seconds after its start in which a process fills its caches, loads kernels and captures graphs."""

LEAST_GROWTH, LEAST_SHARE = 64 * MIB, 0.002
"""Growth that is worth a word, and the same as a share of the capacity."""

LATE = 0.2
"""Share of the growth that must have come in the second half: less is a warm-up, or an end."""

MORE_LOAD = 1.25
"""How many times the first half's load the second half may have, for a floor not to be the load's doing."""


@dataclass(frozen=True, slots=True)
class Rise:
    """How a floor rose, in bytes.

    ``growth``: last points less first, by medians of the outer fifths. ``fall``: the deepest fall from an
    earlier point. ``late``: the share of the growth that came in the second half of the time.
    ``steps``: how many points rose by a quantum or more above all before them.
    """

    growth: float
    fall: float
    late: float
    steps: int


def rise(times: Sequence[float], values: Sequence[float]) -> Rise:
    """Return how ``values`` (bytes, at least one) rise over ``times``, which ascend."""
    outer = max(1, len(values) // 5)
    first, last = _median(values[:outer]), _median(values[-outer:])
    growth = last - first
    halfway = bisect_right(times, (times[0] + times[-1]) / 2)
    middle = _median(values[max(0, halfway - outer) : halfway])
    highest, fall, steps = values[0], 0.0, 0
    for value in values:
        if value >= highest + QUANTUM:
            highest, steps = value, steps + 1
        elif highest - value > fall:
            fall = highest - value
    return Rise(growth, fall, (last - middle) / growth if growth > 0 else 0.0, steps)


def judge_floor(
    window: Window,
    points: Points,
    what: str,
    *,
    least_points: int,
    z: float,
    deepest_fall: float,
    least_steps: int,
    rules_out_load: bool = False,
) -> Verdict:
    """Return whether the floor ``points`` rises as only growth does.

    It must have ``least_points`` after the warm-up, rise with Mann-Kendall's ``z`` or more in
    ``least_steps`` steps, by what is material, never fall by more than ``deepest_fall`` of its growth,
    and rise still. ``what`` names the floor in the sentence.
    """
    lane = window.used
    warm = lane.time - window.age + WARM_UP
    times, works, values = points.since(warm)
    if len(values) < least_points:
        return Unknown(f"{len(values)} of {least_points} points {what} after the warm-up")
    seen = rise(times, values)
    if not is_material(seen.growth, window) or seen.steps < least_steps:
        return Clear()
    if seen.fall > deepest_fall * seen.growth or seen.late < LATE:
        return Clear()
    test = mann_kendall(values)
    slope = theil_sen(times, values)
    if test.z < z or slope is None:
        return Clear()
    if rules_out_load and _load_rose(times, works):
        return Unknown("the load rose too")
    shape = saturation(works if works[-1] > works[0] else times, values)
    if shape is not None and shape.shape is Shape.SATURATING:
        return Unknown("it is slowing down")
    return Found(
        Evidence(
            f"what is held {what} rose by {show_bytes(round(seen.growth))} in {show_seconds(times[-1] - times[0])}, "
            f"in {seen.steps} steps, and never fell by more than {show_bytes(round(seen.fall))}",
            {
                "growth_bytes": seen.growth,
                "z": test.z,
                "steps": seen.steps,
                "deepest_fall_bytes": seen.fall,
                "late_share": seen.late,
            },
            window.at(times[0]),
            window.at(times[-1]),
            len(values),
        ),
        Rate(slope.low, slope.median, slope.high),
    )


def is_material(growth: float, window: Window) -> bool:
    """Return whether ``growth`` bytes are worth a word on a device of this capacity."""
    return growth >= max(LEAST_GROWTH, LEAST_SHARE * window.capacity)


def _load_rose(times: Sequence[float], works: Sequence[float]) -> bool:
    """Return whether more was done in the second half of the time than in the first, beyond MORE_LOAD."""
    halfway = (times[0] + times[-1]) / 2
    middle = next(i for i, time in enumerate(times) if time >= halfway)
    before, after = times[middle] - times[0], times[-1] - times[middle]
    done, did = works[middle] - works[0], works[-1] - works[middle]
    if before <= 0 or after <= 0:
        return True
    return did / after > MORE_LOAD * done / before


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
