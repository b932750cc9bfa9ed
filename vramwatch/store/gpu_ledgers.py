"""The ledgers of one Gpu from the changes of its series, poll by poll: as little as changed is made anew."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import Any

from sqlalchemy import Row

from vramwatch.core.model import (
    ClaimKind,
    Gauge,
    GhostKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    Reading,
    SubjectKind,
    Tenant,
)
from vramwatch.core.series import PEAK_BYTES, USED_BYTES
from vramwatch.core.units import Bytes
from vramwatch.store.columns import Value
from vramwatch.store.rebuilding import Note, order
from vramwatch.store.rows import split_words
from vramwatch.store.ticks import GpuTick


class Stretches:
    """Rows that hold from ``since_seq`` up to, and without, ``until_seq``; followed at polls that ascend."""

    def __init__(self, rows: Iterable[Row[Any]]) -> None:
        self.present: list[Row[Any]] = []
        self._waiting = sorted(rows, key=lambda row: row.since_seq, reverse=True)
        self._next_end = inf

    def reach(self, seq: int) -> bool:
        """Go on to the poll ``seq``; return whether other rows may hold there than before."""
        begun = []
        while self._waiting and self._waiting[-1].since_seq <= seq:
            begun.append(self._waiting.pop())
        if not begun and seq < self._next_end:
            return False
        self.present = [
            row for row in (*self.present, *begun) if row.until_seq is None or seq < row.until_seq
        ]
        ends = (row.until_seq for row in self.present if row.until_seq is not None)
        self._next_end = min(ends, default=inf)
        return True


@dataclass(slots=True)
class _Sweep:
    """What is read together, by series."""

    gpu: dict[str, int] = field(default_factory=dict)  # quantity -> series
    peaks: dict[int, int] = field(default_factory=dict)  # process -> series
    gauges: list[tuple[int, str, int]] = field(default_factory=list)  # process, quantity, series
    groups: list[tuple[str, int]] = field(default_factory=list)  # path, series
    unattributed: int = 0  # series; 0: no process list was read
    present: list[Row[Any]] | None = None  # whose gauges stand in order
    in_order: list[tuple[int, str, int]] = field(default_factory=list)  # pid, quantity, series


class GpuLedgers:
    """Follows one Gpu through the polls of one hour."""

    def __init__(
        self,
        gpu: Gpu,
        series: Iterable[Row[Any]],
        standing: Stretches,
        sweeps: Mapping[int, tuple[int, ...]],
        tenant_of: Callable[[Row[Any]], Tenant],
        *,
        is_rolled_up: bool = False,
    ) -> None:
        """``series``: of this Gpu. ``standing``: who is on it and how. ``sweeps``: of the hour.

        ``is_rolled_up``: figures of one poll are of different seconds; what nobody holds is then what was
        told of it, and no difference.
        """
        self._gpu = gpu
        self._series = {row.id: row for row in series}
        self._used = {row.process: id for id, row in self._series.items() if _is_held(row)}
        self._held_ids = frozenset(self._used.values())
        self._standing = standing
        self._sweeps = sweeps
        self._sorted: dict[int, _Sweep] = {}
        self._tenant_of = tenant_of
        self._is_rolled_up = is_rolled_up
        self._values: dict[int, Value] = {}
        self._holdings: tuple[Holding, ...] | None = None  # None: to be made anew
        self._has_peaks = False
        self._made: tuple[int, Note, Ledger] | None = None  # of the poll before, if nothing changed since

    def take(self, told: GpuTick) -> None:
        """Go on to a poll."""
        for id, value in told.changes:
            if self._values.get(id) == value:
                continue
            if value is None:
                self._values.pop(id, None)
            else:
                self._values[id] = value
            self._made = None
            if id in self._held_ids:
                self._holdings = None

    def ledger(self, at: Instant, told: GpuTick, note: Note, listed: Instant | None) -> Ledger | None:
        """Return the ledger at the poll that was taken last; None: this Gpu was not read at it."""
        if not told.sweep:
            return None
        if self._standing.reach(at.seq):
            self._holdings = self._made = None
        if self._made and self._made[:2] == (told.sweep, note):
            same = self._made[2]
            return Ledger(at, same.reading, same.holdings, same.unattributed, same.explanations, listed)
        sweep = self._sweep(told.sweep)
        ledger = self._make(at, sweep, note, listed)
        self._made = told.sweep, note, ledger
        return ledger

    def _make(self, at: Instant, sweep: _Sweep, note: Note, listed: Instant | None) -> Ledger:
        told = {quantity: self._values[id] for quantity, id in sweep.gpu.items()}
        basis, explanations = note
        total, used, reserved = (Bytes(int(told[f"{name}_bytes"])) for name in ("total", "used", "reserved"))
        holdings = self._hold(sweep)
        held = sum(holding.held for holding in holdings if holding.held is not None)
        unattributed = used - held
        if self._is_rolled_up and sweep.unattributed:
            unattributed = int(self._values[sweep.unattributed])
        reading = Reading(
            self._gpu,
            Memory(total, used, Bytes(total - used - reserved), reserved, basis),
            utilization=told.get("utilization_ratio"),
            temperature=told.get("temperature_celsius"),
            power=told.get("power_watts"),
            peaks={each.pid: each.peak for each in holdings if each.peak is not None},
            gauges=self._gauges(sweep),
            groups={path: Bytes(int(self._values[id])) for path, id in sweep.groups},
        )
        return Ledger(at, reading, holdings, Bytes(unattributed), explanations, listed)

    def _hold(self, sweep: _Sweep) -> tuple[Holding, ...]:
        if self._holdings is None or self._has_peaks or sweep.peaks:
            self._has_peaks = bool(sweep.peaks)
            made = (self._holding(row, sweep) for row in self._standing.present)
            self._holdings = tuple(sorted(made, key=order))
        return self._holdings

    def _holding(self, row: Row[Any], sweep: _Sweep) -> Holding:
        held, peak = (
            None if value is None else Bytes(int(value))
            for value in (
                self._values.get(self._used.get(row.process, 0)),
                self._values.get(sweep.peaks.get(row.process, 0)),
            )
        )
        kinds = _kinds(row.kinds)
        ghost = GhostKind(row.ghost) if row.ghost else None
        return Holding(row.pid, held, self._tenant_of(row), kinds, ghost, peak)

    def _gauges(self, sweep: _Sweep) -> tuple[Gauge, ...]:
        """In the order of pid and quantity."""
        if sweep.present is not self._standing.present:
            sweep.present = self._standing.present
            pids = {row.process: row.pid for row in sweep.present}
            told = ((pids[each], quantity, id) for each, quantity, id in sweep.gauges if each in pids)
            sweep.in_order = sorted(told)
        values = self._values
        return tuple([Gauge(pid, quantity, float(values[id])) for pid, quantity, id in sweep.in_order])

    def _sweep(self, id: int) -> _Sweep:
        found = self._sorted.get(id)
        if found is None:
            found = self._sorted[id] = _Sweep()
            for series in self._sweeps[id]:
                if series in self._series:  # else it was forgotten
                    _sort_in(found, self._series[series])
        return found


@cache
def _kinds(written: str) -> frozenset[ClaimKind]:
    return frozenset(ClaimKind(word) for word in split_words(written))


def _sort_in(sweep: _Sweep, series: Row[Any]) -> None:
    kind, quantity = series.kind, series.quantity
    if kind == SubjectKind.GPU:
        sweep.gpu[quantity] = series.id
    elif kind == SubjectKind.CGROUP:
        sweep.groups.append((series.subject, series.id))
    elif kind == SubjectKind.UNATTRIBUTED:
        sweep.unattributed = series.id
    elif kind == SubjectKind.PROCESS and quantity == PEAK_BYTES:
        sweep.peaks[series.process] = series.id
    elif kind == SubjectKind.PROCESS and quantity != USED_BYTES:
        sweep.gauges.append((series.process, quantity, series.id))


def _is_held(series: Row[Any]) -> bool:
    return bool(series.kind == SubjectKind.PROCESS and series.quantity == USED_BYTES)
