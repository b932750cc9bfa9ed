"""Hours whose polls still are rows of ``tick``: the newest one, and those that wait to be compacted."""

import json
from collections.abc import Collection, Iterator

from sqlalchemy import Connection, select

from vramwatch.store import tables as t
from vramwatch.store.hours import Hour, collect
from vramwatch.store.ticks import Tick, decode

_SWEEPS = select(t.sweep.c.id, t.sweep.c.series)
_TICKS = select(t.tick.c.seq, t.tick.c.complete, t.tick.c.polls).order_by(t.tick.c.seq)


def load_newest(connection: Connection) -> Hour | None:
    """Return the newest polls, at the last of which every value is known; None: none were stored yet."""
    hour = connection.scalar(select(t.hour.c.id).order_by(t.hour.c.id.desc()).limit(1))
    return None if hour is None else load(connection, hour)


def load(
    connection: Connection, hour: int, until_seq: int | None = None, gpus: Collection[int] | None = None
) -> Hour:
    """Return the polls of an open hour that lead to ``until_seq``, or to its newest poll; of ``gpus`` or all.

    Begins late: with the newest poll that names every value and is not after ``until_seq``.
    """
    complete = select(t.tick.c.seq).where(t.tick.c.hour == hour, t.tick.c.complete == 1)
    if until_seq is not None:
        complete = complete.where(t.tick.c.last_seq <= until_seq)
    start = connection.scalar(complete.order_by(t.tick.c.seq.desc()).limit(1)) or hour
    return load_whole(connection, hour, start, gpus)


def load_whole(
    connection: Connection, hour: int, start: int = 0, gpus: Collection[int] | None = None
) -> Hour:
    """Return the polls of an open hour, from the row that begins with ``start`` on; of ``gpus`` or all."""
    found = Hour()
    sweeps = load_sweeps(connection, hour)
    for seq, complete, polls in connection.execute(
        _TICKS.where(t.tick.c.hour == hour, t.tick.c.seq >= start)
    ):
        collect(_from_complete(decode(seq, polls, gpus), complete and seq == start), sweeps, found)
    return found


def load_sweeps(connection: Connection, hour: int) -> dict[int, tuple[int, ...]]:
    rows = connection.execute(_SWEEPS.where(t.sweep.c.hour == hour))
    return {sweep: tuple(json.loads(series)) for sweep, series in rows}


def _from_complete(ticks: Iterator[Tick], is_start: bool) -> Iterator[Tick]:
    """Of a complete row that is the first to be read its last poll alone has every value."""
    return iter([list(ticks)[-1]]) if is_start else ticks
