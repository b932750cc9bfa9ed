"""What the judge of polls remembered after one of them: the newest alone is kept."""

import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from vramwatch.core.checkpoint import put_down
from vramwatch.core.instants import kept_instant
from vramwatch.core.model import Instant
from vramwatch.store import tables as t
from vramwatch.store.rows import Values, storable

VERSION = 1
"""Of the form in which it is kept here; what is in it has a version of its own."""

LEVEL = 1
"""Of deflate: it is replaced within the hour, and written between two polls."""

logger = logging.getLogger(__name__)


def pack(state: Mapping[str, Any]) -> bytearray:
    """Return ``state`` as it is kept, part by part: what was left to be put down late is, in its turn.

    Errors: TypeError, where neither JSON nor a checkpoint has such a thing.
    """
    packing, packed = zlib.compressobj(LEVEL), bytearray()
    for part in json.JSONEncoder(separators=(",", ":"), default=put_down).iterencode(state):
        packed += packing.compress(part.encode())
    packed += packing.flush()
    return packed


def write(connection: Connection, at: Instant, state: bytes | bytearray) -> None:
    """Put what ``pack`` returned in the place of the checkpoint before. Errors: SQLAlchemyError."""
    connection.execute(delete(t.checkpoint))
    values: Values = {**asdict(kept_instant(at)), "version": VERSION, "state": state}
    connection.execute(insert(t.checkpoint), storable(values))


def read(connection: Connection) -> tuple[Instant, Mapping[str, Any]] | None:
    """Return the checkpoint; None, where there is none, or one that cannot be read, which is logged."""
    row = connection.execute(select(t.checkpoint).order_by(t.checkpoint.c.seq.desc()).limit(1)).first()
    if row is None:
        return None
    try:
        return Instant(row.seq, row.wall, row.boottime, row.boot_id), _unpack(row.version, row.state)
    except (zlib.error, TypeError, ValueError) as error:
        logger.error("checkpoint not read seq=%s because=%r judging=anew", row.seq, str(error))
        return None


def _unpack(version: int, state: bytes) -> Mapping[str, Any]:
    """Errors: zlib.error, TypeError, ValueError for what is no checkpoint of this form."""
    if version > VERSION:
        raise ValueError(f"it has version {version}, and this vramwatch reads {VERSION}")
    told = json.loads(zlib.decompress(state))
    if not isinstance(told, dict):
        raise TypeError(f"it is a {type(told).__name__}")
    return told
