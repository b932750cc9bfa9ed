"""Where the daemon is asked, for the verbs that change something."""

import os
from pathlib import Path


def control_socket(config_path: Path | None) -> Path:
    """Return the control socket of the daemon that this configuration starts."""
    from vramwatch.config import find, load

    config = load(find(config_path), os.environ, {})
    return config.control.place(os.environ, os.geteuid())
