"""Where the store is."""

import os
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
    """Return what tells the file at ``path`` from every other of this machine; empty where there is none.

    A container may see the same file under another path: its device and its inode stay (stat(2)).
    """
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _of_the_user() -> Path:
    """Source: XDG Base Directory Specification, which asks that a relative path there be ignored."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return state / "vramwatch" / FILE
