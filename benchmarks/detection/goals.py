"""What must be reached, and whether it is: only where the interval's own bound reaches it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.detection.cases import Group, Serving, Suite, View
from benchmarks.detection.judging import Judged
from benchmarks.detection.scoring import (
    IN_TIME,
    Measure,
    blamed,
    causes,
    delay,
    false_alarms,
    forecast_coverage,
    forecast_error,
    forecast_width,
    found,
    of_group,
    of_suite,
    of_view,
)


class Outcome(StrEnum):
    REACHED = "reached"
    MISSED = "missed"
    NOT_RESOLVED = "not resolved"
    NOT_MEASURED = "not measured"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Range:
    """What a figure must lie in, both ends included."""

    text: str
    low: float = float("-inf")
    high: float = float("inf")


Figure = Callable[[Sequence[Judged]], Measure]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    measure: Figure
    goal: Range | None = None


def outcome(measure: Measure, goal: Range | None) -> Outcome:
    """Return whether the goal is reached: the whole interval lies in it; missed: none of it does."""
    if measure.value is None or measure.interval is None:
        return Outcome.NOT_MEASURED
    if goal is None:
        return Outcome.NONE
    low, high = measure.interval.low, measure.interval.high
    if goal.low <= low and high <= goal.high:
        return Outcome.REACHED
    return Outcome.MISSED if high < goal.low or low > goal.high else Outcome.NOT_RESOLVED


def _false_alarms(suite: Suite, serving: Serving, view: View) -> Figure:
    def picks(one: Judged) -> bool:
        return of_suite(suite, serving)(one) and one.case.view is view

    return lambda judged: false_alarms(judged, picks)


def _injected(rate: float) -> Figure:
    return lambda judged: found(judged, of_suite(Suite.INJECTED, rate=rate))


def _found(
    group: Group, within: float | None = None, rate: float | None = None, view: View = View.DRIVER_ONLY
) -> Figure:
    return lambda judged: found(judged, of_group(group, rate, view), within)


def _blamed(group: Group, view: View) -> Figure:
    return lambda judged: blamed(judged, of_group(group, view=view))


RARE = Range("≤ 0.10", high=0.10)
PRECISE = Range("≤ 1 %", high=0.01)
ALL_LAYERS, DRIVER_ONLY = View.ALL_LAYERS, View.DRIVER_ONLY

ROWS = (
    Row(
        "false alarms per GPU-week, real image services",
        _false_alarms(Suite.HEALTHY, Serving.IMAGE, DRIVER_ONLY),
        RARE,
    ),
    Row(
        "false alarms per GPU-week, real language services",
        _false_alarms(Suite.HEALTHY, Serving.LANGUAGE, DRIVER_ONLY),
        RARE,
    ),
    Row("the same, synthetic image, driver only", _false_alarms(Suite.SYNTHETIC, Serving.IMAGE, DRIVER_ONLY)),
    Row("the same, synthetic image, all layers", _false_alarms(Suite.SYNTHETIC, Serving.IMAGE, ALL_LAYERS)),
    Row(
        "the same, synthetic language, driver only",
        _false_alarms(Suite.SYNTHETIC, Serving.LANGUAGE, DRIVER_ONLY),
    ),
    Row(
        "the same, synthetic language, all layers",
        _false_alarms(Suite.SYNTHETIC, Serving.LANGUAGE, ALL_LAYERS),
    ),
    Row("put-in leak of 300 MiB/h found", _injected(300.0), Range("≥ 0.75", low=0.75)),
    Row("put-in leak of 1000 MiB/h found", _injected(1000.0), Range("≥ 0.90", low=0.90)),
    Row("put-in leak of 3000 MiB/h found", _injected(3000.0), Range("≥ 0.90", low=0.90)),
    Row(
        "median delay, share of the time to exhaustion",
        lambda judged: delay(judged, of_suite(Suite.INJECTED)),
        Range("≤ 0.35", high=0.35),
    ),
    Row("cause, macro-F1, all layers", lambda judged: causes(judged, ALL_LAYERS), Range("≥ 0.92", low=0.92)),
    Row(
        "cause, macro-F1, driver only", lambda judged: causes(judged, DRIVER_ONLY), Range("≥ 0.75", low=0.75)
    ),
    Row(
        "leak of 20 MiB/h found in half of its time",
        _found(Group.SLOW, IN_TIME, 20.0),
        Range("≥ 0.70", low=0.70),
    ),
    Row(
        "leak of 50 MiB/h found in half of its time",
        _found(Group.SLOW, IN_TIME, 50.0),
        Range("≥ 0.85", low=0.85),
    ),
    Row(
        "leak of 100 MiB/h found in half of its time",
        _found(Group.SLOW, IN_TIME, 100.0),
        Range("≥ 0.90", low=0.90),
    ),
    Row("look-alikes called a leak, driver only", _blamed(Group.LOOK_ALIKE, DRIVER_ONLY), PRECISE),
    Row("look-alikes called a leak, all layers", _blamed(Group.LOOK_ALIKE, ALL_LAYERS), PRECISE),
    Row("bad input called a leak, driver only", _blamed(Group.BAD_INPUT, DRIVER_ONLY)),
    Row("bad input called a leak, all layers", _blamed(Group.BAD_INPUT, ALL_LAYERS)),
    Row(
        "forecast at half life: median error",
        lambda judged: forecast_error(judged, of_view(DRIVER_ONLY)),
        Range("≤ 0.20", high=0.20),
    ),
    Row(
        "forecast at half life: 80 % interval holds",
        lambda judged: forecast_coverage(judged, of_view(DRIVER_ONLY)),
        Range("0.75-0.90", 0.75, 0.90),
    ),
    Row(
        "the same, of leaks of days",
        lambda judged: forecast_coverage(judged, of_group(Group.SLOW, view=DRIVER_ONLY)),
    ),
    Row(
        "the same: width of the interval, of the time left",
        lambda judged: forecast_width(judged, of_view(DRIVER_ONLY)),
    ),
    Row(
        "full within minutes: found in half of its time",
        _found(Group.MINUTES, IN_TIME),
        Range("≥ 0.90", low=0.90),
    ),
    Row("the same, all layers", _found(Group.MINUTES, IN_TIME, view=ALL_LAYERS)),
    Row("full within hours: found", _found(Group.GROWTH)),
    Row("the same, all layers", _found(Group.GROWTH, view=ALL_LAYERS)),
    Row("a spike would not fit again: told", _found(Group.SPIKE)),
    Row("leak or pressure inside a full pool: found", _found(Group.POOL, view=ALL_LAYERS)),
    Row("published series: growth found", lambda judged: found(judged, of_suite(Suite.PUBLISHED))),
    Row("published series: healthy ones blamed", lambda judged: blamed(judged, of_suite(Suite.PUBLISHED))),
)
