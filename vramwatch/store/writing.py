"""The writer: one daemon a store, one transaction a poll."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, select

from vramwatch.core.errors import StoreError
from vramwatch.core.model import Owner, Poll, ProcessKey
from vramwatch.store import tables as t
from vramwatch.store.known import Known, recall
from vramwatch.store.opening import lock, open_for_writing, told, understood
from vramwatch.store.recording import end_run, record
from vramwatch.store.rows import owner_of

OWNERS_REMEMBERED = 4096
"""Processes whose Owner is handed to a daemon that starts again: more than one boot has alive at a time."""


class Store:
    """What polls are written to. For one thread at a time."""

    def __init__(self, path: Path, connection: Connection, lock: int, source: str, version: str) -> None:
        self._path = path
        self._connection = connection
        self._lock = lock
        self._source = source
        self._version = version
        self._run: int | None = None  # set when this life's first poll is stored
        self._known: Known | None = self._recall()

    @classmethod
    def open(cls, path: Path, source: str, version: str) -> Self:
        """Return the store at ``path``, made if there is none, locked against every other daemon.

        Directories are made with mode 0750 and files with 0640. ``source``: where this life's readings
        come from; ``version``: of vramwatch. Errors: StoreError, when another daemon has the store, when
        it is of a newer schema, another program's or damaged, or when its place cannot be written.
        """
        with ExitStack() as undo:
            held = lock(path)
            undo.callback(os.close, held)
            connection = open_for_writing(path, version)
            undo.callback(connection.close)
            store = cls(path, connection, held, source, version)
            undo.pop_all()
        return store

    def next_seq(self) -> int:
        """Return the seq for the next poll: 1 in a new store. Errors: StoreError."""
        last = self._known_now().last
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

    def write(self, poll: Poll) -> None:
        """Store ``poll`` in one transaction. A poll that is already the newest stored is left as it is.

        Errors: StoreError; then nothing of it is stored, and the same poll may be written again.
        """
        known = self._known_now()
        if known.last is not None and poll.at.seq <= known.last.seq:
            if poll.at == known.last:
                return  # its commit was reported as failed, and yet it stands
            raise StoreError(
                f"{self._path}: poll {poll.at.seq} comes after poll {known.last.seq} was stored; "
                "polls are written in ascending order"
            )
        self._known = None  # worthless unless the transaction stands
        with told(self._path), self._connection.begin():
            record(self._connection, known, poll, self._source, self._version)
        self._known, self._run = known, known.run

    def close(self) -> None:
        """Mark this life as ended cleanly, and let go of the store. A second call does nothing.

        Errors: StoreError, when that could not be written; the store is let go of all the same.
        """
        if self._connection.closed:
            return
        try:
            known = self._known_now()
            with told(self._path), self._connection.begin():
                end_run(self._connection, known)
        finally:
            self._connection.close()
            os.close(self._lock)

    def _known_now(self) -> Known:
        if self._known is None:
            self._known = self._recall()
        return self._known

    def _recall(self) -> Known:
        with told(self._path), understood(self._path), self._connection.begin():
            return recall(self._connection, self._run)
