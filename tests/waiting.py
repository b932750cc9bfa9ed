"""Waiting for what another thread or process does in its own time."""

import time

PATIENCE = 60.0
"""Seconds; far beyond what anything takes on a busy machine."""


def wait_until(holds, what="it came true", patience=PATIENCE, every=0.01):
    """Ask ``holds`` again and again until it is true, and return what it returned."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(every)
    return found
