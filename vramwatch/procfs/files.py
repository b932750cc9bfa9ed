"""Bounded reads of files that others control: never blocks, never follows a link at the end, never raises."""

import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def read_bounded(path: str, limit: int) -> bytes | None:
    """Return at most ``limit`` bytes of the file at ``path``; None where it cannot be read."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        return _read_all(descriptor, limit)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_regular_under(host: Path, relative: str, limit: int) -> bytes | None:
    """Return the whole regular file ``relative`` to ``host``.

    None where it cannot be read, is no regular file, holds more than ``limit`` bytes (half a document
    is worth nothing), or lies outside ``host`` once its links are followed.
    """
    path = resolve_under(host, relative)
    if path is None:
        return None
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = _read_all(descriptor, limit + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return content if len(content) <= limit else None


def names_under(host: Path, relative: str, limit: int) -> list[str]:
    """Return at most ``limit`` names in the folder ``relative`` to ``host``; empty if it is unreadable."""
    path = resolve_under(host, relative)
    if path is None:
        return []
    names: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) == limit:
                    break
    except OSError:
        return names
    return names


def resolve_under(host: Path, relative: str) -> Path | None:
    """Return where ``relative`` to ``host`` lies, links followed; None if outside ``host``."""
    try:
        base = host.resolve()
        path = (base / relative.lstrip("/")).resolve()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return None
    return path if path.is_relative_to(base) else None


def _read_all(descriptor: int, limit: int) -> bytes:
    """Read until the end or ``limit``: files of /proc hand out one page at a time."""
    chunk = os.read(descriptor, limit)
    content = chunk
    while chunk and len(content) < limit:
        chunk = os.read(descriptor, limit - len(content))
        content += chunk
    return content
