"""Where the daemon is asked, for the verbs that change something."""

import os
from pathlib import Path


def control_socket(config_path: Path | None) -> Path:
    """Return where the daemon of this configuration listens: as a service if there is one, else as ours."""
    from vramwatch.config import find, load

    control = load(find(config_path), os.environ, {}).control
    of_the_service = control.place({}, uid=0)
    return of_the_service if of_the_service.exists() else control.place(os.environ, os.geteuid())
