"""Where the verbs ask: the store for what was, the daemon for what is to change."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vramwatch.store import History


def find_store(config_path: Path | None, store_path: Path | None) -> Path:
    """Return where the store is looked for: as told, else as configured. Errors: ConfigError."""
    from vramwatch.config import find, load
    from vramwatch.store.location import locate

    return locate(store_path, store_path or load(find(config_path), os.environ, {}).store.path)


def open_history(config_path: Path | None, store_path: Path | None) -> "History":
    """Open the store for reading. Errors: ConfigError, StoreError."""
    from vramwatch.store import History

    return History.open(find_store(config_path, store_path))


def control_socket(config_path: Path | None) -> Path:
    """Return where the daemon of this configuration listens: as a service if there is one, else as ours."""
    from vramwatch.config import find, load

    control = load(find(config_path), os.environ, {}).control
    of_the_service = control.place({}, uid=0)
    return of_the_service if of_the_service.exists() else control.place(os.environ, os.geteuid())
