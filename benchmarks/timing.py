"""How long commands take from their start to their end."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

BARE = (sys.executable, "-c", "pass")
"""The floor of everything that is written in Python."""

MILLI = 1000


def milliseconds(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> float:
    """Return how long ``command`` took. Errors: CalledProcessError when it fails."""
    began = time.monotonic()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.monotonic() - began) * MILLI
