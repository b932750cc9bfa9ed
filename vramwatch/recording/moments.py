"""Rows put together: everything that was recorded at one time, checked as a whole."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from operator import attrgetter

from vramwatch.core.model import Memory
from vramwatch.core.units import Bytes, Seconds
from vramwatch.recording.row import EXIT, GAP, RESTART, Row

FIGURES_HOLD = Seconds(60.0)  # a Gpu's own figures stand this long for process rows between two of them
MOST_GPUS = 4096  # Gpus that one recording may name: a cluster's worth, and a bound on memory
MOST_ROWS = 65_536  # rows of one time: MOST_GPUS with sixteen processes each


@dataclass(slots=True)
class Part:
    """What was recorded of one Gpu at one time, in the order of its rows.

    ``memory`` is None where nothing tells it. ``is_sum``: the Gpu has no figures of its own in this
    recording so far, and ``memory.used`` is the sum of the claims.
    """

    gpu: str
    own: Row | None = None  # its figures, or its gap
    events: list[Row] = field(default_factory=list)  # of the whole Gpu
    processes: list[Row] = field(default_factory=list)
    claims: dict[int, Row] = field(default_factory=dict)  # by pid, of the processes that have not ended
    memory: Memory | None = None
    is_sum: bool = False

    @property
    def is_gap(self) -> bool:
        return self.own is not None and self.own.event == GAP


@dataclass(slots=True)
class Moment:
    """Everything of one time, the Gpus in the order of their rows. ``gap``: nothing could be read.

    ``count``: its rows.
    """

    time: float  # unix seconds
    parts: dict[str, Part] = field(default_factory=dict)
    gap: Row | None = None
    count: int = 0


def moments(files: Sequence[Iterator[Row]]) -> Iterator[Moment]:
    """Yield the rows of all ``files``, merged by time, as one Moment for each distinct time.

    Errors: MalformedError at a row that descends in time, repeats or contradicts another of its time,
    or claims more than its Gpu has; at the end, for a Gpu whose size no row tells.
    """
    ordered = [_ascending(rows) for rows in files]
    figures = _Figures()
    moment: Moment | None = None
    for row in ordered[0] if len(ordered) == 1 else merge(*ordered, key=attrgetter("time")):
        if moment is None or row.time != moment.time:
            if moment is not None:
                yield figures.complete(moment)
            moment = Moment(row.time)
        moment.count += 1
        if moment.count > MOST_ROWS:
            raise row.malformed(f"more than {MOST_ROWS} rows of one time")
        _add(moment, row)
    if moment is not None:
        yield figures.complete(moment)
    figures.check_sizes()


def ends_life(row: Row) -> bool:
    """Return whether what a process was before ``row`` has ended with it."""
    return row.event in (EXIT, RESTART)


def _ascending(rows: Iterable[Row]) -> Iterator[Row]:
    latest = 0.0
    for row in rows:
        if row.time < latest:
            raise row.malformed(f"its time {row.time:.3f} is before that of an earlier row, {latest:.3f}")
        latest = row.time
        yield row


def _add(moment: Moment, row: Row) -> None:
    if not row.gpu:
        moment.gap = row
        return
    part = moment.parts.get(row.gpu)
    if part is None:
        part = moment.parts[row.gpu] = Part(row.gpu)
    if row.pid is None:
        _add_own(part, row)
    else:
        _add_process(part, row, row.pid)
    if part.is_gap and part.processes:
        raise row.malformed(f"GPU {row.gpu} has a gap at this time, and yet rows of processes")


def _add_own(part: Part, row: Row) -> None:
    if row.event and row.event != GAP:
        part.events.append(row)
    if row.event == GAP or row.used is not None:
        if part.own is not None:
            raise row.malformed(f"a second row of GPU {row.gpu} at this time")
        part.own = row


def _add_process(part: Part, row: Row, pid: int) -> None:
    part.processes.append(row)
    if ends_life(row):
        part.claims.pop(pid, None)
    tells_claim = not row.event or (row.event != EXIT and row.used is not None)
    if not tells_claim:
        return
    if pid in part.claims:
        raise row.malformed(f"a second row of pid {pid} on GPU {row.gpu} at this time")
    part.claims[pid] = row


class _Figures:
    """The memory of every Gpu: its own figures where it has some, else the sum of its claims."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, Memory]] = {}
        self._totals: dict[str, Bytes] = {}
        self._unsized: dict[str, Row] = {}

    def complete(self, moment: Moment) -> Moment:
        for part in moment.parts.values():
            own = part.own
            if own is not None and own.used is not None and own.total is not None:
                part.memory = _own_memory(own, own.used, own.total)
                self._told[part.gpu] = moment.time, part.memory
                self._unsized.pop(part.gpu, None)
            elif own is None:
                self._complete_between(part, moment.time)
            if part.memory is not None and part.claims:
                _check_claims(part, part.memory)
        if len(self._told) + len(self._totals) + len(self._unsized) > MOST_GPUS:
            row = next(row for part in moment.parts.values() for row in (part.own, *part.processes) if row)
            raise row.malformed(f"more than {MOST_GPUS} GPUs in one recording")
        return moment

    def check_sizes(self) -> None:
        for row in self._unsized.values():
            raise row.malformed(
                f"the size of GPU {row.gpu} is told nowhere; give total_bytes, "
                "or the log of nvidia-smi --query-gpu beside that of --query-compute-apps"
            )

    def _complete_between(self, part: Part, time: float) -> None:
        """Complete a part without figures of its own: those of shortly before, or the sum of its claims."""
        if part.gpu in self._told:
            told, memory = self._told[part.gpu]
            part.memory = memory if time - told <= FIGURES_HOLD else None
            return
        for row in part.processes:
            if row.total is not None:
                self._totals[part.gpu] = Bytes(row.total)
                self._unsized.pop(part.gpu, None)
        part.is_sum = True
        total = self._totals.get(part.gpu)
        if total is None:
            if part.processes:
                self._unsized.setdefault(part.gpu, part.processes[0])
        else:
            part.memory = _sum_of_claims(part, total)


def _own_memory(row: Row, used: int, total: int) -> Memory:
    return Memory(Bytes(total), Bytes(used), Bytes(total - used - row.reserved), Bytes(row.reserved))


def _sum_of_claims(part: Part, total: Bytes) -> Memory | None:
    known = [row.used for row in part.claims.values() if row.used is not None]
    if part.claims and not known:
        return None
    used = sum(known)
    if used > total:
        raise part.processes[-1].malformed(f"the claims on GPU {part.gpu} exceed its total of {total}")
    return Memory(total=total, used=Bytes(used), free=Bytes(total - used), reserved=Bytes(0))


def _check_claims(part: Part, memory: Memory) -> None:
    for row in part.claims.values():
        if row.used is not None and row.used > memory.total:
            raise row.malformed(f"pid {row.pid} claims more than the GPU's total of {memory.total}")
        if row.total is not None and row.total != memory.total:
            raise row.malformed(f"total_bytes is {row.total}; GPU {row.gpu} has {memory.total} at this time")
