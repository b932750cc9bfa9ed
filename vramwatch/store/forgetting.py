"""Deleting what is known of an owner or of a user's processes, also from the hours that have closed."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from vramwatch.core.model import Event, EventKind, Instant, ProcessKey
from vramwatch.store import incidents, probes, telling
from vramwatch.store import tables as t
from vramwatch.store.hours import Part, decode_axis, decode_part, encode_part
from vramwatch.store.open_hours import load_whole
from vramwatch.store.opening import driver
from vramwatch.store.rollups import decode_minutes, encode_minute_tracks
from vramwatch.store.rows import event_values
from vramwatch.store.spans import listed
from vramwatch.store.ticks import Tick, decode, encode

FORGOTTEN_HERE = "somebody's history was deleted; of before, those bytes stand as nobody's"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted, counted; and whose it was, for those who remember more of them."""

    owners: int
    processes: int
    series: int
    samples: int
    incidents: int
    probes: int
    owner_keys: frozenset[str] = frozenset()
    process_keys: frozenset[ProcessKey] = frozenset()

    @property
    def counts(self) -> Mapping[str, int]:
        """What may be shown and logged: numbers, and no name of what was deleted."""
        return {
            "owners": self.owners,
            "processes": self.processes,
            "series": self.series,
            "samples": self.samples,
            "incidents": self.incidents,
            "probes": self.probes,
        }


def forget(connection: Connection, owner: str | None, user: str | None, now: Instant | None) -> Forgotten:
    """Delete the processes of ``owner`` (key or name) and of ``user``, and the owners that are left without.

    With them go the incidents of those owners with what was told of them, the runs of the probe that the user
    handed in, and the checkpoint, which holds their windows. That something was deleted is noted of each Gpu
    at ``now``, the newest poll, without saying whose it was.

    Errors: SQLAlchemyError, ValueError for a blob that cannot be read.
    """
    connection.exec_driver_sql("PRAGMA secure_delete = ON")
    named = or_(t.owner.c.key == owner, t.owner.c.name == owner) if owner else t.owner.c.id.is_(None)
    owners = set(connection.scalars(select(t.owner.c.id).where(named)))
    of_user = t.process.c.user == user if user else t.process.c.id.is_(None)
    whose = or_(of_user, t.process.c.owner.in_(listed(owners)))
    processes = set(connection.scalars(select(t.process.c.id).where(whose)))
    owners |= _left_without(connection, processes)
    series = set(
        connection.scalars(
            select(t.series.c.id).where(
                or_(t.series.c.process.in_(listed(processes)), t.series.c.owner.in_(listed(owners)))
            )
        )
    )
    keys = connection.scalars(select(t.owner.c.key).where(t.owner.c.id.in_(listed(owners)))).all()
    telling.forget(connection, keys)
    lives = _lives(connection, processes)
    judged = incidents.forget(connection, keys, lives)
    if now is not None:
        _note(connection, series, now)
    samples = _count(connection, series)
    _forget_samples(connection, series)
    for table, column, ids in (
        (t.hourly, t.hourly.c.series, series),
        (t.series, t.series.c.id, series),
        (t.holding, t.holding.c.process, processes),
        (t.process, t.process.c.id, processes),
        (t.alias, t.alias.c.owner, owners),
        (t.owner, t.owner.c.id, owners),
    ):
        connection.execute(delete(table).where(column.in_(listed(ids))))
    handed_in = probes.forget(connection, user) if user else 0
    counted = len(owners), len(processes), len(series), samples, judged, handed_in
    return Forgotten(*counted, frozenset(keys), lives)


def _note(connection: Connection, series: Collection[int], now: Instant) -> None:
    """Keep an event at ``now`` of each Gpu on which ``series`` are, while they still say so."""
    of = (
        select(t.gpu.c.uuid)
        .join(t.series, t.series.c.gpu == t.gpu.c.id)
        .where(t.series.c.id.in_(listed(series)))
    )
    for uuid in connection.scalars(of.distinct()).all():
        event = Event(EventKind.FORGOTTEN, FORGOTTEN_HERE, uuid)
        connection.execute(insert(t.event).values(event_values(event, now)))


def wipe(connection: Connection) -> None:
    """Have what was deleted leave the file and its log too. Outside a transaction."""
    sqlite = driver(connection)
    sqlite.execute("PRAGMA secure_delete = OFF")
    sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _lives(connection: Connection, processes: Collection[int]) -> frozenset[ProcessKey]:
    columns = t.process.c
    rows = select(columns.boot_id, columns.pid, columns.start_ticks).where(columns.id.in_(listed(processes)))
    return frozenset(ProcessKey(*row) for row in connection.execute(rows))


def _left_without(connection: Connection, processes: Collection[int]) -> set[int]:
    """Return the owners all of whose processes are among ``processes``."""
    among = t.process.c.id.in_(listed(processes))
    others = select(t.process.c.owner).where(~among)
    alone = select(t.process.c.owner).where(among, t.process.c.owner.not_in(others))
    return set(connection.scalars(alone))


def _count(connection: Connection, series: Collection[int]) -> int:
    rollups = select(func.sum(t.hourly.c.count)).where(t.hourly.c.series.in_(listed(series)))
    samples = connection.scalar(rollups) or 0
    for hour in connection.scalars(_OPEN).all():
        parts = load_whole(connection, hour).parts.values()
        samples += sum(part.counts(id)[-1] for part in parts for id in part.tracks.keys() & series)
    return int(samples)


_OPEN = select(t.hour.c.id).where(t.hour.c.last_seq.is_(None))


def _forget_samples(connection: Connection, series: Collection[int]) -> None:
    gpus = set(connection.scalars(select(t.series.c.gpu).where(t.series.c.id.in_(listed(series)))))
    for seq, polls in connection.execute(select(t.tick.c.seq, t.tick.c.polls)).all():
        kept = encode([_without(tick, series) for tick in decode(seq, polls)])
        if kept != polls:
            connection.execute(update(t.tick).where(t.tick.c.seq == seq).values(polls=kept))
    for row in connection.execute(select(t.sweep)).all():
        told = json.loads(row.series)
        kept_series = [id for id in told if id not in series]
        if kept_series != told:
            this = t.sweep.c.hour == row.hour, t.sweep.c.id == row.id
            text = json.dumps(kept_series, separators=(",", ":"))
            connection.execute(update(t.sweep).where(*this).values(series=text))
    for table, column, rewrite in (
        (t.raw, "samples", _rewrite_samples),
        (t.minutes, "rollups", _rewrite_minutes),
    ):
        keys = select(table.c.hour, table.c.gpu).where(table.c.gpu.in_(listed(gpus)))
        for hour, gpu in connection.execute(keys).all():
            this = table.c.hour == hour, table.c.gpu == gpu
            blob = connection.execute(select(table.c[column]).where(*this)).scalar_one()
            kept_blob = rewrite(connection, hour, blob, series)
            if kept_blob is not None:
                connection.execute(update(table).where(*this).values({column: kept_blob}))


def _without(tick: Tick, series: Collection[int]) -> Tick:
    if not any(id in series for each in tick.gpus for id, _ in each.changes):
        return tick
    gpus = tuple(
        replace(each, changes=tuple(change for change in each.changes if change[0] not in series))
        for each in tick.gpus
    )
    return replace(tick, gpus=gpus)


def _rewrite_samples(connection: Connection, hour: int, blob: bytes, series: Collection[int]) -> bytes | None:
    axis: Any = connection.execute(select(t.axis.c.polls).where(t.axis.c.hour == hour)).scalar_one()
    seqs = decode_axis(axis).seqs
    part = decode_part(blob, seqs)
    if not part.tracks.keys() & series:
        return None
    sweeps = {id: tuple(each for each in told if each not in series) for id, told in part.sweeps.items()}
    tracks = {id: track for id, track in part.tracks.items() if id not in series}
    return encode_part(Part(sweeps, part.reads, part.listed, tracks), seqs)


def _rewrite_minutes(connection: Connection, hour: int, blob: bytes, series: Collection[int]) -> bytes | None:
    tracks = decode_minutes(blob)
    if not tracks.keys() & series:
        return None
    return encode_minute_tracks({id: track for id, track in tracks.items() if id not in series})
