"""What the application is doing: requests in flight, and stretches in which nothing may be cleared."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Optional

PATIENCE = 5.0
"""Seconds for which a request waits at most for a step of clearing to end: a step that takes longer hangs."""


class Load:
    """Counts requests, on any thread. A step of clearing and the begin of a request exclude each other."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._gate = threading.RLock()  # the callback of the same thread may begin a request
        self.running = 0
        self.total = 0
        self.held = 0
        self.idle_since = time.monotonic()
        self.is_abandoned = False  # of the parent, in a child: others may have held its locks at the fork

    def begin(self) -> None:
        """Count a request in, after a step of clearing that runs at this moment."""
        if self.is_abandoned:
            return
        with self._passing(), self._counting:
            self.running += 1
            self.total += 1

    def end(self) -> None:
        if self.is_abandoned:
            return
        with self._counting:
            self.running -= 1
            if not self.running:
                self.idle_since = time.monotonic()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Nothing is cleared meanwhile, on whatever thread."""
        with self._passing(), self._counting:
            self.held += 1
        try:
            yield
        finally:
            with self._counting:
                self.held -= 1

    @contextmanager
    def between(self) -> Iterator[None]:
        """No request begins meanwhile."""
        with self._gate:
            yield

    @contextmanager
    def _passing(self) -> Iterator[None]:
        has_passed = self._gate.acquire(timeout=PATIENCE)
        try:
            yield
        finally:
            if has_passed:
                self._gate.release()


class Request:
    """One request in flight, as a context: ``with worker.request():``, in a thread or in a coroutine.

    Within another one of the same thread or coroutine it is a part of that: it counts for nothing.
    ``afterwards`` is called when it is over and no other one is in flight.
    """

    def __init__(self, load: Load, afterwards: Optional[Callable[[], object]] = None) -> None:
        self._load, self._afterwards = load, afterwards
        self._before: Optional[contextvars.Token[Optional[Request]]] = None
        self.is_over = False

    def __enter__(self) -> "Request":
        outer = current.get()
        if outer is None or outer.is_over or outer._load is not self._load:
            self._load.begin()
            self._before = current.set(self)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._before is None:
            return
        self.is_over = True
        self._load.end()
        # Begun in another context, as generators of asynchronous frameworks are: nothing to reset.
        with suppress(ValueError):
            current.reset(self._before)
        if self._afterwards is not None and not self._load.running:
            self._afterwards()


current: "contextvars.ContextVar[Optional[Request]]" = contextvars.ContextVar(
    "vramwatch_request", default=None
)
"""The request of this thread or coroutine; None: there is none."""
