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


def named(finding: Finding) -> str:
    """Return its sentence, with the name of a fault before it where it is not in it."""
    is_told = not finding.is_fault or finding.name in finding.sentence
    return finding.sentence if is_told else f"{finding.name}: {finding.sentence}"


def findings(result: Result) -> list[Finding]:
    """Return the faults seen, most bytes first, then where the peak went and how well it was foreseen."""
    if result.ended is Ended.NOT_HERE:
        return [Finding("", f"not here: {result.why}")]
    found = []
    if result.ended is not Ended.COMPLETE:
        found.append(Finding(str(result.ended), f"{result.ended}: {result.why}"))
    return [*_faults(result), *found, *_peak(result), *_prediction(result)]


def fault_names(result: Result) -> tuple[str, ...]:
    """Return the names of the faults seen, each once, most bytes first."""
    return tuple(dict.fromkeys(each.name for each in findings(result) if each.is_fault))


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
    peak, left, kv = generate.peak, _left_by_earlier(result), generate.kv_resident
    parts = [f"{show_bytes(result.weights)} of weights"]
    parts += [f"{show_bytes(left)} left by earlier requests"] if left > SMALL * peak else []
    if result.ended is not Ended.COMPLETE:  # a cache is seen at the end of a forward pass
        kv, rest = 0, "all else: KV cache, activations, logits"
    else:
        parts.append(f"{show_bytes(kv)} of the last request's KV cache")
        rest = "all else: activations, logits, and what is copied as the cache grows"
    others = show_bytes(max(0, peak - result.weights - kv - left))
    return [Finding("", f"the peak of {show_bytes(peak)} is {', '.join(parts)} and {others} of {rest}", peak)]


def _left_by_earlier(result: Result) -> int:
    """Return the bytes that requests before the last one left behind."""
    load = result.at("load")
    before = result.floors[-2:-1] if result.ended is Ended.COMPLETE else result.floors[-1:]
    return max(0, before[0] - load.live) if load and before else 0


def _prediction(result: Result) -> list[Finding]:
    if result.predicted_peak is None or not result.peak or result.ended is not Ended.COMPLETE:
        return []
    off = (result.predicted_peak - result.peak) / result.peak
    return [
        Finding("", f"{show_bytes(result.predicted_peak)} were foreseen before anything ran: {off:+z.1%}")
    ]
