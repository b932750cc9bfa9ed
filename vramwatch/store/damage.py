"""A store that is damaged is set aside with its date, never deleted."""

import logging
import time
from pathlib import Path

from vramwatch.core.errors import StoreError
from vramwatch.store.migrations import APPLICATION_ID

_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68  # https://sqlite.org/fileformat2.html, 1.3
_HEADER_BYTES = 100

logger = logging.getLogger(__name__)


class StoreDamaged(StoreError):
    """The store is ours, and what it holds is not what was written."""


def is_ours_by_its_header(path: Path) -> bool:
    """Whether the file at ``path``, which nobody in this process may have open, says that it is a store."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    told = header[_APPLICATION_ID_AT : _APPLICATION_ID_AT + 4]
    return header.startswith(_MAGIC) and told == APPLICATION_ID.to_bytes(4, "big")


def set_aside(path: Path, because: StoreError) -> None:
    """Rename the store at ``path`` and its log to "<name>.corrupt-<date>" (UTC). Errors: StoreError."""
    date = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.corrupt-{date}")
    try:
        for suffix in ("-wal", "-shm", ""):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StoreError(
            f"{path}: the store is damaged ({because}) and could not be set aside: {error.strerror}; "
            "move it away"
        ) from error
    logger.error(
        "store damaged path=%s because=%r set_aside=%s a_new_one=begun", path, str(because), aside.name
    )
