"""What whoever connects may cost: connections, messages, time. The rest of the daemon never pays for it."""

from dataclasses import dataclass

HELLO_WITHIN = 5.0
"""Seconds within which a connection must say who it is."""

MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 4.0, 32.0
"""Of one connection: a report every few seconds and two answers to each request are a fraction of it."""

ACCEPTED_A_SECOND, ACCEPTED_AT_ONCE = 50.0, 128.0
"""Connections taken up; the others wait in the kernel's queue, or are turned away by it."""

REFUSED_COSTS = 5.0
"""A connection that is refused counts for so many, so that a flood has a fifth of what workers have."""

QUEUED = 64
"""Connections that the kernel keeps waiting."""

ASKED_KEPT = 64
"""Requests of which an answer is still taken."""

ANSWERS_KEPT = 16
"""Answers of one worker that wait to be fetched."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``report_every``: seconds between two reports of a worker."""

    total: int = 256
    per_user: int = 64
    report_every: float = 5.0


class Allowance:
    """So many a second, and so many at once where none came before (a token bucket)."""

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate, self._most = rate, most
        self._left, self._at = most, now

    def take(self, now: float) -> bool:
        """Return whether one more may pass at ``now``, seconds that never step back."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def charge(self, cost: float) -> None:
        """Take ``cost`` afterwards; at most as much is owed as passes at once."""
        self._left = max(self._left - cost, -self._most)
