"""The store as it was before a new version brought it to its schema: a dated copy beside it.

``vramwatch service rollback`` goes back with it. The newest few are kept, one an upgrade.
"""

import contextlib
import logging
import re
import shutil
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SPARE_BYTES = 64 * 1024**2
"""Room that is left beside a copy; with less, the store is migrated without one."""

COPIES_KEPT = 3
"""Upgrades back that one can go; each copy may be as large as the store."""

FILE_MODE = 0o640
"""The group reads, the daemon alone writes: of the store and of what stands beside it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copy:
    """``schema``: the one that the copy has. ``day`` is that of the upgrade, UTC, as in "2026-11-22"."""

    path: Path
    schema: int
    day: str


def keep_copy(connection: sqlite3.Connection, path: Path, schema: int) -> None:
    """Keep the store at ``path``, which has ``schema``, as it is. Where there is no room, say so and go on:
    each step of a migration stands whole or not at all."""
    size = path.stat().st_size
    free = shutil.disk_usage(path.parent).free
    if free < size + SPARE_BYTES:
        logger.warning(
            "no copy before the migration because='it takes %d bytes, and %d are free'", size, free
        )
        return
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    kept = Copy(path.with_name(f"{path.name}.schema-{schema}.{day}"), schema, day)
    beside = kept.path.with_name(kept.path.name + ".part")
    beside.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(beside)) as target:
        connection.backup(target)
    beside.chmod(FILE_MODE)
    beside.replace(kept.path)
    for older in [each for each in copies(path) if each != kept][COPIES_KEPT - 1 :]:
        older.path.unlink(missing_ok=True)
    logger.info("the store was kept as it was before the migration copy=%r", str(kept.path))


def copies(path: Path) -> list[Copy]:
    """Return the copies beside the store at ``path``, the newest first; may be empty."""
    form = re.compile(re.escape(path.name) + r"\.schema-(\d{1,6})\.(\d{4}-\d\d-\d\d)")
    named = [(each, form.fullmatch(each.name)) for each in path.parent.glob(f"{path.name}.schema-*")]
    found = [Copy(each, int(match[1]), match[2]) for each, match in named if match]
    return sorted(found, key=lambda copy: (copy.day, copy.schema), reverse=True)
