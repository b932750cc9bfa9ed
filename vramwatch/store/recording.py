"""One poll as rows: what differs from what is ``Known``, and nothing else.

``record`` runs inside the poll's transaction and moves ``Known`` on as it goes; if the transaction fails,
``Known`` is worthless and has to be recalled. A poll in which nothing changed waits in ``Known`` and is
written with the next one that changed something, or when the run has lasted for ``RUN_SECONDS``. One at
which an incident moved changed something.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, update

from vramwatch.core.instants import kept_instant, to_ms
from vramwatch.core.model import Fault, FaultKind, Instant
from vramwatch.core.poll import Pace, Poll
from vramwatch.store import attempts, incidents, telling
from vramwatch.store import tables as t
from vramwatch.store.bookkeeping import Book
from vramwatch.store.known import GapKey, Known, KnownHour, PaceKey
from vramwatch.store.moments import HOUR_SECONDS
from vramwatch.store.opening import driver
from vramwatch.store.rows import SHARE_PARTS, Values, event_values, fault_values, storable
from vramwatch.store.ticks import Tick, encode

HOUR_MS = HOUR_SECONDS * 1000

RUN_SECONDS = 25.0
"""A run is committed once it has lasted so long: at the slowest pace, 5 s, within 30 s."""

COMPLETE_EVERY = 128
"""Rows from one that names every value to the next: so many at most are read to know the present."""

_INSERT_TICK = insert(t.tick)  # built once: SQLAlchemy keeps what it compiled of it

REPLAY = "replay"
"""The source whose life ends with its input: nobody stops it (sources/replay.py)."""

STOPPED: GapKey = (None, FaultKind.STOPPED.value)
PLAYED_OUT: GapKey = (None, FaultKind.ENDED.value)
STOPPED_CLEANLY = Fault(FaultKind.STOPPED, "the daemon was stopped")
PLAYED = Fault(FaultKind.ENDED, "the recording was played to its end")
KILLED = Fault(FaultKind.STOPPED, "the daemon ended unsaid: it was killed, or the machine went down")


@dataclass(frozen=True, slots=True)
class Life:
    """Of one life of the daemon: where its readings come from, and which vramwatch it is.

    ``host``: what the machine is called in messages; None: nobody said.
    """

    source: str
    version: str
    host: str | None = None


def record(connection: Connection, known: Known, poll: Poll, life: Life) -> None:
    """Write ``poll``, which must be newer than ``known.last``, or let it wait. Errors: SQLAlchemyError."""
    at = kept_instant(poll.at)
    if known.run is None or known.last is None or known.last.boot_id != at.boot_id:
        _begin_run(connection, known, at, life)
    hour = _hour(connection, known, at)
    book = _enter(connection, known, poll, at)
    _gaps(connection, known, poll, at, book)
    if poll.events:
        connection.execute(insert(t.event), [event_values(event, at) for event in poll.events])
    incidents.write(connection, poll.transitions)
    telling.write_steps(connection, poll.steps, at)
    attempts.write(connection, poll.actions, poll.endings, at)
    complete = hour.rows is None or hour.rows >= COMPLETE_EVERY
    pace, share = _pace(connection, known, poll.pace)
    gpus = book.gpus(hour, complete=complete)
    tick = Tick(at.seq, to_ms(at.wall), to_ms(at.boottime), known.run or 0, pace, share, gpus)
    known.waiting = (*known.waiting, tick)
    known.last = at
    if complete or book.has_changes or _is_writing(connection) or _has_lasted(known.waiting):
        write_waiting(connection, known, complete=complete)


def write_waiting(connection: Connection, known: Known, *, complete: bool = False) -> None:
    """Write the run that waits. Errors: SQLAlchemyError."""
    if not known.waiting or known.hour is None:
        return
    row = {
        "seq": known.waiting[0].seq,
        "hour": known.hour.id,
        "last_seq": known.waiting[-1].seq,
        "complete": complete,
        "polls": encode(known.waiting),
    }
    connection.execute(_INSERT_TICK, row)
    known.hour.rows = 0 if complete else (known.hour.rows or 0) + 1
    known.waiting = ()


def _is_writing(connection: Connection) -> bool:
    """Whether a row was written already in this transaction: it begins with the first one."""
    return bool(driver(connection).in_transaction)


def _has_lasted(waiting: tuple[Tick, ...]) -> bool:
    elapsed = abs(waiting[-1].wall - waiting[0].wall), abs(waiting[-1].boottime - waiting[0].boottime)
    return max(elapsed) >= RUN_SECONDS * 1000


def _hour(connection: Connection, known: Known, at: Instant) -> KnownHour:
    """Return the hour that ``at`` belongs to; where another one begins, the one before is closed."""
    wall = to_ms(at.wall) // HOUR_MS * HOUR_SECONDS
    if known.hour is None or known.hour.wall != wall:
        write_waiting(connection, known)
        connection.execute(insert(t.hour), {"id": at.seq, "wall": wall})
        known.hour = KnownHour(at.seq, wall)
    return known.hour


def _enter(connection: Connection, known: Known, poll: Poll, at: Instant) -> Book:
    book = Book(connection, known, at)
    for ledger in poll.ledgers:
        book.enter(ledger)
    if all(missing.gpu for missing in poll.missing):
        seen = {ledger.gpu.uuid for ledger in poll.ledgers} | {m.gpu.uuid for m in poll.missing if m.gpu}
        for uuid in known.gpus.keys() - seen:
            book.leave(uuid)
    return book


def end_run(connection: Connection, known: Known, source: str) -> None:
    """Mark the run as ended cleanly, with the gap that begins now. Errors: SQLAlchemyError."""
    last = known.last
    if known.run is None or last is None:
        return
    write_waiting(connection, known)
    connection.execute(update(t.run).where(t.run.c.id == known.run).values(last_seq=last.seq, clean=1))
    why = PLAYED if source == REPLAY else STOPPED_CLEANLY
    _open_gap(connection, known, (None, why.kind.value), why, (last.seq + 1, last.wall))


def _begin_run(connection: Connection, known: Known, at: Instant, life: Life) -> None:
    """Begin this life of the daemon; what lies between the last one and this is a gap."""
    last = known.last
    if last is not None:
        connection.execute(update(t.run).where(t.run.c.last_seq.is_(None)).values(last_seq=last.seq))
        if not {STOPPED, PLAYED_OUT} & known.gaps.keys():
            _open_gap(connection, known, STOPPED, KILLED, (last.seq + 1, last.wall))
    values: Values = {"boot_id": at.boot_id, "started_wall": at.wall, **asdict(life)}
    known.run = connection.execute(insert(t.run), storable(values)).lastrowid


def _pace(connection: Connection, known: Known, pace: Pace | None) -> tuple[int, int]:
    """Return the id of ``pace`` and its share, as a tick has them."""
    if pace is None:
        return 0, 0
    wanted: PaceKey = (pace.interval, pace.list_interval, pace.lowered_because)
    if known.pace is None or known.pace[1] != wanted:
        values: Values = dict(zip(("interval", "list_interval", "lowered_because"), wanted, strict=True))
        known.pace = (connection.execute(insert(t.pace), storable(values)).lastrowid, wanted)
    return known.pace[0], round(min(max(pace.driver_share, 0.0), 1.0) * SHARE_PARTS)


def _gaps(connection: Connection, known: Known, poll: Poll, at: Instant, book: Book) -> None:
    """Open a gap for what is missing now, and close those that are over."""
    missing = {(m.gpu.uuid if m.gpu else None, m.fault.kind.value): m for m in poll.missing}
    for over in known.gaps.keys() - missing.keys():
        ended = update(t.gap).where(t.gap.c.id == known.gaps.pop(over))
        connection.execute(ended.values(until_seq=at.seq, until_wall=at.wall))
    for key, each in missing.items():
        if key not in known.gaps:
            if each.gpu:
                book.find(each.gpu)
            _open_gap(connection, known, key, each.fault, (at.seq, at.wall))


def _open_gap(
    connection: Connection, known: Known, key: GapKey, fault: Fault, since: tuple[int, float]
) -> None:
    seq, wall = since
    values = {**fault_values(fault), "gpu": key[0], "since_seq": seq, "since_wall": wall}
    known.gaps[key] = connection.execute(insert(t.gap), values).lastrowid
