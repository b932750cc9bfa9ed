"""Polls from rows: what a moment looked like, as far as it is kept.

Kept to the byte: the figures of every ledger, who held what, why bytes were unattributed, how old the
process list was, what was missing, the pace and the events. What a source reads now and then
(temperature, power, peaks, gauges) is as last read. Gpus and the facts of a process, but for its state,
are as last known. Claims stand as holdings; how a failed list failed is not kept.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, or_, select

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
from vramwatch.store.rows import event_of, fault_of, gpu_of, owner_of, process_of, split_words, value_of


def polls() -> Select[Any]:
    """Return a select of what ``instant_of`` and ``rebuild`` read of a poll."""
    return select(
        t.poll, t.run.c.boot_id, t.pace.c.interval, t.pace.c.list_interval, t.pace.c.lowered_because
    ).select_from(
        t.poll.join(t.run, t.run.c.id == t.poll.c.run).outerjoin(t.pace, t.pace.c.id == t.poll.c.pace)
    )


def instant_of(row: Row[Any]) -> Instant:
    return Instant(row.seq, row.wall, row.boottime, row.boot_id)


def rebuild(connection: Connection, row: Row[Any]) -> Poll:
    """Return the Poll whose row ``polls`` selected. Ledgers ascend in their Gpu's ordinal."""
    at = instant_of(row)
    missing = _missing(connection, at.seq)
    blind = {each.gpu.uuid if each.gpu else None for each in missing}
    ledgers = () if None in blind else _ledgers(connection, at, blind)
    happened = select(t.event).where(t.event.c.seq == at.seq).order_by(t.event.c.id)
    return Poll(
        at,
        ledgers,
        missing,
        events=tuple(event_of(event) for event in connection.execute(happened)),
        pace=_pace(row),
    )


def _pace(row: Row[Any]) -> Pace | None:
    if row.pace is None:
        return None
    interval, list_interval = Seconds(row.interval), Seconds(row.list_interval)
    return Pace(interval, list_interval, row.driver_share, row.lowered_because)


def _missing(connection: Connection, seq: int) -> tuple[Missing, ...]:
    over = t.gap.c.until_seq
    then = (
        select(t.gap, t.gpu)
        .select_from(t.gap.outerjoin(t.gpu, t.gpu.c.uuid == t.gap.c.gpu))
        .where(t.gap.c.since_seq <= seq, or_(over.is_(None), over > seq))
    )
    gaps = connection.execute(then).all()
    missing = [Missing(None if gap.uuid is None else gpu_of(gap), fault_of(gap)) for gap in gaps]
    return tuple(sorted(missing, key=lambda each: _position(each.gpu) if each.gpu else ()))


def _position(gpu: Gpu) -> tuple[int, ...]:
    return tuple(int(part) for part in gpu.ordinal.split(":") if part.isdecimal())


@dataclass(slots=True)
class _Figures:
    """The values of one Gpu's series at one moment."""

    gpu: dict[str, float] = field(default_factory=dict)  # quantity -> value
    process: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # by id


def _ledgers(connection: Connection, at: Instant, blind: set[str | None]) -> tuple[Ledger, ...]:
    figures = _figures(connection, at.seq)
    standing = _standing(connection, at.seq)
    ledgers = [
        _ledger(at, row, figures[row.id], standing[row.id])
        for row in _notes(connection, at.seq)
        if row.uuid not in blind
    ]
    return tuple(sorted(ledgers, key=lambda ledger: _position(ledger.gpu)))


def _figures(connection: Connection, seq: int) -> dict[int, _Figures]:
    columns = t.series.c
    told = (SubjectKind.GPU.value, SubjectKind.PROCESS.value)  # the others are sums of these
    valid = and_(columns.kind.in_(told), or_(columns.ended_seq.is_(None), columns.ended_seq > seq))
    figures: dict[int, _Figures] = defaultdict(_Figures)
    for row in connection.execute(select(t.series, t.newest_value(seq).label("value")).where(valid)):
        value = value_of(row.unit, row.value)
        if value is not None:
            of = figures[row.gpu]
            place = of.gpu if row.process is None else of.process[row.process]
            place[row.quantity] = value
    return figures


def _standing(connection: Connection, seq: int) -> dict[int, list[Row[Any]]]:
    over = t.holding.c.until_seq
    then = (
        select(t.holding, t.process.c.boot_id, t.process.c.pid, t.process.c.start_ticks, t.process.c.facts)
        .add_columns(*t.OWNER_COLUMNS)
        .select_from(
            t.holding.join(t.process, t.process.c.id == t.holding.c.process).join(
                t.owner, t.owner.c.id == t.process.c.owner
            )
        )
        .where(t.holding.c.since_seq <= seq, or_(over.is_(None), over > seq))
    )
    standing: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(then):
        standing[row.gpu].append(row)
    return standing


def _notes(connection: Connection, seq: int) -> list[Row[Any]]:
    """Return, for every Gpu that was there, what its ledger said beside its figures."""
    newest = (
        select(t.ledger.c.seq)
        .where(t.ledger.c.gpu == t.gpu.c.id, t.ledger.c.seq <= seq)
        .order_by(t.ledger.c.seq.desc())
        .limit(1)
        .correlate(t.gpu)
        .scalar_subquery()
    )
    note = t.ledger.alias()
    there = (
        select(t.gpu, note.c.basis, note.c.explanations, note.c.listed_seq)
        .add_columns(t.poll.c.wall, t.poll.c.boottime, t.run.c.boot_id)
        .select_from(
            t.gpu.outerjoin(note, and_(note.c.gpu == t.gpu.c.id, note.c.seq == newest))
            .outerjoin(t.poll, t.poll.c.seq == note.c.listed_seq)
            .outerjoin(t.run, t.run.c.id == t.poll.c.run)
        )
    )
    # Asked in SQL, "is it there?" would make SQLite begin with the large table.
    return [row for row in connection.execute(there) if row.basis is not None]


def _ledger(at: Instant, note: Row[Any], figures: _Figures, standing: list[Row[Any]]) -> Ledger:
    told = figures.gpu
    total, used, reserved = (Bytes(int(told[f"{name}_bytes"])) for name in ("total", "used", "reserved"))
    memory = Memory(total, used, Bytes(total - used - reserved), reserved, MemoryBasis(note.basis))
    holdings = sorted((_holding(row, figures.process[row.process]) for row in standing), key=_order)
    held = sum(holding.held for holding in holdings if holding.held is not None)
    reading = Reading(
        gpu_of(note),
        memory,
        utilization=told.get("utilization_ratio"),
        temperature=told.get("temperature_celsius"),
        power=told.get("power_watts"),
        peaks={each.pid: each.peak for each in holdings if each.peak is not None},
        gauges=_gauges(standing, figures),
    )
    explanations = tuple(Explanation(word) for word in split_words(note.explanations))
    listed = None
    if note.listed_seq is not None:
        listed = Instant(note.listed_seq, note.wall, note.boottime, note.boot_id)
    return Ledger(at, reading, tuple(holdings), Bytes(used - held), explanations, listed)


def _holding(row: Row[Any], told: dict[str, float]) -> Holding:
    facts, engine = process_of(ProcessKey(row.boot_id, row.pid, row.start_ticks), row.facts)
    facts = replace(facts, state=ProcessState(row.state), state_since=row.state_since)
    held, peak = (
        None if value is None else Bytes(int(value)) for value in map(told.get, (USED_BYTES, PEAK_BYTES))
    )
    kinds = frozenset(ClaimKind(word) for word in split_words(row.kinds))
    ghost = GhostKind(row.ghost) if row.ghost else None
    return Holding(row.pid, held, Tenant(facts, owner_of(row), engine), kinds, ghost, peak)


def _order(holding: Holding) -> tuple[bool, int, int]:
    """As ``core.attribution`` orders them: largest first, withheld last, then by pid."""
    return (holding.held is None, -(holding.held or 0), holding.pid)


def _gauges(standing: list[Row[Any]], figures: _Figures) -> tuple[Gauge, ...]:
    """In the order of pid and quantity."""
    told = sorted(
        (row.pid, quantity, value)
        for row in standing
        for quantity, value in figures.process[row.process].items()
        if quantity not in (USED_BYTES, PEAK_BYTES)
    )
    return tuple(Gauge(*each) for each in told)
