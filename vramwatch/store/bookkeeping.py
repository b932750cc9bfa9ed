"""The ledgers of one poll as rows: GPUs, who is on them, and the values that changed."""

from dataclasses import replace

from sqlalchemy import Connection, and_, insert, select, update

from vramwatch.core.model import Gpu, Holding, Instant, Ledger, ProcessKey, SeriesKey, SubjectKind
from vramwatch.core.series import USED_BYTES, process_key, process_subject, samples
from vramwatch.store import tables as t
from vramwatch.store.known import Known, KnownGpu, KnownSeries, Note, Standing
from vramwatch.store.people import depart, meet, owner_id
from vramwatch.store.rows import Values, gpu_values, join_words, storable, unit_of

_INSERT_SAMPLE = insert(t.sample)  # built once: SQLAlchemy keeps what it compiled of it
_INSERT_LEDGER = insert(t.ledger)

_NOTHING: Values = dict.fromkeys(("basis", "explanations", "listed_seq"))
"""What is noted of a GPU that is no longer there: the columns of a Note."""

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


class Book:
    """Enters the ledgers of one poll. The rows of the two large tables wait for ``flush``."""

    def __init__(self, connection: Connection, known: Known, at: Instant) -> None:
        self._connection = connection
        self._known = known
        self._at = at
        self._changed: dict[int, float | None] = {}  # series id -> new value; None: it has none from here on
        self._notes: list[Values] = []

    def enter(self, ledger: Ledger) -> None:
        """Enter what differs from the ledger before of the same GPU."""
        gpu = self.find(ledger.gpu)
        if ledger.listed and (gpu.note is None or gpu.note[2] != ledger.listed.seq):
            # The poll that read this list may never have been stored; then its figures count from here.
            ledger = replace(ledger, listed=self._at)
        self._note(gpu, ledger)
        self._stand(gpu, ledger)
        self._values(gpu, ledger)

    def leave(self, uuid: str) -> None:
        """Enter that a GPU is no longer there, nor anything on it."""
        gpu = self._known.gpus.pop(uuid)
        for key in list(gpu.standings):
            self._step_off(gpu, key)
        for series in list(gpu.series):
            self._end(gpu, series)
        if gpu.note is not None:
            self._notes.append({"gpu": gpu.id, "seq": self._at.seq, **_NOTHING})

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

    def flush(self) -> None:
        """Write the rows that waited."""
        seq = self._at.seq
        if self._notes:
            self._connection.execute(_INSERT_LEDGER, self._notes)
        if self._changed:
            rows = [{"series": id, "seq": seq, "value": value} for id, value in self._changed.items()]
            self._connection.execute(_INSERT_SAMPLE, rows)

    def _note(self, gpu: KnownGpu, ledger: Ledger) -> None:
        listed = ledger.listed.seq if ledger.listed else None
        note: Note = (ledger.memory.basis.value, join_words(ledger.explanations), listed)
        if note != gpu.note:
            gpu.note = note
            columns = zip(_NOTHING, note, strict=True)
            self._notes.append({"gpu": gpu.id, "seq": self._at.seq, **dict(columns)})

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
        told = samples(ledger)
        for sample in told:
            known = gpu.series.get(sample.series)
            if known is None:
                known = self._begin(gpu, sample.series, ledger)
            if known.value != sample.value:
                known.value = self._changed[known.id] = sample.value
        if ledger.is_fresh or ledger.listed is None:
            listed = {sample.series for sample in told}
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
        known = gpu.series[key] = KnownSeries(found, None)
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
        self._changed[known.id] = None
        ended = update(t.series).where(t.series.c.id == known.id).values(ended_seq=self._at.seq)
        self._connection.execute(ended)


def _standing(holding: Holding) -> Standing:
    facts = holding.tenant.facts
    ghost = holding.ghost and holding.ghost.value
    return (join_words(sorted(holding.kinds)), ghost, facts.state.value, facts.state_since)


def _follows_from_list(series: SeriesKey) -> bool:
    return series.kind in _LISTED_KINDS and series.quantity == USED_BYTES
