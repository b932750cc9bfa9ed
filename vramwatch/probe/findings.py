"""What a run says, in words and numbers. Pure; nothing is advised that the run did not measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vramwatch.core.units import show_bytes
from vramwatch.probe.results import Ended, Remnant, Result
from vramwatch.sdk.tracing import RETAINED, faults

SAVED_EXCEPTION = "saved exception"
RISING_FLOOR = "rising floor"
LEFT_BEHIND = "tensors left behind"

SMALL = 0.001
"""Of the peak: remnants below it are no finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``name``: of a fault, fixed; of a fact that is none, empty. ``size``: bytes it is about."""

    name: str
    sentence: str
    size: int | None = None

    @property
    def is_fault(self) -> bool:
        return bool(self.name)


def findings(result: Result) -> list[Finding]:
    """Return the faults seen, most bytes first, then where the peak went and how well it was foreseen."""
    if result.ended is Ended.NOT_HERE:
        return [Finding("", f"not here: {result.why}")]
    found = []
    if result.ended is not Ended.COMPLETE:
        found.append(Finding(str(result.ended), f"{result.ended}: {result.why}"))
    return [*_faults(result), *found, *_peak(result), *_prediction(result)]


def _faults(result: Result) -> list[Finding]:
    by_exception = [each for each in result.remnants if "saved" in each.held_by]
    found = []
    for each in faults(result.samples, result.windows, result.alive):
        if each.name == RETAINED and by_exception:
            found.append(Finding(SAVED_EXCEPTION, _of_exception(by_exception), each.excess))
        elif each.name == RETAINED:
            found.append(Finding(RETAINED, f"{each.sentence}{_holders(result.remnants)}", each.excess))
        else:
            found.append(Finding(each.name, each.sentence, each.excess))
    if not result.alive:
        found += _left_behind(result)
    return sorted(found, key=lambda each: -(each.size or 0))


def _of_exception(remnants: Sequence[Remnant]) -> str:
    size = sum(each.size for each in remnants)
    return (
        f"{remnants[0].held_by}: the frames in its traceback still hold {show_bytes(size)} of KV cache "
        f"({remnants[0].where}, {len(remnants)} request{'s' if len(remnants) > 1 else ''})"
    )


def _holders(remnants: Sequence[Remnant]) -> str:
    known = {each.held_by for each in remnants if each.held_by}
    return f"; held by {', '.join(sorted(known))}" if known else ""


def _left_behind(result: Result) -> list[Finding]:
    load, release = result.at("load"), result.at("release")
    if load is None or release is None:
        return []
    left = release.live - load.live
    if left <= SMALL * (result.peak or 0):
        return []
    named = "; ".join(f"{each.what} in {each.where}: {show_bytes(each.size)}" for each in result.remnants[:4])
    found = [
        Finding(LEFT_BEHIND, f"{show_bytes(left)} did not come back: {named or 'of unknown making'}", left)
    ]
    rise = rise_of(result.floors)
    if rise:
        found.append(Finding(RISING_FLOOR, f"the floor rises by {show_bytes(rise)} with each request", rise))
    return found


def rise_of(floors: Sequence[int]) -> int:
    """Return the bytes by which the floor rises with each request, on average; 0: it does not rise.

    It rises where it never falls and goes up at most of the requests. The first is left out where there are
    enough others: libraries take their workspaces at it.
    """
    steps = [later - earlier for earlier, later in pairwise(floors[1:] if len(floors) > 2 else floors)]
    rises = sum(step > 0 for step in steps)
    if not steps or min(steps) < 0 or 2 * rises <= len(steps):
        return 0
    return sum(steps) // len(steps)


def _peak(result: Result) -> list[Finding]:
    generate = result.at("generate")
    if generate is None or generate.peak is None or result.weights is None:
        return []
    load = result.at("load")
    earlier = max(0, result.floors[-2] - load.live) if load and len(result.floors) > 1 else 0
    rest = max(0, generate.peak - result.weights - generate.kv_resident - earlier)
    parts = [f"{show_bytes(result.weights)} of weights"]
    parts += [f"{show_bytes(earlier)} left by earlier requests"] if earlier > SMALL * generate.peak else []
    parts += [f"{show_bytes(generate.kv_resident)} of the last request's KV cache"]
    told = f"the peak of {show_bytes(generate.peak)} is {', '.join(parts)} and {show_bytes(rest)} of all else"
    return [Finding("", f"{told}: activations, logits, and what is copied as the cache grows", generate.peak)]


def _prediction(result: Result) -> list[Finding]:
    if result.predicted_peak is None or not result.peak or result.ended is not Ended.COMPLETE:
        return []
    off = (result.predicted_peak - result.peak) / result.peak
    return [
        Finding("", f"{show_bytes(result.predicted_peak)} were foreseen before anything ran: {off:+z.1%}")
    ]
