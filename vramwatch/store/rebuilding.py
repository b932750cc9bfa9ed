"""Polls from rows: what a moment looked like, as far as it is kept.

Kept to the byte: the figures of every ledger, who held what, why bytes were unattributed, how old the
process list was, what was missing, the pace and the events. What a source reads now and then
(temperature, power, peaks, gauges) is as last read. Gpus and the facts of a process, but for its state,
are as last known. Claims stand as holdings; how a failed list failed is not kept. Times are
kept to a millisecond, the share of driver time to a hundredth of a percent.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, or_, select

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
    ProcessKey,
    ProcessState,
    Reading,
    SubjectKind,
    Tenant,
)
from vramwatch.core.poll import Pace, Poll
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
    if row is None:
        return None
    interval, list_interval = Seconds(row.interval), Seconds(row.list_interval)
    return Pace(interval, list_interval, moment.share / SHARE_PARTS, row.lowered_because)


def _missing(connection: Connection, seq: int) -> tuple[Missing, ...]:
    over = t.gap.c.until_seq
    then = (
        select(t.gap, t.gpu)
        .select_from(t.gap.outerjoin(t.gpu, t.gpu.c.uuid == t.gap.c.gpu))
        .where(t.gap.c.since_seq <= seq, or_(over.is_(None), over > seq))
    )
    gaps = connection.execute(then).all()
    missing = [Missing(None if gap.uuid is None else gpu_of(gap), fault_of(gap)) for gap in gaps]
    return tuple(sorted(missing, key=lambda each: position(each.gpu) if each.gpu else ()))


def position(gpu: Gpu) -> tuple[int, ...]:
    """Return what sorts Gpus by their ordinals."""
    return tuple(int(part) for part in gpu.ordinal.split(":") if part.isdecimal())


@dataclass(slots=True)
class _Figures:
    """The values of one Gpu's series at one moment."""

    gpu: dict[str, float] = field(default_factory=dict)  # quantity -> value
    process: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # by id


def _ledgers(connection: Connection, moment: Moment, blind: set[str | None]) -> tuple[Ledger, ...]:
    figures = _figures(connection, moment.values)
    standing = _standing(connection, moment.at.seq)
    notes = notes_of(connection)
    ledgers = []
    for row in connection.execute(select(t.gpu)):
        note = notes.get(moment.notes.get(row.id, 0)) if moment.notes is not None else _UNKNOWN
        if note is not None and row.uuid not in blind and row.id in figures:
            listed = _listed(connection, moment, row.id)
            ledgers.append(
                _ledger(
                    moment.at, row, note, listed=listed, figures=figures[row.id], standing=standing[row.id]
                )
            )
    return tuple(sorted(ledgers, key=lambda ledger: position(ledger.gpu)))


Note = tuple[MemoryBasis, tuple[Explanation, ...]]
"""What a ledger says beside its figures."""

_UNKNOWN: Note = (MemoryBasis.V2, ())
"""Where the hour's roll-up alone is left."""


def notes_of(connection: Connection) -> dict[int, Note]:
    """Return every way of saying it, by its id."""
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


def _figures(connection: Connection, values: Mapping[int, Value]) -> dict[int, _Figures]:
    told = (SubjectKind.GPU.value, SubjectKind.PROCESS.value)  # the others are sums of these
    within = t.series.c.id.in_(listed(values.keys()))
    figures: dict[int, _Figures] = defaultdict(_Figures)
    for row in connection.execute(select(t.series).where(within, t.series.c.kind.in_(told))):
        of = figures[row.gpu]
        place = of.gpu if row.process is None else of.process[row.process]
        place[row.quantity] = values[row.id]
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


def _ledger(
    at: Instant,
    gpu: Row[Any],
    note: Note,
    *,
    listed: Instant | None,
    figures: _Figures,
    standing: list[Row[Any]],
) -> Ledger:
    told = figures.gpu
    basis, explanations = note
    total, used, reserved = (Bytes(int(told[f"{name}_bytes"])) for name in ("total", "used", "reserved"))
    memory = Memory(total, used, Bytes(total - used - reserved), reserved, basis)
    holdings = sorted((_holding(row, figures.process[row.process]) for row in standing), key=order)
    held = sum(holding.held for holding in holdings if holding.held is not None)
    reading = Reading(
        gpu_of(gpu),
        memory,
        utilization=told.get("utilization_ratio"),
        temperature=told.get("temperature_celsius"),
        power=told.get("power_watts"),
        peaks={each.pid: each.peak for each in holdings if each.peak is not None},
        gauges=_gauges(standing, figures),
    )
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


def order(holding: Holding) -> tuple[bool, int, int]:
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
