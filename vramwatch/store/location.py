"""Where the store is."""

import os
from contextlib import suppress
from pathlib import Path

FILE = "vramwatch.db"
SYSTEM = Path("/var/lib/vramwatch") / FILE


def locate(explicit: Path | None, configured: Path | None) -> Path:
    """Return the path at which a reader looks for the store; it need not exist.

    The first that applies: ``explicit`` (--store), ``configured``, the system's store if this user may
    read it, the user's own if there is one, and else where a daemon of this user would make it.
    """
    if named := explicit or configured:
        return named
    there = (path for path in (SYSTEM, _of_the_user()) if os.access(path, os.R_OK))
    return next(there, default_for_writing())


def default_for_writing() -> Path:
    """Return the path at which a daemon without ``store.path`` keeps its store.

    The first that applies: the state directory that systemd made for the unit (STATE_DIRECTORY,
    systemd.exec(5): several are parted by colons), the system's as root, the user's own.
    """
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / FILE
    return SYSTEM if os.geteuid() == 0 else _of_the_user()


def mark(path: Path) -> str:
    """Return what tells the file at ``path`` from every other of this machine; empty where none is seen."""
    with suppress(OSError):
        return identity(path)
    return ""


def identity(path: Path) -> str:
    """Return the device and the inode of the file at ``path`` (stat(2)); empty: there is none.

    They stay where a container sees the same file under another path. Errors: OSError, where nobody may look.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _of_the_user() -> Path:
    """Source: XDG Base Directory Specification, which asks that a relative path there be ignored."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return state / "vramwatch" / FILE
