"""The tables that people read."""

from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.detection.alarms import blames
from benchmarks.detection.cases import Group
from benchmarks.detection.goals import ROWS, outcome
from benchmarks.detection.judging import Judged
from benchmarks.detection.scoring import Measure

WIDTH = 176  # nine columns of programs beside what they are measured by


def goals_table(name: str, judged: Sequence[Judged]) -> Table:
    """Return every figure of one program beside its goal."""
    table = Table("what", name, "95 % interval", "of", "goal", "", box=SIMPLE)
    for row in ROWS:
        measure = row.measure(judged)
        goal = row.goal.text if row.goal else ""
        found = outcome(measure, row.goal)
        table.add_row(row.name, value(measure), interval(measure), measure.detail, goal, found)
    return table


def side_by_side(judged: Mapping[str, Sequence[Judged]]) -> Table:
    """Return the figures that more than one program has, a column a program, its intervals below them."""
    table = Table("what", box=SIMPLE)
    for name in judged:
        table.add_column(name, overflow="fold")  # names that differ at their end stay apart
    for row in ROWS:
        cells = [_cell(row.measure(of_program)) for of_program in judged.values()]
        if sum(bool(cell) for cell in cells) > 1:
            table.add_row(row.name, *cells)
    return table


def faults(judged: Sequence[Judged]) -> Iterator[str]:
    """Yield a line for every recording of which the program said the wrong thing, or nothing."""
    for one in judged:
        if reason := "; ".join(_reasons(one)):
            yield f"{one.case.name} ({one.case.path}): {reason}"


def failures(name: str, judged: Sequence[Judged]) -> Iterator[str]:
    """Yield a line for every recording on which the program failed, refusals of bad files apart."""
    for one in judged:
        if one.answer.failure and not (one.answer.is_refusal and one.case.may_be_refused):
            yield f"{name} failed on {one.case.name}: {one.answer.failure}"


def console() -> Console:
    return Console(highlight=False, width=WIDTH)


def value(measure: Measure) -> str:
    """Return the figure for people."""
    return "not measured" if measure.value is None else f"{measure.value:.2f}"


def interval(measure: Measure) -> str:
    """Return its interval for people; nothing where there is none."""
    one = measure.interval
    return "" if one is None else f"{one.low:.2f} to {one.high:.2f}"


def _cell(measure: Measure) -> str:
    if measure.value is None or measure.interval is None:
        return ""
    return f"{measure.value:.2f}\n{measure.interval.low:.2f}-{measure.interval.high:.2f}"


def _reasons(one: Judged) -> Iterator[str]:
    truth = one.case.truth
    if one.answer.failure:
        yield "refused" if one.answer.is_refusal else "failed"
    if truth.grows and one.found is None:
        yield "not found"
    if truth.grows and one.found is not None and truth.judges_cause and one.cause is not truth.cause:
        yield f"is {truth.cause}, told {one.cause}"
    if not truth.grows:
        for alarm in one.alarms:
            hours = (alarm.begin - one.case.first) / 3600
            blame = "blamed" if blames(alarm) else "alarmed"
            yield f"{blame} after {hours:.1f} h: {alarm.lines[0].pattern} {alarm.lines[0].cause}"
    if one.case.group in (Group.SLOW, Group.MINUTES) and one.delay is not None:
        yield f"found after {one.delay:.0%} of its time"
