"""The steps that make the store's tables: NNNN_what.sql, taken in order, never changed once released."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from vramwatch.store.migrations.from_samples import carry_over

_STEPS = tuple(sorted(Path(__file__).parent.glob("[0-9]*.sql")))

_AND_THEN: Mapping[int, Callable[[sqlite3.Connection], None]] = {2: carry_over}
"""What a step does to the rows, within its transaction, once its statements have run."""

APPLICATION_ID = int.from_bytes(b"VRAM")
"""Tells the store from another program's database: PRAGMA application_id, shown by file(1)."""

VERSION = len(_STEPS)
"""The schema that this program reads and writes: PRAGMA user_version."""


def migrate(connection: sqlite3.Connection, since: int, program: str) -> None:
    """Take every step after schema ``since``; each stands whole or not at all.

    ``program`` is the version of vramwatch, kept beside the step. Errors: sqlite3.Error.
    """
    for version, step in enumerate(_STEPS[since:], start=since + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{step.read_text()}")
            if version in _AND_THEN:
                _AND_THEN[version](connection)
            connection.execute(
                "INSERT INTO schema_version (version, program) VALUES (?, ?)", (version, program)
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version}")
            connection.commit()
        except sqlite3.Error:
            connection.rollback()
            raise
