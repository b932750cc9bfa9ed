"""One poll as rows: what differs from what is ``Known``, and nothing else.

``record`` runs inside the poll's transaction and moves ``Known`` on as it goes; if the transaction fails,
``Known`` is worthless and has to be recalled.
"""

from sqlalchemy import Connection, insert, update

from vramwatch.core.model import Fault, FaultKind, Instant, Pace, Poll
from vramwatch.store import tables as t
from vramwatch.store.bookkeeping import Book
from vramwatch.store.known import GapKey, Known, PaceKey
from vramwatch.store.rows import Values, event_values, fault_values, storable

_INSERT_POLL = insert(t.poll)  # built once: SQLAlchemy keeps what it compiled of it

STOPPED: GapKey = (None, FaultKind.STOPPED.value)
STOPPED_CLEANLY = Fault(FaultKind.STOPPED, "the daemon was stopped")
KILLED = Fault(FaultKind.STOPPED, "the daemon ended unsaid: it was killed, or the machine went down")


def record(connection: Connection, known: Known, poll: Poll, source: str, version: str) -> None:
    """Write ``poll``, which must be newer than ``known.last``. Errors: SQLAlchemyError."""
    at = poll.at
    if known.run is None or known.last is None or known.last.boot_id != at.boot_id:
        _begin_run(connection, known, at, source, version)
    _poll(connection, known, at, poll.pace)
    book = Book(connection, known, at)
    for ledger in poll.ledgers:
        book.enter(ledger)
    if all(missing.gpu for missing in poll.missing):
        seen = {ledger.gpu.uuid for ledger in poll.ledgers} | {m.gpu.uuid for m in poll.missing if m.gpu}
        for uuid in known.gpus.keys() - seen:
            book.leave(uuid)
    book.flush()
    _gaps(connection, known, poll, book)
    if poll.events:
        connection.execute(insert(t.event), [event_values(event, at) for event in poll.events])
    known.last = at


def end_run(connection: Connection, known: Known) -> None:
    """Mark the run as ended cleanly, with the gap that begins now. Errors: SQLAlchemyError."""
    last = known.last
    if known.run is None or last is None:
        return
    connection.execute(update(t.run).where(t.run.c.id == known.run).values(last_seq=last.seq, clean=1))
    _open_gap(connection, known, STOPPED, STOPPED_CLEANLY, (last.seq + 1, last.wall))


def _begin_run(connection: Connection, known: Known, at: Instant, source: str, version: str) -> None:
    """Begin this life of the daemon; what lies between the last one and this is a gap."""
    last = known.last
    if last is not None:
        connection.execute(update(t.run).where(t.run.c.last_seq.is_(None)).values(last_seq=last.seq))
        if STOPPED not in known.gaps:
            _open_gap(connection, known, STOPPED, KILLED, (last.seq + 1, last.wall))
    values: Values = {"boot_id": at.boot_id, "source": source, "version": version, "started_wall": at.wall}
    known.run = connection.execute(insert(t.run), storable(values)).lastrowid


def _poll(connection: Connection, known: Known, at: Instant, pace: Pace | None) -> None:
    values = {
        "seq": at.seq,
        "wall": at.wall,
        "boottime": at.boottime,
        "run": known.run,
        "pace": pace and _pace_id(connection, known, pace),
        "driver_share": pace and pace.driver_share,
    }
    connection.execute(_INSERT_POLL, values)


def _pace_id(connection: Connection, known: Known, pace: Pace) -> int:
    wanted: PaceKey = (pace.interval, pace.list_interval, pace.lowered_because)
    if known.pace is None or known.pace[1] != wanted:
        values: Values = dict(zip(("interval", "list_interval", "lowered_because"), wanted, strict=True))
        known.pace = (connection.execute(insert(t.pace), storable(values)).lastrowid, wanted)
    return known.pace[0]


def _gaps(connection: Connection, known: Known, poll: Poll, book: Book) -> None:
    """Open a gap for what is missing now, and close those that are over."""
    at = poll.at
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
