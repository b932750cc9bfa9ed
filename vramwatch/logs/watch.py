"""Both kinds of logs together, on threads of their own, and the bounded queue to the daemon."""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from vramwatch.core.errors import without_words
from vramwatch.core.oom_sightings import Sighting
from vramwatch.logs.containers import ContainerWatch
from vramwatch.logs.journal import Journal

WAITING_MOST = 256
"""Sightings that wait for the next poll; more say nothing new."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the containers' files."""

END_WAIT = 5.0
"""Seconds that a thread has to end; the daemon does not wait for one longer."""

logger = logging.getLogger("vramwatch.logs")


class LogWatch:
    """Follows the logs of ``units`` and ``containers``, globs. Implements core.ports.Sightings."""

    def __init__(self, units: Sequence[str], containers: Sequence[str], host: Path = Path("/")) -> None:
        """Starts a thread for each of the two that is not empty. ``host``: root of the host's files."""
        self._sightings: queue.Queue[Sighting] = queue.Queue(WAITING_MOST)
        self._closed = threading.Event()
        self._journal = Journal(units, self._hand_over) if units else None
        self._containers = ContainerWatch(containers, self._hand_over, host) if containers else None
        self._threads: list[threading.Thread] = []
        if self._journal:
            self._start("journal", self._journal.run)
        if self._containers:
            self._start("container logs", self._look_at_containers)

    def take(self) -> list[Sighting]:
        """Return what has come since the last call, at most ``WAITING_MOST``, oldest first."""
        taken: list[Sighting] = []
        with contextlib.suppress(queue.Empty):
            while len(taken) < WAITING_MOST:
                taken.append(self._sightings.get_nowait())
        return taken

    def close(self) -> None:
        """Follow nothing any more: the child is ended and the threads are waited for, with a limit."""
        self._closed.set()
        if self._journal:
            self._journal.close()
        for thread in self._threads:
            thread.join(END_WAIT)

    def _hand_over(self, sighting: Sighting) -> None:
        with contextlib.suppress(queue.Full):
            self._sightings.put_nowait(sighting)

    def _look_at_containers(self) -> None:
        watch = self._containers
        if watch is None:
            return
        try:
            watch.look()
            while not self._closed.wait(LOOK_EVERY):
                watch.look()
        finally:
            watch.close()

    def _start(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=_guarded, args=(name, run), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _guarded(name: str, run: Callable[[], None]) -> None:
    """Run a thread; what nobody foresaw ends the following, not the daemon, and without a line's text."""
    try:
        run()
    except Exception as error:
        kind = type(error).__name__
        logger.exception("following the %s has stopped because=%s", name, kind, exc_info=without_words(error))
