"""One connection: what its worker has said so far, and whether what it says now may be taken."""

import socket
from collections import deque
from dataclasses import dataclass, replace

from vramwatch.core.workers import Worker
from vramwatch.reception.bounds import (
    ANSWERS_KEPT,
    ASKED_KEPT,
    MESSAGES_A_SECOND,
    MESSAGES_AT_ONCE,
    Allowance,
)
from vramwatch.reception.peer import UNCATCHABLE, Peer
from vramwatch.sdk.wire import (
    SCHEMA,
    SIGNAL,
    SIGNAL_ID,
    Answer,
    Clear,
    Hello,
    Message,
    Refused,
    Report,
    WireError,
    decode,
)

ENDED = frozenset({"done", "refused", "failed"})
"""States of an Answer after which nothing more is said of what was asked."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A message that is not taken, on a connection that goes on."""

    reason: str


class Guest:
    """Who connected, by the kernel's word, and its own words. ``worker`` None: it has not enrolled yet.

    Times are seconds of boot time.
    """

    def __init__(self, connection: socket.socket, peer: Peer, now: float) -> None:
        self.connection = connection
        self.peer = peer
        self.since = now
        self.worker: Worker | None = None
        self.answers: deque[Answer] = deque()
        self._allowance = Allowance(MESSAGES_A_SECOND, MESSAGES_AT_ONCE, now)
        self._asked: dict[str, None] = {}  # ids, oldest first
        self._signals = 0  # sent, and not answered yet
        self._seq = -1

    def close(self) -> None:
        self.connection.close()
        self.peer.close()

    def hear(self, raw: bytes, sender: int, now: float) -> Refused | PassedOver | None:
        """Take in one datagram, sent by the pid ``sender``. Refused: the connection is to end, and why."""
        if not self._allowance.take(now):
            return Refused("too many messages")
        if sender != self.peer.key.pid:
            return Refused("another process speaks on this connection: after a fork each needs its own")
        try:
            return self._take(decode(raw), now)
        except WireError as error:
            return Refused(f"not a message: {error}")

    def _take(self, message: Message, now: float) -> Refused | PassedOver | None:
        match message, self.worker:
            case Hello(), None:
                return self._enrol(message, now)
            case Report(), Worker() as worker:
                return self._report(message, worker, now)
            case Answer(), Worker():
                return self._answer(message)
            case _, None:
                return Refused("a worker says hello first")
        return Refused(f"a worker does not say {type(message).__name__.lower()} now")

    def ask(self, clear: Clear) -> None:
        """Know that ``clear`` is asked, so that its answers are taken."""
        self._asked[clear.id] = None
        if len(self._asked) > ASKED_KEPT:
            del self._asked[next(iter(self._asked))]

    def signalled(self) -> None:
        """Know that a signal was sent, which its worker answers by an id of its own."""
        self._signals = min(self._signals + 1, ASKED_KEPT)

    def _enrol(self, hello: Hello, now: float) -> Refused | None:
        if hello.schema != SCHEMA:
            older = "vramwatch" if hello.schema > SCHEMA else "vramwatch-sdk"
            return Refused(f"speaks schema {hello.schema}, the daemon {SCHEMA}: upgrade {older}")
        for remedy in hello.remedies:
            if remedy.startswith(SIGNAL) and remedy.removeprefix(SIGNAL) in UNCATCHABLE:
                return Refused(f"{remedy}: has no handler, ever")
        self.worker = Worker(self.peer.key, self.peer.uid, hello, now, namespace_pid=self.peer.namespace_pid)
        return None

    def _report(self, report: Report, worker: Worker, now: float) -> Refused | None:
        if report.seq <= self._seq:
            return Refused(f"report {report.seq} came after {self._seq}: repeated, or out of order")
        self._seq = report.seq
        self.worker = replace(worker, report=report, reported_at=now)
        return None

    def _answer(self, answer: Answer) -> Refused | PassedOver | None:
        if answer.id.startswith(SIGNAL_ID) and self._signals:
            self._signals -= 1
            self._asked[answer.id] = None
        if answer.id not in self._asked:
            return PassedOver("answers what was not asked on this connection, or was answered already")
        if answer.state in ENDED:
            del self._asked[answer.id]
        if len(self.answers) >= ANSWERS_KEPT:
            return Refused("too many answers")
        self.answers.append(answer)
        return None
