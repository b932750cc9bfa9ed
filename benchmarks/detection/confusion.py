"""Causes told against causes true: macro-F1 and its interval. Pure."""

from collections.abc import Sequence
from random import Random

from benchmarks.detection.cases import INNOCENT, Cause, View
from benchmarks.detection.judging import Judged
from vramwatch.core.intervals import Interval

BENIGN = "benign"
GROWTH = "growth"
INSIDE_A_PROCESS = frozenset(
    {Cause.LEAK, Cause.KV_CACHE, Cause.FRAGMENTATION, Cause.AUTOGRAD, Cause.NON_TORCH}
)
"""What the driver's view cannot tell apart."""
RESAMPLED = 400
LOW, HIGH = RESAMPLED // 40, RESAMPLED - RESAMPLED // 40 - 1  # ranks of 2.5 % and 97.5 %

Pair = tuple[str, str]  # true, told


def pairs(judged: Sequence[Judged], view: View) -> list[Pair]:
    """Return (true, told) of every recording of ``view`` whose cause is judged."""
    return [
        (_true(one, view), _told(one, view))
        for one in judged
        if one.case.view is view and one.case.truth.judges_cause and not one.answer.failure
    ]


def macro_f1(told: Sequence[Pair]) -> float:
    """Return the mean of F1 over the classes that are true of any recording. 0 to 1; 0 for no recording."""
    classes = sorted({true for true, _ in told})
    return sum(_f1(told, one) for one in classes) / len(classes) if classes else 0.0


def macro_f1_interval(told: Sequence[Pair]) -> Interval:
    """Return the 95 % percentile bootstrap interval (Efron 1979), resampled within each true class."""
    rng = Random(0)
    by_class: dict[str, list[Pair]] = {}
    for pair in told:
        by_class.setdefault(pair[0], []).append(pair)
    values = sorted(
        macro_f1([pair for part in by_class.values() for pair in rng.choices(part, k=len(part))])
        for _ in range(RESAMPLED)
    )
    return Interval(values[LOW], values[HIGH])


def unknown_share(told: Sequence[Pair]) -> float:
    """Return the share of recordings of which the cause is told to be unknown."""
    return sum(said == Cause.UNKNOWN for _, said in told) / len(told) if told else 0.0


def _f1(told: Sequence[Pair], one: str) -> float:
    right = sum(pair == (one, one) for pair in told)
    of_both = sum((true == one) + (said == one) for true, said in told)
    return 2 * right / of_both if of_both else 0.0


def _true(one: Judged, view: View) -> str:
    truth = one.case.truth
    return _class(truth.cause, view) if truth.grows else BENIGN


def _told(one: Judged, view: View) -> str:
    return BENIGN if one.cause is None else _class(one.cause, view)


def _class(cause: Cause, view: View) -> str:
    if view is View.ALL_LAYERS and cause is Cause.SPIKE:
        return cause  # its alarm is wanted where a repeat would not fit, and is told apart there
    if cause in INNOCENT:
        return BENIGN
    return GROWTH if view is View.DRIVER_ONLY and cause in INSIDE_A_PROCESS else cause
