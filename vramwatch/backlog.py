"""What keeps polls while the store cannot be written: the newest, in bounded memory, in order.

What was decided at them waits on the slate, from which people are told; it is stored with them.
"""

import logging
from collections import deque
from dataclasses import replace

from vramwatch.core.errors import StoreError
from vramwatch.core.model import Fault, FaultKind, Instant, Missing
from vramwatch.core.poll import Poll
from vramwatch.core.units import MIB, Seconds
from vramwatch.store import Store
from vramwatch.telling.slate import Slate

LIMIT = 32 * MIB
"""Bytes of polls kept; the oldest are dropped first."""

POLL_BYTES, HOLDING_BYTES = 2048, 512
"""About what a kept Poll costs, by itself and for each holding in it."""

TRANSITION_BYTES = 2048

LOST_TRANSITIONS_KEPT = 1000
"""Transitions of polls that were dropped: the newest stay, about 2 MiB of them. As many of their steps do."""

logger = logging.getLogger(__name__)


class Backlog:
    """Hands each poll to the store at once, or as soon as the store can be written again."""

    def __init__(self, store: Store, slate: Slate | None = None) -> None:
        """``slate`` None: nobody is told anything."""
        self.fault: str | None = None
        """Why the store cannot be written; None while it can."""
        self._store = store
        self._slate = slate
        self._polls: deque[Poll] = deque()
        self._bytes = 0
        self.dropped = 0
        """Polls that were lost so far, because there was no room for them."""
        self._hole: Poll | None = None
        self._untended: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all polls were handed to the store."""
        return not self._polls and self._hole is None

    def remember(self, poll: Poll) -> None:
        """Write ``poll`` behind all that waits before it, or keep it."""
        self._polls.append(poll)
        self._bytes += _weight(poll)
        self._drain()
        if self._polls and self._slate:
            self._polls[-1] = self._slate.take(poll)
        while self._bytes > LIMIT:
            self._drop()

    def tend(self, now: Instant, budget: Seconds) -> None:
        """Let the store do a slice of what it needs, unless it cannot be written."""
        if self.fault is not None:
            return
        try:
            self._store.tend(now, budget)
        except StoreError as error:
            if str(error) != self._untended:
                logger.error("store not tended because=%r", str(error))
            self._untended = str(error)
        else:
            self._untended = None

    def close(self) -> None:
        """Try once more to write what waits, say what is lost, and close the store."""
        self._drain()
        lost = len(self._polls) + self.dropped
        try:
            self._store.close()
        except StoreError as error:
            self.fault = str(error)
            lost += self._store.waiting
        if lost:
            logger.error("history lost polls=%d because=%r", lost, self.fault)

    def _drop(self) -> None:
        """Forget the oldest poll, but not what moved and was decided at it; the first one begins a Gap."""
        oldest = self._polls.popleft()
        self._bytes -= _weight(oldest)
        self.dropped += 1
        if self._hole is None:
            fault = Fault(FaultKind.NOT_KEPT, f"the store could not be written ({self.fault})")
            self._hole = Poll(oldest.at, missing=(Missing(None, fault),))
        if oldest.transitions:
            moved = (*self._hole.transitions, *oldest.transitions)
            self._hole = replace(self._hole, transitions=moved[-LOST_TRANSITIONS_KEPT:])
        if oldest.steps:
            steps = (*self._hole.steps, *oldest.steps)
            self._hole = replace(self._hole, steps=steps[-LOST_TRANSITIONS_KEPT:])

    def _drain(self) -> None:
        try:
            if self._hole:
                self._write(self._hole)
                self._hole = None
            while self._polls:
                self._write(self._polls[0])
                self._bytes -= _weight(self._polls.popleft())
        except StoreError as error:
            if self.fault is None:
                logger.error("store not written because=%r keeping=memory", str(error))
            self.fault = str(error)
            return
        if self.fault is not None:
            logger.warning("store written again lost_polls=%d", self.dropped)
            self.fault = None
        if self._slate and self._slate.is_open:
            self._slate.close()

    def _write(self, poll: Poll) -> None:
        """Store ``poll``, and with it what became of messages meanwhile. Errors: StoreError."""
        if self._slate is None or not self._slate.is_open:
            self._store.write(poll)
            return
        self._store.write(self._slate.settled(poll), self._slate.carried())
        self._slate.has_carried()


def _weight(poll: Poll) -> int:
    holdings = sum(len(ledger.holdings) for ledger in poll.ledgers)
    return POLL_BYTES + HOLDING_BYTES * holdings + TRANSITION_BYTES * len(poll.transitions)
