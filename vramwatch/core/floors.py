"""Decides whether a floor rises steadily: significantly, by a material amount, and to the end."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from vramwatch.core.lanes import Points
from vramwatch.core.saturation import Saturation, Shape, saturation
from vramwatch.core.trend import mann_kendall, theil_sen
from vramwatch.core.units import MIB, show_bytes, show_seconds
from vramwatch.core.verdicts import Clear, Evidence, Found, Rate, Unknown, Verdict
from vramwatch.core.windows import Window

QUANTUM = 2 * MIB

WARM_UP = 1800.0
"""Seconds after its start in which a process fills its caches, loads kernels and captures graphs."""

LEAST_GROWTH, LEAST_SHARE = 64 * MIB, 0.002
"""Growth that is worth a word, and the same as a share of the capacity."""

LATE = 0.2
"""Share of the growth that must have come in the second half: less is a warm-up, or an end."""

CLEAN = 0.15
"""A floor that never fell by more than this share of its growth is the floor of one state."""

BEGUN = 0.05
"""The share of its growth after which a floor has begun to grow: what is before belongs to no curve."""

BESIDE_LARGEST = 0.2
"""The share of the growth that must have come beside its largest step: one step is an event and no growth,
whatever the jitter about it, which may make new maxima of its own."""

MORE_LOAD = 1.25
"""How many times the first half's load the second half may have, for a floor not to be the load's doing."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a floor is measured in. ``quantum``: less is no step. ``least``: less growth is worth no word."""

    quantum: float
    least: float
    show: Callable[[float], str]
    unit: str  # as the names of figures end in it


def _bytes(value: float) -> str:
    return show_bytes(round(value))


BYTES = Scale(QUANTUM, LEAST_GROWTH, _bytes, "bytes")

SHARE = Scale(0.0005, 0.01, "{:.1%}".format, "ratio")
"""Shares of a pool whose bytes nobody tells: vLLM divides one into some thousand blocks or more."""


@dataclass(frozen=True, slots=True)
class Rise:
    """How a floor rose, in its own scale.

    ``growth``: last points less first, by medians of the outer fifths. ``fall``: the deepest fall from an
    earlier point. ``late``: the share of the growth that came in the second half of the time.
    ``steps``: how many points rose by a quantum or more above all before them; ``largest``: by the most.
    """

    growth: float
    fall: float
    late: float
    steps: int
    largest: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether it rose and never fell again by what counts."""
        return self.growth > 0 and self.fall <= CLEAN * self.growth

    @property
    def is_one_step(self) -> bool:
        """Whether next to all of it came at once."""
        return self.growth - self.largest < BESIDE_LARGEST * self.growth


def rise(times: Sequence[float], values: Sequence[float], quantum: float = QUANTUM) -> Rise:
    """Return how ``values`` (at least one) rise over ``times``, which ascend; see Scale for ``quantum``."""
    outer = max(1, len(values) // 5)
    first, last = _median(values[:outer]), _median(values[-outer:])
    growth = last - first
    halfway = bisect_right(times, (times[0] + times[-1]) / 2)
    middle = _median(values[max(0, halfway - outer) : halfway])
    highest, fall, steps, largest = values[0], 0.0, 0, 0.0
    for value in values:
        if value >= highest + quantum:
            largest = max(largest, value - highest)
            highest, steps = value, steps + 1
        elif highest - value > fall:
            fall = highest - value
    return Rise(growth, fall, (last - middle) / growth if growth > 0 else 0.0, steps, largest)


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
    scale: Scale = BYTES,
) -> Verdict:
    """Return whether the floor ``points`` rises as only growth does.

    It must have ``least_points`` after the warm-up, rise with Mann-Kendall's ``z`` or more in
    ``least_steps`` steps, of which none brought all, by what is material, never fall by more than
    ``deepest_fall`` of its growth, and rise still. ``what`` names the floor in the sentence. ``scale``: what
    the points are measured in; a rate is found in bytes alone.
    """
    lane = window.used
    warm = lane.time - window.age + WARM_UP
    times, works, values = points.since(warm)
    if len(values) < least_points:
        return Unknown(f"{len(values)} of {least_points} points {what} after the warm-up")
    seen = rise(times, values, scale.quantum)
    if not _is_worth(seen.growth, window, scale) or seen.steps < least_steps or seen.is_one_step:
        return Clear()
    if seen.fall > deepest_fall * seen.growth or seen.late < LATE:
        return Clear()
    test = mann_kendall(values)
    slope = theil_sen(times, values)
    if test.z < z or slope is None:
        return Clear()
    if rules_out_load and _load_rose(times, works):
        return Unknown("the load rose too")
    deepest = f" by more than {scale.show(seen.fall)}" if seen.fall else ""
    return Found(
        Evidence(
            f"memory held {what} rose by {scale.show(seen.growth)} in "
            f"{show_seconds(times[-1] - times[0])}, in {seen.steps} steps, and never fell{deepest}",
            {
                f"growth_{scale.unit}": seen.growth,
                "z": test.z,
                "steps": seen.steps,
                f"deepest_fall_{scale.unit}": seen.fall,
                "late_share": seen.late,
            },
            window.at(times[0]),
            window.at(times[-1]),
            len(values),
        ),
        Rate(slope.low, slope.median, slope.high) if scale is BYTES else None,
    )


def kept_of(values: Sequence[float]) -> list[float]:
    """Return for each point what memory never went below from then on; it never falls."""
    return list(accumulate(reversed(values), min))[::-1]


def slowing(times: Sequence[float], works: Sequence[float], values: Sequence[float]) -> Saturation | None:
    """Return how the floor grows over time, from where it began to; what slows with the load alone is a line.

    The floor is taken as what memory never went below afterwards: what was kept for a while is no growth,
    and the newest point, of which no afterwards is known, says nothing. None: too few points.
    """
    kept = kept_of(values)[:-1]
    if not kept:
        return None
    began = bisect_right(kept, kept[0] + BEGUN * (kept[-1] - kept[0])) - 1  # it never falls
    kept, times, works = kept[began:], times[began:-1], works[began:-1]
    shape = saturation(times, kept)
    if shape is None or shape.shape is not Shape.SATURATING or works[-1] <= works[0]:
        return shape
    by_work = saturation(works, kept)
    return by_work if by_work is not None and by_work.shape is Shape.LINEAR else shape


def _is_worth(growth: float, window: Window, scale: Scale) -> bool:
    return is_material(growth, window) if scale is BYTES else growth >= scale.least


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
