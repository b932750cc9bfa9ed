"""The second step's other half: the rows of schema 1, one a change, as the polls of hours.

What schema 1 did not keep is which figures were read at a poll beside the memory of a GPU and its process
list: there, those that changed count as read.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from vramwatch.core.instants import to_ms
from vramwatch.store.columns import Value
from vramwatch.store.rows import SHARE_PARTS, kept_value
from vramwatch.store.ticks import GpuTick, Tick, encode

_HOUR_SECONDS = 3600
_COMPLETE_EVERY = 64
_MEMORY = ("used_bytes", "reserved_bytes", "total_bytes")

_CHANGES = """
SELECT sample.seq, sample.series, sample.value, series.unit, series.gpu, series.kind, series.quantity
FROM sample JOIN series ON series.id = sample.series ORDER BY sample.seq, sample.series
"""
_NOTES = "SELECT seq, gpu, basis, explanations, listed_seq FROM ledger ORDER BY seq"
_POLLS = (
    "SELECT seq, wall, boottime, run, coalesce(pace, 0), coalesce(driver_share, 0) FROM poll ORDER BY seq"
)
_GAPS = """
SELECT gap.since_seq, gap.until_seq, gpu.id FROM gap LEFT JOIN gpu ON gpu.uuid = gap.gpu
WHERE gap.gpu IS NULL OR gpu.id IS NOT NULL
"""


@dataclass(slots=True)
class _Gpu:
    note: int = 0
    listed: int = 0
    memory: dict[int, Value] = field(default_factory=dict)  # by series
    lists: dict[int, Value] = field(default_factory=dict)
    others: dict[int, Value] = field(default_factory=dict)

    def values(self) -> dict[int, Value]:
        return self.memory | self.lists | self.others

    def place(self, kind: str, quantity: str) -> dict[int, Value]:
        if kind == "gpu" and quantity in _MEMORY:
            return self.memory
        return self.lists if kind != "gpu" and quantity == "used_bytes" else self.others


def carry_over(connection: sqlite3.Connection) -> None:
    """Turn the rows of schema 1 into polls of open hours, and drop their tables. Errors: sqlite3.Error."""
    connection.execute(
        "INSERT INTO note (basis, explanations)"
        " SELECT DISTINCT basis, explanations FROM ledger WHERE basis IS NOT NULL"
    )
    hour, rows, sweeps = (-1, 0), 0, dict[tuple[int, ...], int]()
    gpus: dict[int, _Gpu] = defaultdict(_Gpu)
    for poll, notes, changes, blind in _moments(connection):
        seq, wall = poll[0], to_ms(poll[1]) // 1000 // _HOUR_SECONDS * _HOUR_SECONDS
        begins = hour[1] != wall or hour[0] < 0
        if begins:
            hour, rows, sweeps = (seq, wall), 0, {}
            connection.execute("INSERT INTO hour (id, wall) VALUES (?, ?)", hour)
        complete = rows % _COMPLETE_EVERY == 0
        told = _advance(gpus, seq, notes, changes, blind, complete=complete)
        _keep_sweeps(connection, hour[0], sweeps, [read for _, read in told])
        ticks = tuple(
            GpuTick(each.gpu, each.note, sweeps.get(read, 0), each.listed, each.changes)
            for each, read in told
        )
        share = round(poll[5] * SHARE_PARTS)
        tick = Tick(seq, to_ms(poll[1]), to_ms(poll[2]), poll[3], poll[4], share, ticks)
        connection.execute(
            "INSERT INTO tick VALUES (?, ?, ?, ?, ?)", (seq, hour[0], seq, complete, encode([tick]))
        )
        rows += 1
    for table in ("ledger", "sample", "poll"):
        connection.execute(f"DROP TABLE {table}")


_Note = tuple[int, int, int]  # GPU, note, seq of its list
_Change = tuple[int, int, str, str, Value | None]  # series, GPU, kind, quantity, value


def _moments(
    connection: sqlite3.Connection,
) -> Iterator[tuple[tuple[int, float, float, int, int, float], list[_Note], list[_Change], set[int | None]]]:
    """Yield each poll with the notes and changes that stand with it, and the GPUs that it could not read."""
    ids = {(basis, why): id for id, basis, why in connection.execute("SELECT * FROM note")}
    notes = groupby(connection.execute(_NOTES), key=lambda row: row[0])
    changes = groupby(connection.execute(_CHANGES), key=lambda row: row[0])
    gaps = connection.execute(_GAPS).fetchall()
    next_notes, next_changes = next(notes, None), next(changes, None)
    for poll in connection.execute(_POLLS):
        here: list[_Note] = []
        changed: list[_Change] = []
        if next_notes and next_notes[0] == poll[0]:
            here = [
                (gpu, ids.get((basis, why), 0), listed or 0) for _, gpu, basis, why, listed in next_notes[1]
            ]
            next_notes = next(notes, None)
        if next_changes and next_changes[0] == poll[0]:
            changed = [
                (series, gpu, kind, quantity, None if value is None else kept_value(unit, value))
                for _, series, value, unit, gpu, kind, quantity in next_changes[1]
            ]
            next_changes = next(changes, None)
        blind = {gpu for since, until, gpu in gaps if since <= poll[0] and (until is None or poll[0] < until)}
        yield poll, here, changed, blind


def _advance(
    gpus: dict[int, _Gpu],
    seq: int,
    notes: list[_Note],
    changes: list[_Change],
    blind: set[int | None],
    *,
    complete: bool,
) -> list[tuple[GpuTick, tuple[int, ...]]]:
    """Move ``gpus`` on by one poll; return each with the series that were read of it."""
    for gpu, note, listed in notes:
        gpus[gpu].note, gpus[gpu].listed = note, listed
    moved: dict[int, dict[int, Value | None]] = defaultdict(dict)
    for series, gpu, kind, quantity, value in changes:
        moved[gpu][series] = value
        place = gpus[gpu].place(kind, quantity)
        place.pop(series, None)
        if value is not None:
            place[series] = value
    told = []
    for id, known in gpus.items():
        now = moved[id]
        if not known.note and not now:
            continue
        read = set[int]()
        if known.note and not blind & {None, id}:
            read = known.memory.keys() | {series for series, value in now.items() if value is not None}
            read |= known.lists.keys() if known.listed == seq else set()
        values: dict[int, Value | None] = {**now, **known.values()} if complete else now
        told.append((GpuTick(id, known.note, 0, known.listed, tuple(values.items())), tuple(sorted(read))))
    return told


def _keep_sweeps(
    connection: sqlite3.Connection,
    hour: int,
    sweeps: dict[tuple[int, ...], int],
    read: list[tuple[int, ...]],
) -> None:
    for each in read:
        if each and each not in sweeps:
            sweeps[each] = len(sweeps) + 1
            connection.execute(
                "INSERT INTO sweep VALUES (?, ?, ?)", (hour, sweeps[each], json.dumps(list(each)))
            )
