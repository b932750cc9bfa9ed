"""The figures of one program over all suites, each with its interval. Pure."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.detection import confusion
from benchmarks.detection.alarms import episodes
from benchmarks.detection.cases import Group, Serving, Suite, View
from benchmarks.detection.judging import Judged
from vramwatch.core import intervals
from vramwatch.core.intervals import Interval

IN_TIME = 0.5  # of the time to exhaustion may have passed: the other half is left to act


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. ``detail``: the counts behind it. ``value`` None: not measured, and why."""

    value: float | None
    interval: Interval | None
    detail: str


Which = Callable[[Judged], bool]


def not_measured(why: str) -> Measure:
    return Measure(None, None, why)


def false_alarms(judged: Iterable[Judged], which: Which) -> Measure:
    """Return the episodes per GPU-week where nothing grows; each alarm counts, whatever its cause."""
    healthy = [one for one in judged if which(one) and not one.case.truth.grows]
    if not healthy:
        return not_measured("no such recording")
    count, critical = _episodes(healthy), _episodes(healthy, "critical")
    weeks = sum(one.case.weeks for one in healthy)
    detail = f"{count} ({critical} critical) in {weeks:.2f} GPU-weeks"
    return Measure(count / weeks, intervals.poisson(count, weeks), detail)


def found(judged: Iterable[Judged], which: Which, within: float | None = None) -> Measure:
    """Return the share of growths that were found, ``within`` that part of the time to exhaustion."""
    growing = [one for one in judged if which(one) and one.case.truth.grows]
    hits = sum(one.delay is not None and (within is None or one.delay <= within) for one in growing)
    return _share(hits, len(growing))


def delay(judged: Iterable[Judged], which: Which) -> Measure:
    """Return the median of the time that had passed, as a part of the time to exhaustion."""
    delays = [one.delay for one in judged if which(one) and one.case.truth.grows]
    return _median([passed for passed in delays if passed is not None])


def blamed(judged: Iterable[Judged], which: Which) -> Measure:
    """Return the share of healthy recordings that an alarm blames for growth."""
    healthy = [one for one in judged if which(one) and not one.case.truth.grows]
    return _share(sum(one.is_blamed for one in healthy), len(healthy))


def causes(judged: Sequence[Judged], view: View) -> Measure:
    """Return the macro-F1 of the causes in one view."""
    told = confusion.pairs(judged, view)
    if not told:
        return not_measured("no such recording")
    unknown = confusion.unknown_share(told)
    detail = f"{len(told)} recordings, {unknown:.0%} unknown"
    return Measure(confusion.macro_f1(told), confusion.macro_f1_interval(told), detail)


def forecast_error(judged: Iterable[Judged], which: Which) -> Measure:
    """Return the median error of the time left, as a part of it, told when half of the life is over."""
    due = [one for one in judged if which(one) and one.case.truth.exhausts]
    errors = []
    for one in due:
        if told := one.forecast:
            truth = one.case.truth
            errors.append(abs(told.at - truth.end) / ((truth.end - truth.life) / 2))
    measure = _median(errors)
    return Measure(measure.value, measure.interval, f"{len(errors)} of {len(due)} forecast")


def forecast_coverage(judged: Iterable[Judged], which: Which) -> Measure:
    """Return the share of forecasts at half of the life whose interval holds the exhaustion."""
    due = [one for one in judged if which(one) and one.case.truth.exhausts]
    told = [(one.forecast, one.case.truth.end) for one in due]
    held = [forecast.low <= end <= forecast.high for forecast, end in told if forecast]
    return _share(sum(held), len(held))


def forecast_width(judged: Iterable[Judged], which: Which) -> Measure:
    """Return the median width of the intervals at half of the life, as a part of the time left."""
    due = [one for one in judged if which(one) and one.case.truth.exhausts]
    told = [(one.forecast, one.case.truth) for one in due]
    return _median([(said.high - said.low) / ((end.end - end.life) / 2) for said, end in told if said])


def _episodes(judged: Iterable[Judged], severity: str = "") -> int:
    """Return the number of episodes; with ``severity`` of alarms that were ever of it."""
    return sum(
        len(
            episodes(
                (alarm.begin, alarm.end)
                for alarm in one.alarms
                if not severity or any(line.severity == severity for line in alarm.lines)
            )
        )
        for one in judged
    )


def _share(hits: int, of: int) -> Measure:
    if not of:
        return not_measured("no such recording")
    return Measure(hits / of, intervals.share(hits, of), f"{hits} of {of}")


def _median(values: Sequence[float]) -> Measure:
    if not values:
        return not_measured("none found")
    return Measure(statistics.median(values), intervals.median(values), f"{len(values)} found")


def of_suite(suite: Suite, serving: Serving | None = None, rate: float | None = None) -> Which:
    """Return what picks the recordings of ``suite``, of one kind of serving and one rate where given."""

    def picks(one: Judged) -> bool:
        case = one.case
        return (
            case.suite is suite
            and (serving is None or case.serving is serving)
            and (rate is None or case.truth.rate == rate)
        )

    return picks


def of_view(view: View) -> Which:
    """Return what picks the recordings of ``view``. A server's two views are no two servers."""
    return lambda one: one.case.view is view


def of_group(group: Group, rate: float | None = None, view: View | None = None) -> Which:
    """Return what picks the synthetic recordings of ``group``, of one rate and one view where given."""

    def picks(one: Judged) -> bool:
        case = one.case
        return (
            case.suite is Suite.SYNTHETIC
            and case.group is group
            and (rate is None or case.truth.rate == rate)
            and (view is None or case.view is view)
        )

    return picks
