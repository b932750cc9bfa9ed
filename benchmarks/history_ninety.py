"""Ninety days in one database: the first one poll by poll, the others in the form of closed hours.

A later day repeats the first one with every process one allocation larger, so that what was held at any
moment is known without keeping it.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, insert, select

from benchmarks.history_day import tend
from benchmarks.history_load import BEGIN, DAY, HOUR, QUANTUM, Load
from vramwatch.core.units import Seconds
from vramwatch.store import Retention, Store, tables
from vramwatch.store.hours import Axis, Hour, Part, Track, decode_axis, decode_part, encode_axis, encode_part
from vramwatch.store.opening import open_for_writing
from vramwatch.store.tending import summaries

DAYS = 90
EVERYTHING = Retention(raw=Seconds(2 * DAYS * DAY), minutes=Seconds(3 * DAYS * DAY))
"""Keeps every sample of all days."""

MILLI = 1000
PROCESSES = 6


def load() -> Load:
    """Return the server of the ninety days: no process ends in them."""
    return Load(processes=PROCESSES, job_life=2 * DAYS * DAY)


def growth(day: int) -> int:
    """Return the bytes by which every process is larger on ``day`` than at the same time of day 0."""
    return day * QUANTUM


def build(path: Path) -> None:
    """Write all days, and the minute after them that is still open."""
    server = load()
    with closing(Store.open(path, "benchmark", "benchmark", EVERYTHING)) as store:
        for poll in server.polls(DAY):
            store.write(poll)
            if poll.at.seq % HOUR == 0:
                tend(store, poll.at)
        for poll in server.polls(60, since=DAYS * DAY):
            store.write(poll)
        tend(store, poll.at)
    with closing(open_for_writing(path, "benchmark")) as connection:
        _repeat_first_day(connection)


def _repeat_first_day(connection: Connection) -> None:
    with connection.begin():
        steps = _steps(connection)
        closed = select(tables.hour).where(tables.hour.c.last_seq.is_not(None))
        hours = [(row.id, row.wall, row.run) for row in connection.execute(closed)]
    for id, wall, run in hours:
        with connection.begin():
            found = _load(connection, id)
        for day in range(1, DAYS):
            with connection.begin():
                _keep(connection, id + day * DAY, wall + day * DAY, run, _later(found, day, steps))


def _steps(connection: Connection) -> dict[int, int]:
    """Return for each series by how many processes' growth it grows: an Owner and a process by one."""
    weights = {"process": 1, "owner": 1, "gpu": PROCESSES}
    return {
        row.id: weights.get(row.kind, 0) if row.quantity == "used_bytes" else 0
        for row in connection.execute(select(tables.series))
    }


def _load(connection: Connection, hour: int) -> Hour:
    axis = decode_axis(
        connection.execute(select(tables.axis.c.polls).where(tables.axis.c.hour == hour)).scalar_one()
    )
    rows = connection.execute(select(tables.raw).where(tables.raw.c.hour == hour))
    return Hour(axis, {row.gpu: decode_part(row.samples, axis.seqs) for row in rows})


def _later(hour: Hour, day: int, steps: dict[int, int]) -> Hour:
    """Return ``hour`` as it is ``day`` days later."""
    axis, by = hour.axis, day * DAY
    later = replace(
        axis,
        seqs=[seq + by for seq in axis.seqs],
        walls=[wall + by * MILLI for wall in axis.walls],
        boottimes=[boottime + by * MILLI for boottime in axis.boottimes],
    )
    return Hour(later, {gpu: _grown(part, day, steps) for gpu, part in hour.parts.items()})


def _grown(part: Part, day: int, steps: dict[int, int]) -> Part:
    tracks = {
        series: Track(
            track.polls,
            [None if value is None else value + steps[series] * growth(day) for value in track.values],
        )
        for series, track in part.tracks.items()
    }
    return replace(part, listed=[seq + day * DAY for seq in part.listed], tracks=tracks)


def _keep(connection: Connection, id: int, wall: int, run: int, hour: Hour) -> None:
    """Write an hour as one that has closed."""
    axis: Axis = hour.axis
    connection.execute(
        insert(tables.hour),
        {
            "id": id,
            "wall": wall,
            "last_seq": axis.seqs[-1],
            "polls": len(axis.seqs),
            "since_wall": axis.walls[0] / MILLI,
            "until_wall": axis.walls[-1] / MILLI,
            "last_wall": axis.walls[-1] / MILLI,
            "last_boottime": axis.boottimes[-1] / MILLI,
            "run": run,
        },
    )
    connection.execute(insert(tables.axis), {"hour": id, "polls": encode_axis(axis)})
    for gpu, part in hour.parts.items():
        samples = encode_part(part, axis.seqs)
        connection.execute(insert(tables.raw), {"hour": id, "gpu": gpu, "samples": samples})
        connection.execute(insert(tables.hourly), summaries(id, part))


# --- a daemon beside it -------------------------------------------------------------------------

WRITER = "import sys; from benchmarks.history_ninety import write_on; write_on(sys.argv[1])"


@contextmanager
def written_on(path: Path) -> Iterator[None]:
    """Let a process of its own write a poll a second meanwhile, from where the ninety days end."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()  # its first poll is stored
        yield
        writer.communicate()


def write_on(path: str) -> None:
    """Write polls until standard input ends."""
    import select as waiting

    with closing(Store.open(Path(path), "benchmark", "benchmark", EVERYTHING)) as store:
        server = load()
        for poll in server.polls(HOUR, since=store.next_seq() - 1):
            store.write(poll)
            store.tend(poll.at, Seconds(0.02))
            print(poll.at.seq, flush=True)
            if waiting.select([sys.stdin], [], [], 1.0)[0]:
                return


def moment(day: int, second: int) -> float:
    """Return the wall clock of a poll of the ninety days."""
    return BEGIN + day * DAY + second
