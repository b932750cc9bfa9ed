"""The ledgers of one poll as rows: GPUs, who is on them, what was read of them and what changed."""

import json
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, and_, insert, select, update

from vramwatch.core.model import Gpu, Holding, Instant, Ledger, ProcessKey, SeriesKey, SubjectKind
from vramwatch.core.series import USED_BYTES, process_key, process_subject, samples
from vramwatch.store import tables as t
from vramwatch.store.columns import Value
from vramwatch.store.known import Known, KnownGpu, KnownHour, KnownSeries, Note, Standing, Sweep
from vramwatch.store.people import depart, meet, owner_id
from vramwatch.store.rows import Values, gpu_values, join_words, kept_value, storable, unit_of
from vramwatch.store.ticks import GpuTick, as_expected

_LISTED_KINDS = frozenset(
    {
        SubjectKind.PROCESS,
        SubjectKind.OWNER,
        SubjectKind.UNATTRIBUTED,
        SubjectKind.GHOST,
        SubjectKind.CGROUP,
    }
)
"""Subjects whose used bytes are read with the process list."""


@dataclass(slots=True)
class _Page:
    """What the poll says of one GPU."""

    read: Sweep = ()
    changes: dict[int, Value | None] = field(default_factory=dict)  # None: no value from here on


class Book:
    """Enters the ledgers of one poll. What was read and what changed is handed out by ``gpus``."""

    def __init__(self, connection: Connection, known: Known, at: Instant) -> None:
        self._connection = connection
        self._known = known
        self._at = at
        self._seq_before = known.last.seq if known.last else 0
        self._pages: dict[int, _Page] = {}  # by the GPU's id

    @property
    def has_changes(self) -> bool:
        """Whether any value differs from the poll before."""
        return any(page.changes for page in self._pages.values())

    def enter(self, ledger: Ledger) -> None:
        """Enter what differs from the ledger before of the same GPU."""
        gpu = self.find(ledger.gpu)
        if ledger.listed and gpu.listed != ledger.listed.seq:
            # The poll that read this list may never have been stored; then its figures count from here.
            ledger = replace(ledger, listed=self._at)
        gpu.listed = ledger.listed.seq if ledger.listed else 0
        gpu.note = self._note((ledger.memory.basis.value, join_words(ledger.explanations)))
        self._stand(gpu, ledger)
        self._values(gpu, ledger)

    def leave(self, uuid: str) -> None:
        """Enter that a GPU is no longer there, nor anything on it."""
        gpu = self._known.gpus.pop(uuid)
        for key in list(gpu.standings):
            self._step_off(gpu, key)
        for series in list(gpu.series):
            self._end(gpu, series)

    def gpus(self, hour: KnownHour, *, complete: bool) -> tuple[GpuTick, ...]:
        """Return the GPUs of which something is not as expected. ``complete``: all, with every value."""
        there = {gpu.id: gpu for gpu in self._known.gpus.values()}
        told = [
            GpuTick(id, 0, 0, 0, tuple(page.changes.items()))
            for id, page in self._pages.items()
            if id not in there
        ]
        for id, gpu in there.items():
            page = self._pages.get(id) or _Page()
            changes = page.changes
            if complete:
                changes = changes | {series.id: series.value for series in gpu.series.values()}
            now = GpuTick(id, gpu.note, self._sweep(hour, page.read), gpu.listed, tuple(changes.items()))
            if complete or gpu.told is None or now != as_expected(gpu.told, self._seq_before, self._at.seq):
                told.append(now)
            gpu.told = now
        return tuple(told)

    def _page(self, gpu: KnownGpu) -> _Page:
        return self._pages.setdefault(gpu.id, _Page())

    def _sweep(self, hour: KnownHour, read: Sweep) -> int:
        if not read:
            return 0
        found = hour.sweeps.get(read)
        if found is None:
            found = hour.sweeps[read] = max(hour.sweeps.values(), default=0) + 1
            row = {"hour": hour.id, "id": found, "series": json.dumps(read, separators=(",", ":"))}
            self._connection.execute(insert(t.sweep), row)
        return found

    def _note(self, note: Note) -> int:
        found = self._known.notes.get(note)
        if found is None:
            values = dict(zip(("basis", "explanations"), note, strict=True))
            found = self._connection.execute(insert(t.note), values).lastrowid
            self._known.notes[note] = found
        return found

    def find(self, gpu: Gpu) -> KnownGpu:
        """Return what is known of ``gpu``, written down or brought up to date if need be."""
        known = self._known.gpus.get(gpu.uuid)
        if known is not None and known.gpu == gpu:
            return known
        values = gpu_values(gpu)
        found = self._connection.scalar(select(t.gpu.c.id).where(t.gpu.c.uuid == values["uuid"]))
        if found is None:
            found = self._connection.execute(insert(t.gpu), values).lastrowid
        else:
            self._connection.execute(update(t.gpu).where(t.gpu.c.id == found), values)
        if known is None:
            known = self._known.gpus[gpu.uuid] = KnownGpu(found, gpu)
        known.gpu = gpu
        return known

    def _stand(self, gpu: KnownGpu, ledger: Ledger) -> None:
        """Enter who stands how on ``gpu``, and that the others have stepped off it."""
        now = {holding.tenant.facts.key: holding for holding in ledger.holdings}
        for key in gpu.standings.keys() - now.keys():
            self._step_off(gpu, key)
        for key, holding in now.items():
            process = meet(self._connection, self._known, holding.tenant, self._at.seq)
            standing = _standing(holding)
            if gpu.standings.get(key) == standing:
                continue
            if key in gpu.standings:
                self._close_holding(gpu, process)
            gpu.standings[key] = standing
            columns = dict(zip(("kinds", "ghost", "state", "state_since"), standing, strict=True))
            row = {"gpu": gpu.id, "process": process, "since_seq": self._at.seq, **columns}
            self._connection.execute(insert(t.holding), row)

    def _step_off(self, gpu: KnownGpu, key: ProcessKey) -> None:
        del gpu.standings[key]
        self._close_holding(gpu, self._known.processes[key].id)
        subject = process_subject(key)
        for series in [s for s in gpu.series if s.kind is SubjectKind.PROCESS and s.subject == subject]:
            self._end(gpu, series)
        if not any(key in other.standings for other in self._known.gpus.values()):
            depart(self._connection, self._known, key)

    def _close_holding(self, gpu: KnownGpu, process: int) -> None:
        held = t.holding.c
        open_one = and_(held.gpu == gpu.id, held.process == process, held.until_seq.is_(None))
        self._connection.execute(update(t.holding).where(open_one).values(until_seq=self._at.seq))

    def _values(self, gpu: KnownGpu, ledger: Ledger) -> None:
        """Enter the values that changed, and end the series that a new process list says nothing of."""
        page, read, listed = self._page(gpu), [], set()
        for sample in samples(ledger):
            known = gpu.series.get(sample.series) or self._begin(gpu, sample.series, ledger)
            value = kept_value(known.unit, sample.value)
            if value is None:
                continue
            read.append(known.id)
            listed.add(sample.series)
            if known.value != value:
                known.value = page.changes[known.id] = value
        page.read = tuple(read)
        if ledger.is_fresh or ledger.listed is None:
            for series in [s for s in gpu.series if _follows_from_list(s) and s not in listed]:
                self._end(gpu, series)

    def _begin(self, gpu: KnownGpu, key: SeriesKey, ledger: Ledger) -> KnownSeries:
        """Return a series that has no value yet, or none any more."""
        values = storable(
            {"gpu": gpu.id, "kind": key.kind.value, "subject": key.subject, "quantity": key.quantity}
        )
        same = (t.series.c[name] == value for name, value in values.items())
        found = self._connection.scalar(select(t.series.c.id).where(*same))
        if found is None:
            row = {**values, "unit": unit_of(key.quantity), **self._whose(key, ledger)}
            found = self._connection.execute(insert(t.series), row).lastrowid
        else:
            self._connection.execute(update(t.series).where(t.series.c.id == found).values(ended_seq=None))
        known = gpu.series[key] = KnownSeries(found, unit_of(key.quantity))
        return known

    def _whose(self, key: SeriesKey, ledger: Ledger) -> Values:
        """Return the columns owner and process of a series."""
        if key.kind is SubjectKind.OWNER:
            owner = next(h.tenant.owner for h in ledger.holdings if h.tenant.owner.key == key.subject)
            return {"owner": owner_id(self._connection, owner)}
        if key.kind is SubjectKind.PROCESS:
            process = self._known.processes[process_key(key.subject)]
            return {"owner": process.owner, "process": process.id}
        return {}

    def _end(self, gpu: KnownGpu, key: SeriesKey) -> None:
        """Enter that a series has no value from here on."""
        known = gpu.series.pop(key)
        self._page(gpu).changes[known.id] = None
        ended = update(t.series).where(t.series.c.id == known.id).values(ended_seq=self._at.seq)
        self._connection.execute(ended)


def _standing(holding: Holding) -> Standing:
    facts = holding.tenant.facts
    ghost = holding.ghost and holding.ghost.value
    return (join_words(sorted(holding.kinds)), ghost, facts.state.value, facts.state_since)


def _follows_from_list(series: SeriesKey) -> bool:
    return series.kind in _LISTED_KINDS and series.quantity == USED_BYTES
