"""Polls from rows: what a moment looked like, as far as it is kept.

Kept to the byte: the figures of every ledger, who held what, why bytes were unattributed, how old the
process list was, what was missing, the pace and the events. What a source reads now and then
(temperature, power, peaks, gauges) is as last read. Gpus and the facts of a process, but for its state,
are as last known. Claims stand as holdings; how a failed list failed is not kept. Times are
kept to a millisecond, the share of driver time to a hundredth of a percent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, TableClause, or_, select

from vramwatch.core.model import (
    ClaimKind,
    Explanation,
    Gauge,
    GhostKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    MemoryBasis,
    Missing,
    Pace,
    Poll,
    ProcessKey,
    ProcessState,
    Reading,
    SubjectKind,
    Tenant,
)
from vramwatch.core.series import PEAK_BYTES, USED_BYTES
from vramwatch.core.units import Bytes, Seconds
from vramwatch.store import tables as t
from vramwatch.store.columns import Value
from vramwatch.store.moments import Moment, instant_of
from vramwatch.store.rows import SHARE_PARTS, event_of, fault_of, gpu_of, owner_of, process_of, split_words
from vramwatch.store.spans import listed


def rebuild(connection: Connection, moment: Moment) -> Poll:
    """Return the Poll of which ``moment`` is kept. Ledgers ascend in their Gpu's ordinal."""
    at = moment.at
    missing = _missing(connection, at.seq)
    blind = {each.gpu.uuid if each.gpu else None for each in missing}
    ledgers = () if None in blind else _ledgers(connection, moment, blind)
    happened = select(t.event).where(t.event.c.seq == at.seq).order_by(t.event.c.id)
    return Poll(
        at,
        ledgers,
        missing,
        events=tuple(event_of(event) for event in connection.execute(happened)),
        pace=_pace(connection, moment),
    )


def _pace(connection: Connection, moment: Moment) -> Pace | None:
    row = connection.execute(select(t.pace).where(t.pace.c.id == moment.pace)).first()
    return None if row is None else pace_of(row, moment.share)


def pace_of(row: Row[Any], share: int) -> Pace:
    """Return the Pace of a row of the table pace, with the share of driver time in 1/10000."""
    interval, list_interval = Seconds(row.interval), Seconds(row.list_interval)
    return Pace(interval, list_interval, share / SHARE_PARTS, row.lowered_because)


def _missing(connection: Connection, seq: int) -> tuple[Missing, ...]:
    return in_order(missing_of(gap) for gap in gap_rows(connection, seq, seq))


def gap_rows(connection: Connection, first: int, last: int) -> Sequence[Row[Any]]:
    """Return the rows of the table gap that stood at a poll from ``first`` to ``last``, with their GPUs."""
    gaps = select(t.gap, t.gpu).select_from(t.gap.outerjoin(t.gpu, t.gpu.c.uuid == t.gap.c.gpu))
    return connection.execute(gaps.where(*standing_within(t.gap, first, last)).order_by(t.gap.c.id)).all()


def missing_of(gap: Row[Any]) -> Missing:
    """Return what a row of ``gap_rows`` says."""
    return Missing(None if gap.uuid is None else gpu_of(gap), fault_of(gap))


def in_order(missing: Iterable[Missing]) -> tuple[Missing, ...]:
    """Return them as a Poll has them: by the ordinals of their Gpus, what concerns all of them first."""
    return tuple(sorted(missing, key=lambda each: position(each.gpu) if each.gpu else ()))


def position(gpu: Gpu) -> tuple[int, ...]:
    """Return a key that sorts GPUs by their ordinals."""
    return tuple(int(part) for part in gpu.ordinal.split(":") if part.isdecimal())


@dataclass(slots=True)
class Figures:
    """The values of one Gpu's series at one moment."""

    gpu: dict[str, float] = field(default_factory=dict)  # quantity -> value
    process: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # by id


class Standing(NamedTuple):
    """How a process stood on a Gpu over a stretch of polls; ``process``: its id."""

    process: int
    pid: int
    tenant: Tenant
    kinds: frozenset[ClaimKind]
    ghost: GhostKind | None


class Books(NamedTuple):
    """What a Ledger says beside when."""

    reading: Reading
    holdings: tuple[Holding, ...]
    unattributed: Bytes


def _ledgers(connection: Connection, moment: Moment, blind: set[str | None]) -> tuple[Ledger, ...]:
    figures = _figures(connection, moment.values)
    standing = _standing(connection, moment.at.seq)
    notes = notes_of(connection)
    ledgers = []
    for row in connection.execute(select(t.gpu)):
        note = notes.get(moment.notes.get(row.id, 0)) if moment.notes is not None else UNKNOWN
        if note is not None and row.uuid not in blind and row.id in figures:
            basis, explanations = note
            books = books_of(gpu_of(row), basis, figures[row.id], standing[row.id])
            ledgers.append(Ledger(moment.at, *books, explanations, _listed(connection, moment, row.id)))
    return tuple(sorted(ledgers, key=lambda ledger: position(ledger.gpu)))


Note = tuple[MemoryBasis, tuple[Explanation, ...]]
UNKNOWN: Note = (MemoryBasis.V2, ())
"""Where the hour's roll-up alone is left."""


def notes_of(connection: Connection) -> dict[int, Note]:
    """Return every note by its id."""
    return {
        row.id: (MemoryBasis(row.basis), tuple(Explanation(word) for word in split_words(row.explanations)))
        for row in connection.execute(select(t.note))
    }


def _listed(connection: Connection, moment: Moment, gpu: int) -> Instant | None:
    """Return when the process list was read; as of the moment itself where that is no longer kept."""
    seq = moment.listed.get(gpu)
    if seq is None or seq == moment.at.seq:
        return moment.at
    return instant_of(connection, seq) if seq else None


TOLD_KINDS = (SubjectKind.GPU.value, SubjectKind.PROCESS.value)
"""The kinds of series that are read: the others are sums of these."""


def _figures(connection: Connection, values: Mapping[int, Value]) -> dict[int, Figures]:
    within = t.series.c.id.in_(listed(values.keys()))
    figures: dict[int, Figures] = defaultdict(Figures)
    for row in connection.execute(select(t.series).where(within, t.series.c.kind.in_(TOLD_KINDS))):
        of = figures[row.gpu]
        place = of.gpu if row.process is None else of.process[row.process]
        place[row.quantity] = values[row.id]
    return figures


def _standing(connection: Connection, seq: int) -> dict[int, list[Standing]]:
    standing: dict[int, list[Standing]] = defaultdict(list)
    for row in holding_rows(connection, seq, seq):
        standing[row.gpu].append(standing_of(row))
    return standing


def holding_rows(connection: Connection, first: int, last: int) -> Sequence[Row[Any]]:
    """Return who stood on a Gpu at a poll from ``first`` to ``last``, each with its process and Owner."""
    rows = (
        select(t.holding, t.process.c.boot_id, t.process.c.pid, t.process.c.start_ticks, t.process.c.facts)
        .add_columns(*t.OWNER_COLUMNS)
        .select_from(
            t.holding.join(t.process, t.process.c.id == t.holding.c.process).join(
                t.owner, t.owner.c.id == t.process.c.owner
            )
        )
        .where(*standing_within(t.holding, first, last))
    )
    return connection.execute(rows).all()


def standing_within(table: TableClause, first: int, last: int) -> tuple[ColumnElement[bool], ...]:
    """Return what holds for rows of ``table`` that stood at a poll from ``first`` to ``last``."""
    over = table.c.until_seq
    return table.c.since_seq <= last, or_(over.is_(None), over > first)


def standing_of(row: Row[Any]) -> Standing:
    """Return how the process of a row of ``holding_rows`` stood."""
    facts, engine = process_of(ProcessKey(row.boot_id, row.pid, row.start_ticks), row.facts)
    facts = replace(facts, state=ProcessState(row.state), state_since=row.state_since)
    kinds = frozenset(ClaimKind(word) for word in split_words(row.kinds))
    ghost = GhostKind(row.ghost) if row.ghost else None
    return Standing(row.process, row.pid, Tenant(facts, owner_of(row), engine), kinds, ghost)


def books_of(gpu: Gpu, basis: MemoryBasis, figures: Figures, standing: Sequence[Standing]) -> Books:
    """Return the books of one Gpu from its ``figures`` and who stood on it. Errors: KeyError."""
    told = figures.gpu
    total, used, reserved = (Bytes(int(told[f"{name}_bytes"])) for name in ("total", "used", "reserved"))
    memory = Memory(total, used, Bytes(total - used - reserved), reserved, basis)
    holdings = sorted((_holding(each, figures.process[each.process]) for each in standing), key=_order)
    held = sum(holding.held for holding in holdings if holding.held is not None)
    reading = Reading(
        gpu,
        memory,
        utilization=told.get("utilization_ratio"),
        temperature=told.get("temperature_celsius"),
        power=told.get("power_watts"),
        peaks={each.pid: each.peak for each in holdings if each.peak is not None},
        gauges=_gauges(standing, figures),
    )
    return Books(reading, tuple(holdings), Bytes(used - held))


def _holding(standing: Standing, told: Mapping[str, float]) -> Holding:
    held, peak = (
        None if value is None else Bytes(int(value)) for value in map(told.get, (USED_BYTES, PEAK_BYTES))
    )
    return Holding(standing.pid, held, standing.tenant, standing.kinds, standing.ghost, peak)


def _order(holding: Holding) -> tuple[bool, int, int]:
    """As ``core.attribution`` orders them: largest first, withheld last, then by pid."""
    return (holding.held is None, -(holding.held or 0), holding.pid)


def _gauges(standing: Sequence[Standing], figures: Figures) -> tuple[Gauge, ...]:
    """In the order of pid and quantity."""
    told = sorted(
        (each.pid, quantity, value)
        for each in standing
        for quantity, value in figures.process[each.process].items()
        if quantity not in (USED_BYTES, PEAK_BYTES)
    )
    return tuple(Gauge(*each) for each in told)
