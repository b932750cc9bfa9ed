"""Finding and reading the configuration's file, and what the environment says beside it."""

import os
from collections.abc import Mapping
from pathlib import Path

from vramwatch.config.places import Document, Fault, Place, parse

FILE = "config.yaml"
MAX_BYTES = 1024 * 1024
"""A thousand owner rules take a fifth of it."""


def find(explicit: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the configuration file to load; None: there is none, and every default holds.

    The first that applies: ``explicit`` (``--config``), VRAMWATCH_CONFIG, the service's or the
    system's (CONFIGURATION_DIRECTORY of systemd.exec(5), else /etc/vramwatch), the user's
    ($XDG_CONFIG_HOME or ~/.config). The first two need not exist: ``load`` says so.
    """
    environment = os.environ if environment is None else environment
    if explicit:
        return explicit
    if named := environment.get("VRAMWATCH_CONFIG"):
        return Path(named)
    system = environment.get("CONFIGURATION_DIRECTORY", "").split(":")[0] or "/etc/vramwatch"
    user = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "/") / ".config")
    return next((path for path in (Path(system, FILE), Path(user, "vramwatch", FILE)) if _exists(path)), None)


def _exists(path: Path) -> bool:
    """Whether there is such a file, also one that may not be looked at: ``load`` then says so."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def read(path: Path | None) -> Document:
    """Return the file's values with their places; a file that cannot be read is one fault."""
    if path is None:
        return Document()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        return _unread(path, f"cannot be read: {error.strerror}; name a file that this user can read")
    if len(content) > MAX_BYTES:
        return _unread(
            path, f"larger than {MAX_BYTES} bytes; no configuration needs that, is it the right file?"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return _unread(path, "not UTF-8; save the file as UTF-8", line)
    return parse(text, str(path))


def _unread(path: Path, text: str, line: int = 0) -> Document:
    return Document(faults=(Fault(Place(str(path), line, 1 if line else 0), (), text),))
