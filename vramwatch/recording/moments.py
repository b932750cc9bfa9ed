"""Rows put together: everything that was recorded at one time, checked as a whole."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from operator import attrgetter

from vramwatch.core.model import Memory
from vramwatch.core.units import Bytes, Seconds
from vramwatch.recording.row import EXIT, GAP, RESTART, Row, Said

FIGURES_HOLD = Seconds(60.0)  # a Gpu's own figures stand this long for process rows between two of them
MOST_GPUS = 4096  # Gpus that one recording may name: a cluster's worth, and a bound on memory
MOST_ROWS = 65_536  # rows of one time: MOST_GPUS with sixteen processes each


@dataclass(slots=True)
class Listing:
    """The rows of the processes of one Gpu at one time, in their order.

    ``claims``: by pid, of the processes that have not ended. Where they say what they said at the Gpu's
    time before, it is the same object, with the rows of then.
    """

    said: list[Said] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    claims: dict[int, Said] = field(default_factory=dict)
    has_events: bool = False


@dataclass(slots=True)
class Part:
    """What was recorded of one Gpu at one time.

    ``memory`` is None where nothing tells it. ``is_sum``: the Gpu has no figures of its own in this
    recording so far, and ``memory.used`` is the sum of the claims.
    """

    gpu: str
    said: list[Said]  # all of it, in the order of its rows
    own: Said | None = None  # its figures, or its gap
    events: list[Row] = field(default_factory=list)  # of the whole Gpu
    listing: Listing = field(default_factory=Listing)
    memory: Memory | None = None
    is_sum: bool = False

    @property
    def is_gap(self) -> bool:
        return self.own is not None and self.own.event == GAP

    @property
    def has_events(self) -> bool:
        return bool(self.events) or self.listing.has_events


@dataclass(slots=True)
class Moment:
    """Everything of one time, the Gpus in the order of their rows. ``gap``: nothing could be read.

    ``count``: its rows. A Part that says what it said before is the same object.
    """

    time: float  # unix seconds
    count: int
    parts: dict[str, Part] = field(default_factory=dict)
    gap: Said | None = None


def moments(files: Sequence[Iterator[Row]]) -> Iterator[Moment]:
    """Yield the rows of all ``files``, merged by time, as one Moment for each distinct time.

    Errors: MalformedError at a row that descends in time, repeats or contradicts another of its time,
    or claims more than its Gpu has; at the end, for a Gpu whose size no row tells.
    """
    books = _Books()
    together: list[Row] = []
    time = 0.0
    for row in files[0] if len(files) == 1 else merge(*map(_ascending, files), key=attrgetter("time")):
        if row.time != time:
            _check_order(row, time)
            if together:
                yield books.moment(together)
            together, time = [], row.time
        together.append(row)
        if len(together) > MOST_ROWS:
            raise row.malformed(f"more than {MOST_ROWS} rows of one time")
    if together:
        yield books.moment(together)
    books.check_sizes()


def ends_life(row: Row) -> bool:
    """Return whether what a process was before ``row`` has ended with it."""
    return row.said.event in (EXIT, RESTART)


def _ascending(rows: Iterable[Row]) -> Iterator[Row]:
    latest = 0.0
    for row in rows:
        _check_order(row, latest)
        latest = row.time
        yield row


def _check_order(row: Row, latest: float) -> None:
    if row.time < latest:
        raise row.malformed(f"its time {row.time:.3f} is before that of an earlier row, {latest:.3f}")


class _Books:
    """The memory of every Gpu: its own figures where it has some, else the sum of its claims."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}  # the newest of every Gpu
        self._told: dict[str, tuple[float, Memory]] = {}
        self._totals: dict[str, Bytes] = {}
        self._unsized: dict[str, Row] = {}

    def moment(self, rows: Sequence[Row]) -> Moment:
        """Return the Moment of ``rows``, which are of one time."""
        moment = Moment(rows[0].time, len(rows))
        by_gpu: dict[str, list[Row]] = {}
        for row in rows:
            gpu = row.said.gpu
            if gpu in by_gpu:
                by_gpu[gpu].append(row)
            else:
                by_gpu[gpu] = [row]
        for gpu, of_gpu in by_gpu.items():
            if gpu:
                moment.parts[gpu] = self._parts[gpu] = self._part(gpu, of_gpu, moment.time)
            else:
                moment.gap = of_gpu[-1].said
        if len(self._parts) > MOST_GPUS:
            raise rows[-1].malformed(f"more than {MOST_GPUS} GPUs in one recording")
        return moment

    def check_sizes(self) -> None:
        for row in self._unsized.values():
            raise row.malformed(
                f"the size of GPU {row.said.gpu} is told nowhere; give total_bytes, "
                "or the log of nvidia-smi --query-gpu beside that of --query-compute-apps"
            )

    def _part(self, gpu: str, rows: list[Row], time: float) -> Part:
        said = [row.said for row in rows]
        before = self._parts.get(gpu)
        if before is None or before.said != said or not (before.own or before.is_sum):
            part = _part_of(gpu, said, rows, before)
            self._complete(part, rows, time)
            if part.memory is not None:
                _check_claims(part, part.memory, rows, before)
            return part
        if before.memory is not None and not before.is_sum:
            self._told[gpu] = time, before.memory
        return before

    def _complete(self, part: Part, rows: Sequence[Row], time: float) -> None:
        own = part.own
        if own is not None and own.used is not None and own.total is not None:
            part.memory = _own_memory(own, own.used, own.total)
            self._told[part.gpu] = time, part.memory
            self._unsized.pop(part.gpu, None)
        elif own is None:
            self._complete_between(part, rows, time)

    def _complete_between(self, part: Part, rows: Sequence[Row], time: float) -> None:
        """Complete a part without figures of its own: those of shortly before, or the sum of its claims."""
        if part.gpu in self._told:
            told, memory = self._told[part.gpu]
            part.memory = memory if time - told <= FIGURES_HOLD else None
            return
        for row in part.listing.rows:
            if row.said.total is not None:
                self._totals[part.gpu] = Bytes(row.said.total)
                self._unsized.pop(part.gpu, None)
        part.is_sum = True
        total = self._totals.get(part.gpu)
        if total is None:
            if part.listing.rows:
                self._unsized.setdefault(part.gpu, part.listing.rows[0])
        else:
            part.memory = _sum_of_claims(part, total, rows)


def _part_of(gpu: str, said: list[Said], rows: Sequence[Row], before: Part | None) -> Part:
    """Return what ``rows`` of one Gpu say, in their order. Errors: MalformedError for what contradicts."""
    part = Part(gpu, said)
    of_processes = [row for row in rows if row.said.pid is not None]
    for row in rows:
        if row.said.pid is None:
            _add_own(part, row)
    if part.is_gap and of_processes:
        raise of_processes[0].malformed(f"GPU {gpu} has a gap at this time, and yet rows of processes")
    listing = [row.said for row in of_processes]
    if before is not None and before.listing.said == listing:
        part.listing = before.listing
        return part
    part.listing = Listing(listing, of_processes, has_events=any(said.event for said in listing))
    for row in of_processes:
        _add_claim(part.listing.claims, row)
    return part


def _add_own(part: Part, row: Row) -> None:
    said = row.said
    if said.event and said.event != GAP:
        part.events.append(row)
    if said.event == GAP or said.used is not None:
        if part.own is not None:
            raise row.malformed(f"a second row of GPU {said.gpu} at this time")
        part.own = said


def _add_claim(claims: dict[int, Said], row: Row) -> None:
    said = row.said
    pid = said.pid or 0
    if said.event:
        if ends_life(row):
            claims.pop(pid, None)
        if said.event == EXIT or said.used is None:
            return
    if pid in claims:
        raise row.malformed(f"a second row of pid {pid} on GPU {said.gpu} at this time")
    claims[pid] = said


def _own_memory(said: Said, used: int, total: int) -> Memory:
    return Memory(Bytes(total), Bytes(used), Bytes(total - used - said.reserved), Bytes(said.reserved))


def _sum_of_claims(part: Part, total: Bytes, rows: Sequence[Row]) -> Memory | None:
    claims = part.listing.claims
    known = [said.used for said in claims.values() if said.used is not None]
    if claims and not known:
        return None
    used = sum(known)
    if used > total:
        raise rows[-1].malformed(f"the claims on GPU {part.gpu} exceed its total of {total}")
    return Memory(total=total, used=Bytes(used), free=Bytes(total - used), reserved=Bytes(0))


def _check_claims(part: Part, memory: Memory, rows: Sequence[Row], before: Part | None) -> None:
    """Errors: MalformedError for a claim that its Gpu has no room for. Claims checked before are let be."""
    checked = before.memory if before is not None and before.listing is part.listing else None
    if checked is not None and checked.total == memory.total:
        return
    claims = part.listing.claims
    for row in rows:
        pid, used, total = row.said.pid, row.said.used, row.said.total
        if pid is None or claims.get(pid) is not row.said:
            continue
        if used is not None and used > memory.total:
            raise row.malformed(f"pid {pid} claims more than the GPU's total of {memory.total}")
        if total is not None and total != memory.total:
            raise row.malformed(f"total_bytes is {total}; GPU {part.gpu} has {memory.total} at this time")
