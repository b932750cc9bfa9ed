"""The writer: one daemon a store, one transaction a poll."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, select

from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Incident, Transition
from vramwatch.core.instants import kept_instant
from vramwatch.core.model import Instant, Owner, ProcessKey
from vramwatch.core.outgoing import Carried
from vramwatch.core.poll import Poll
from vramwatch.core.units import Seconds
from vramwatch.store import checkpoints, deliveries, incidents
from vramwatch.store import tables as t
from vramwatch.store.damage import StoreDamaged, is_ours_by_its_header, set_aside
from vramwatch.store.forgetting import Forgotten, forget, wipe
from vramwatch.store.known import Known, recall
from vramwatch.store.location import identity, mark
from vramwatch.store.opening import (
    check,
    lock,
    missing_so_far,
    open_for_writing,
    take_away,
    told,
    understood,
)
from vramwatch.store.reading import History
from vramwatch.store.recording import Life, end_run, record, write_waiting
from vramwatch.store.retention import DEFAULT, Retention
from vramwatch.store.rows import owner_of
from vramwatch.store.tending import Job, next_job
from vramwatch.store.ticks import Tick

OWNERS_REMEMBERED = 4096
"""Processes whose Owner is handed to a daemon that starts again: more than one boot has alive at a time."""


NOTHING = Carried()

_OVER = object()

LOOK_AGAIN = 60.0
"""Seconds of boot time after which ``tend`` looks for something to do again, where nothing was due."""


class Store:
    """What polls are written to. For one thread at a time."""

    def __init__(self, path: Path, connection: Connection, life: Life, retention: Retention) -> None:
        self.lost_checkpoint = False
        """Whether the checkpoint went with what was forgotten, or with a store that was damaged."""
        self._path = path
        self._connection = connection
        self._file = mark(path)
        self._lock: int | None = None
        self._made: tuple[Path, ...] = ()  # of it and around it, by this life
        self._life = life
        self._retention = retention
        self._run: int | None = None  # set when this life's first poll is stored
        self._waiting: tuple[Tick, ...] = ()  # polls that were taken and are not committed yet
        self._job: Job | None = None
        self._looked: tuple[int | None, float] | None = None  # hour and boot time at which nothing was due
        self._checked: int | None = None  # the hour in which the file was last looked at
        self._known: Known | None = self._recall()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def source(self) -> str:
        """Where this life's readings come from."""
        return self._life.source

    @classmethod
    def open(
        cls, path: Path, source: str, version: str, retention: Retention = DEFAULT, *, host: str | None = None
    ) -> Self:
        """Return the store at ``path``, made if there is none, locked against every other daemon.

        Directories are made with mode 0750 and files with 0640. A store that is damaged is set aside with
        its date, and a new one begun. ``source``: where this life's readings come from; ``version``: of
        vramwatch; ``host``: what this machine is called in messages.
        Errors: StoreError, when another daemon has the store, when it is of a newer schema or another
        program's, or when its place cannot be written.
        """
        made = missing_so_far(path)
        with ExitStack() as undo:
            held, had_store = lock(path)
            undo.callback(os.close, held)
            if had_store:
                made = ()
            else:
                undo.callback(os.ftruncate, held, 0)  # so that the next one does not think there was one
                undo.callback(take_away, made)
            known = had_store or is_ours_by_its_header(path)
            life = Life(source, version, host)
            try:
                store = cls._open(path, life, retention)
            except StoreDamaged as damage:
                if not known:
                    raise
                set_aside(path, damage)
                store = cls._open(path, life, retention)
            store._lock, store._made = held, made
            undo.pop_all()
        return store

    @classmethod
    def _open(cls, path: Path, life: Life, retention: Retention) -> Self:
        with ExitStack() as undo:
            connection = open_for_writing(path, life.version)
            undo.callback(connection.close)
            store = cls(path, connection, life, retention)
            undo.pop_all()
        return store

    @property
    def waiting(self) -> int:
        """How many polls were taken and are not committed yet."""
        return len(self._known.waiting if self._known else self._waiting)

    def newest(self) -> Instant | None:
        """Return the newest poll that was taken; None: none was yet. Errors: StoreError."""
        return self._known_now().last

    def next_seq(self) -> int:
        """Return the seq for the next poll: 1 in a new store. Errors: StoreError."""
        last = self.newest()
        return last.seq + 1 if last else 1

    def owners(self, boot_id: str) -> Mapping[ProcessKey, Owner]:
        """Return the Owner of the processes of this boot, the newest OWNERS_REMEMBERED of them.

        An Owner is fixed once a ProcessKey has it, also over restarts of the daemon. Pids that were never
        seen alive have no identity to fix it to and are left out. Errors: StoreError.
        """
        columns = t.process.c
        newest = (
            select(columns.pid, columns.start_ticks, *t.OWNER_COLUMNS)
            .select_from(t.process.join(t.owner, t.owner.c.id == columns.owner))
            .where(columns.boot_id == boot_id, columns.start_ticks != 0)
            .order_by(columns.id.desc())
            .limit(OWNERS_REMEMBERED)
        )
        with told(self._path), self._connection.begin():
            rows = self._connection.execute(newest).all()
        return {ProcessKey(boot_id, row.pid, row.start_ticks): owner_of(row) for row in rows}

    def write(self, poll: Poll, carried: Carried = NOTHING) -> None:
        """Store ``poll`` in one transaction. A poll that is already the newest stored is left as it is.

        With it is kept what became of messages while nothing could be stored.

        One in which nothing changed is taken into memory and stored with the next, at the latest after
        ``recording.RUN_SECONDS``. A store that turns out to be damaged is set aside and a new one begun.
        Errors: StoreError; then nothing of it is stored, and the same poll may be written again.
        """
        try:
            self._write(poll, carried)
        except StoreDamaged as damage:
            self._begin_anew(damage)
            self._write(poll, carried)

    def _write(self, poll: Poll, carried: Carried) -> None:
        self._refuse_removed()
        known = self._known_now()
        if known.last is not None and poll.at.seq <= known.last.seq:
            if kept_instant(poll.at) == known.last:  # its commit was reported as failed, and yet it stands
                if carried:
                    with self.committing() as connection:
                        deliveries.carry(connection, carried)
                return
            raise StoreError(
                f"{self._path}: poll {poll.at.seq} comes after poll {known.last.seq} was stored; "
                "polls are written in ascending order"
            )
        self._known, self._waiting = None, known.waiting  # what is known is worthless if this fails
        with told(self._path), self._connection.begin():
            if carried:
                deliveries.carry(self._connection, carried)
            record(self._connection, known, poll, self._life)
        self._known, self._run = known, known.run

    def write_checkpoint(self, at: Instant, state: Mapping[str, Any]) -> None:
        """Keep what the judge of polls remembers after the poll ``at``, in place of the checkpoint before.

        Polls that were taken and are not committed yet are committed with it, so that it is never ahead of
        them. Errors: StoreError; then the one before stands. TypeError for a state that is no JSON.
        """
        packed = checkpoints.pack(state)
        with self._committing() as known:
            write_waiting(self._connection, known)
            checkpoints.write(self._connection, at, packed)
        self.lost_checkpoint = False

    def checkpoint(self) -> tuple[Instant, Mapping[str, Any]] | None:
        """Return the newest checkpoint, with the poll after which it was written.

        None: there is none, or it is damaged or of a newer form, which is logged. Errors: StoreError.
        """
        self._known_now()
        with told(self._path), self._connection.begin():
            return checkpoints.read(self._connection)

    def open_incidents(self) -> tuple[Transition, ...]:
        """Return the newest transition of every incident that is not resolved, longest unmoved first.

        Errors: StoreError.
        """
        self._known_now()
        with told(self._path), understood(self._path), self._connection.begin():
            rows = self._connection.execute(incidents.of_open_ones()).all()
            return tuple(incidents.transition_of(row) for row in rows)

    def transitions_since(self, seq: int) -> set[incidents.Stand]:
        """Return seq and incident of every transition that is stored of polls after ``seq``.

        Errors: StoreError.
        """
        self._known_now()
        with told(self._path), self._connection.begin():
            return incidents.standing(self._connection, seq)

    def dismissed_since(self, seq: int) -> Mapping[int, Sequence[Incident]]:
        """Return the incidents that a person dismissed at polls after ``seq``, by the seq of the poll.

        Errors: StoreError.
        """
        self._known_now()
        with told(self._path), self._connection.begin():
            return incidents.dismissed(self._connection, seq)

    def polls_since(self, seq: int) -> Iterator[Poll]:
        """Yield the polls after ``seq`` that were taken before the first is asked for; see ``History.polls``.

        Other methods may be called between two of them, all but ``tend``, which compacts what is being read.
        Errors: StoreError.
        """
        with self._committing() as known:
            write_waiting(self._connection, known)
        with closing(History.open(self._path)) as history:
            yield from history.polls_after(seq)

    def tend(self, now: Instant, budget: Seconds) -> bool:
        """Do one slice of what the store needs, for about ``budget`` seconds; return whether more is due.

        Once an hour the file is looked at. Hours that have closed are compacted, old ones rolled up and let
        go of, the size kept, free space given back. What has begun is ended even if it takes longer.
        Errors: StoreError.
        """
        until = time.perf_counter() + budget
        try:
            while self._tend_once(now):
                if time.perf_counter() >= until:
                    return True
        except StoreDamaged as damage:
            self._begin_anew(damage)
        return False

    def _tend_once(self, now: Instant) -> bool:
        """Take one slice; return whether there was any."""
        hour = self._known.hour.id if self._known and self._known.hour else None
        if hour != self._checked:
            check(self._path)
            self._checked = hour
            return True
        if self._job is None and self._looked is not None:
            at_hour, since = self._looked
            if at_hour == hour and 0 <= now.boottime - since < LOOK_AGAIN:
                return False
        job, self._job = self._job, None  # what fails is not gone on with
        with told(self._path), understood(self._path), self._connection.begin():
            job = job or next_job(self._connection, self._retention)
            if job is not None and next(job, _OVER) is not _OVER:
                self._job = job
        self._looked = (hour, now.boottime) if job is None else None
        return job is not None

    def forget(self, owner: str | None = None, user: str | None = None) -> Forgotten:
        """Delete what is known of an owner (its key or name), or of a user's processes, at every level.

        What still runs is met anew at its next reading. Errors: StoreError; then nothing is deleted.
        """
        known = self._known_now()
        self._job, self._known, self._waiting = None, None, ()
        with told(self._path), understood(self._path), self._connection.begin():
            write_waiting(self._connection, known)
            forgotten = forget(self._connection, owner, user, known.last)
        self.lost_checkpoint = True
        with told(self._path):
            wipe(self._connection)
        return forgotten

    @contextmanager
    def committing(self) -> Iterator[Connection]:
        """Give the connection in one transaction, for what stands beside the polls. Errors: StoreError."""
        with self._committing():
            yield self._connection

    def close(self) -> None:
        """Mark this life as ended cleanly, and let go of the store. A second call does nothing.

        Errors: StoreError, when that could not be written; the store is let go of all the same.
        """
        if self._lock is None:
            return
        try:
            known = self._known_now()
            with told(self._path), self._connection.begin():
                end_run(self._connection, known, self._life.source)
        finally:
            self._connection.close()
            if self._lock is not None:
                os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Let go of the store, and take away what this life has made of it: it is not to be after all."""
        if self._lock is not None:
            self._connection.close()
            take_away(self._made)
            os.close(self._lock)
            self._lock = None

    def sources(self) -> frozenset[str]:
        """Return where the readings come from that stand in the store. Errors: StoreError."""
        with told(self._path), self._connection.begin():
            return frozenset(self._connection.scalars(select(t.run.c.source).distinct()))

    def _begin_anew(self, damage: StoreDamaged) -> None:
        """Set the store aside and begin another in its place. Errors: StoreError."""
        self._connection.close()
        set_aside(self._path, damage)
        self.lost_checkpoint = True
        self._job, self._run, self._known, self._waiting, self._looked = None, None, None, (), None

    def _refuse_removed(self) -> None:
        """SQLite would write on into a file that has no name any more. Errors: StoreError, then.

        A look that fails otherwise says nothing: the file is open, and may be written all the same.
        """
        with suppress(OSError):
            if self._connection.closed or identity(self._path) == self._file:
                return
            raise StoreError(
                f"{self._path}: the store was deleted, moved or replaced while the daemon wrote it; restart "
                "the daemon: it goes on in the one that is there then, or begins a new one"
            )

    @contextmanager
    def _committing(self) -> Iterator[Known]:
        """Give what is known, within one transaction; if that fails, it will be recalled."""
        known = self._known_now()
        self._known, self._waiting = None, known.waiting
        with told(self._path), self._connection.begin():
            yield known
        self._known, self._waiting = known, known.waiting

    def _known_now(self) -> Known:
        if self._connection.closed:
            self._connection = open_for_writing(self._path, self._life.version)
            self._file = mark(self._path)
        if self._known is None:
            self._known = self._recall()
        return self._known

    def _recall(self) -> Known:
        with told(self._path), understood(self._path), self._connection.begin():
            known = recall(self._connection, self._run)
        known.wait_on(self._waiting)
        return known
