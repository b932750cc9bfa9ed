"""What questions cost on ninety days while a daemon writes, and whether the answers are what was read."""

import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.findings import Figures, Finding, at_most, told
from benchmarks.history_load import DAY, HOUR, day_of_values
from benchmarks.history_ninety import DAYS, PROCESSES, growth, load, moment, written_on
from vramwatch.core.model import SubjectKind
from vramwatch.core.series import USED_BYTES
from vramwatch.store import History, SeriesRow, Step

TIMES = 7
MILLI, MIB = 1000, 1024**2
MONTH = 30
ONE_SERIES_GOAL, ALL_SERIES_GOAL, GROWTH_GOAL = 20.0, 250.0, 250.0  # ms

Truth = Mapping[tuple[str, str], "array[int]"]
"""Used bytes at every second of the first day, by GPU and owner's key; empty: the GPU's own."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Took:
    """One question asked several times. Milliseconds."""

    wall: Figures
    cpu: Figures


def measure(path: Path) -> Iterator[Finding]:
    """Yield the time of every question to the store at ``path`` while a process writes it, and the RSS."""
    truth: Truth = day_of_values(load(), DAY)
    with written_on(path), closing(History.open(path)) as history:
        rows = counted(history)
        yield from _one_series(history, rows, truth)
        yield from _all_series(history, rows, truth)
        yield from _who_grew(history, truth)
        yield from _moment(history, truth)
        yield from _one_hour(history, rows, truth)
        yield from _first_day(history, rows, truth)
        rss = psutil.Process().memory_info().rss / MIB
    yield told("RSS of the process that asked, with the truth beside it", Figures((rss,)), "MiB")


def counted(history: History) -> dict[tuple[str, str], SeriesRow]:
    """Return the series that are counted: used bytes of each process, by its owner, and of each GPU."""
    rows = history.series(quantity=USED_BYTES)
    wanted = (SubjectKind.GPU, SubjectKind.PROCESS)
    return {(row.key.gpu, row.owner.key if row.owner else ""): row for row in rows if row.key.kind in wanted}


def _timed(ask: Callable[[], Answer]) -> tuple[Answer, Took]:
    """Return the answer, and what it took each time."""
    took, spent = [], []
    for _ in range(TIMES):
        began, cpu_began = time.perf_counter(), time.process_time()
        answer = ask()
        took.append((time.perf_counter() - began) * MILLI)
        spent.append((time.process_time() - cpu_began) * MILLI)
    return answer, Took(Figures(tuple(took)), Figures(tuple(spent)))


def _said(name: str, took: Took, limit: float | None = None) -> Iterator[Finding]:
    """Yield how long a question took, and its CPU time: what it would take on a machine of its own."""
    yield told(name, took.wall, "ms") if limit is None else at_most(name, took.wall, limit, "ms")
    yield told(f"{name}: CPU", took.cpu, "ms")


def _grows_by(key: tuple[str, str], day: int) -> int:
    return growth(day) * (1 if key[1] else PROCESSES)


def _since() -> float:
    return moment(DAYS - MONTH, 0)


def _until() -> float:
    return moment(DAYS, 0) - 1


def _one_series(
    history: History, rows: Mapping[tuple[str, str], SeriesRow], truth: Truth
) -> Iterator[Finding]:
    key, row = next(iter(rows.items()))
    answer, took = _timed(lambda: history.steps([row], _since(), _until(), HOUR))
    _check_hours(key, answer[row.id], truth)
    yield from _said("30 days of one series, by the hour", took, ONE_SERIES_GOAL)


def _all_series(
    history: History, rows: Mapping[tuple[str, str], SeriesRow], truth: Truth
) -> Iterator[Finding]:
    answer, took = _timed(lambda: history.steps(rows.values(), _since(), _until(), HOUR))
    for key, row in rows.items():
        _check_hours(key, answer[row.id], truth)
    yield from _said(f"30 days of all {len(rows)} series, by the hour", took, ALL_SERIES_GOAL)


def _check_hours(key: tuple[str, str], steps: list[Step], truth: Truth) -> None:
    assert len(steps) == MONTH * 24, (key, len(steps))
    for place, step in enumerate(steps):
        day, hour = divmod(place, 24)
        read = truth[key][hour * HOUR : (hour + 1) * HOUR]
        more = _grows_by(key, DAYS - MONTH + day)
        assert step.count == HOUR, (key, step)
        assert (step.minimum, step.maximum, step.last) == (
            min(read) + more,
            max(read) + more,
            read[-1] + more,
        )
        assert abs(step.mean - sum(read) / HOUR - more) < 1.0, (key, step)


def _who_grew(history: History, truth: Truth) -> Iterator[Finding]:
    since, until = _since(), _until()
    answer, took = _timed(lambda: history.change(since, until, quantity=USED_BYTES))
    for series, (first, last) in answer.items():
        if series.kind is SubjectKind.OWNER:
            read, more = truth[series.gpu, series.subject], _grows_by((series.gpu, "owner"), DAYS - MONTH)
            assert first == read[0] + more, (series, first)
            assert last == read[-1] + _grows_by((series.gpu, "owner"), DAYS - 1), (series, last)
    yield from _said("who grew most in 30 days", took, GROWTH_GOAL)


def _moment(history: History, truth: Truth) -> Iterator[Finding]:
    day, second = DAYS - 20, 3 * HOUR + 12 * 60
    poll, took = _timed(lambda: history.at(moment(day, second)))
    assert poll is not None
    held = {
        (ledger.gpu.uuid, each.tenant.owner.key): each.held
        for ledger in poll.ledgers
        for each in ledger.holdings
    }
    assert held == {key: read[second] + growth(day) for key, read in truth.items() if key[1]}
    yield from _said("who held what at 03:12 three weeks ago, on all GPUs", took)


def _one_hour(history: History, rows: Mapping[tuple[str, str], SeriesRow], truth: Truth) -> Iterator[Finding]:
    key, row = next((key, row) for key, row in rows.items() if "allocator" in key[1])
    day, second = DAYS - 5, 7 * HOUR
    since = moment(day, second)
    points, took = _timed(lambda: list(history.readings([row], since, since + HOUR - 1)))
    read = truth[key][second : second + HOUR]
    assert [point.value for point in points] == [used + growth(day) for used in read]
    yield from _said("one hour of one series, every sample", took)


def _first_day(
    history: History, rows: Mapping[tuple[str, str], SeriesRow], truth: Truth
) -> Iterator[Finding]:
    """Compare the day that was written poll by poll, sample by sample."""
    key_of = {row.id: key for key, row in rows.items()}
    began, compared = time.perf_counter(), 0
    start = moment(0, 0)
    for point in history.readings(rows.values(), start, moment(1, 0) - 1):
        assert point.value == truth[key_of[point.series.id]][round(point.wall - start)], point
        compared += 1
    assert compared == DAY * len(rows), compared
    took = time.perf_counter() - began
    yield Finding("the day that went through the polls", f"{compared} samples as read, in {took:.0f} s")
