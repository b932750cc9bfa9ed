"""The SDK's thread and its socket: finds the daemon, enrols, reports, hears, and tries again when it is gone.

The socket is a Unix SOCK_SEQPACKET at the first of these that exists: ``VRAMWATCH_SOCKET``,
/run/vramwatch/enrol.sock, $XDG_RUNTIME_DIR/vramwatch/enrol.sock. Nothing here waits on the application, and
the application on nothing here.
"""

import contextlib
import logging
import os
import random
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from .quietly import quietly
from .wire import LIMIT, Answer, Clear, Hello, Message, Refused, Report, Welcome, WireError, decode, encode

NAME = "enrol.sock"
RUNTIME = Path("/run/vramwatch")

ABSENT_DELAYS = (0.5, 30.0)
"""Seconds until a daemon that is not there is looked for again, the first time and at most: it doubles."""

REFUSED_DELAYS = (5.0, 300.0)
"""The same for who was refused: mostly the daemon's configuration has to change before."""

STEADY = 30.0
"""Seconds that a connection must last for the next delay to be the first one again."""

DOUBLINGS = 10
"""After which the longest delay has been reached."""

GREETING = 5.0
"""Seconds in which the daemon must answer a Hello."""

REPORT_LEAST, REPORT_MOST = 0.25, 300.0
"""Bounds of the seconds between two reports, whatever the daemon says."""

SETTLE = 0.2
"""Seconds after a fork before the child enrols: those that only run another program never do."""

LOOK = 0.1
"""Seconds between two looks whether the process is idle, while a request to clear waits."""

UNSENT_MOST = 16
"""Answers that are kept while the daemon does not read."""

log = logging.getLogger("vramwatch_sdk")


@dataclass(frozen=True)
class Ends:
    """What the link asks of the worker: all of it is quick. ``tick`` returns whether to come back soon."""

    hello: Callable[[], Hello]
    report: Callable[[], Report]
    ask: Callable[[Clear], Answer]
    tick: Callable[[], bool]
    lost: Callable[[], None]


class Link:
    """The connection to the daemon, on a thread of its own that ends with the process."""

    def __init__(self, ends: Ends, delay: float = 0.0) -> None:
        self._ends = ends
        self._delay = delay
        self._unsent: deque[Answer] = deque(maxlen=UNSENT_MOST)
        self._socket: Optional[socket.socket] = None
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._is_closing = False
        self.is_enrolled = False
        self.refusal = ""  # what the daemon said last, if it refused
        self._thread = threading.Thread(target=self._run, name="vramwatch", daemon=True)
        self._thread.start()

    def say(self, answer: Answer) -> None:
        """Send ``answer`` soon, if the daemon is there to hear it."""
        self._unsent.append(answer)
        self.wake()

    def wake(self) -> None:
        """Let the thread look. Safe in a signal handler: one write that never waits, and no lock."""
        with contextlib.suppress(OSError):  # it is full, and so the thread is awake already; or closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Part with the daemon. The thread ends by itself."""
        self._is_closing = True
        self.wake()
        if self._thread is not threading.current_thread():
            self._thread.join(GREETING)

    def abandon(self) -> None:
        """Close what a child inherited: the connection is its parent's."""
        self._is_closing = True
        if self._socket is not None:
            self._socket.close()
        self._woken.close()
        self._waker.close()

    def _run(self) -> None:
        failures = 0
        self._pause(self._delay)
        while not self._is_closing:
            began = time.monotonic()
            quietly(self._live, None)
            failures = 0 if time.monotonic() - began >= STEADY else failures + 1
            first, last = REFUSED_DELAYS if self.refusal else ABSENT_DELAYS
            delay = min(first * 2.0 ** min(failures, DOUBLINGS), last)
            self._pause(delay * random.uniform(0.5, 1.0))  # noqa: S311 - a fleet comes back spread
        self._woken.close()
        self._waker.close()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_closing and (left := until - time.monotonic()) > 0:
            self._ends_tick()
            self._wait(None, left)
            self._unsent.clear()  # nobody is there to hear it

    def _live(self) -> None:
        """Live through one connection, from its begin to its end."""
        self._unsent.clear()
        path, self.refusal = where(), ""
        if path is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            self._socket = connection
            try:
                connection.setblocking(False)
                connection.connect(str(path))
                hello = self._ends.hello()
                welcome = self._greet(connection, hello)
                if welcome is not None:
                    self.is_enrolled = True
                    self._talk(connection, hello, min(max(welcome.report_every, REPORT_LEAST), REPORT_MOST))
            except (OSError, WireError) as fault:
                log.debug("connection ended socket=%s why=%s", path, fault)
            finally:
                self.is_enrolled, self._socket = False, None
                self._ends.lost()

    def _greet(self, connection: socket.socket, hello: Hello) -> Optional[Welcome]:
        with contextlib.suppress(BrokenPipeError):  # refused at the door: the reason is still to be read
            connection.send(encode(hello))
        until = time.monotonic() + GREETING
        while not self._is_closing and (left := until - time.monotonic()) > 0:
            self._wait(connection, left)
            for message in _heard(connection):
                if isinstance(message, Welcome):
                    return message
                if isinstance(message, Refused):
                    self._refused(message)
                    return None
        return None

    def _refused(self, message: Refused) -> None:
        self.refusal = message.reason or "no reason given"
        log.warning("vramwatch does not enrol this process: %s", self.refusal)

    def _talk(self, connection: socket.socket, hello: Hello, every: float) -> None:
        """Report and hear until either side ends it, or ``hello`` is not true any more."""
        due = time.monotonic()
        while not self._is_closing:
            now = time.monotonic()
            if now >= due:
                due = now + every
                if self._ends.hello() != hello:
                    return
                self._report(connection)
            is_soon = self._ends_tick()
            self._wait(connection, min(due - now, LOOK) if is_soon else due - now)
            for message in _heard(connection):
                if isinstance(message, Refused):
                    self._refused(message)
                    return
                if isinstance(message, Clear):
                    self._unsent.append(self._ends.ask(message))
            while self._unsent and _send(connection, encode(self._unsent[0])):
                self._unsent.popleft()

    def _report(self, connection: socket.socket) -> None:
        raw = quietly(lambda: fitting(self._ends.report()), None)
        if raw is not None:
            _send(connection, raw)

    def _ends_tick(self) -> bool:
        return quietly(self._ends.tick, False)

    def _wait(self, connection: Optional[socket.socket], seconds: float) -> None:
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if connection is not None:
            poll.register(connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        poll.poll(max(seconds, 0.0) * 1000 + 1)
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(LIMIT)


def where() -> Optional[Path]:
    """Return the socket to enrol at; None: there is none that may be trusted."""
    named = os.environ.get("VRAMWATCH_SOCKET")
    own = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path(named)] if named else [RUNTIME / NAME, *([Path(own) / "vramwatch" / NAME] if own else [])]
    for place in places:
        reason = distrust(place)
        if not reason:
            return place
        log.debug("socket not used socket=%s why=%s", place, reason)
    return None


def distrust(path: Path) -> str:
    """Return why ``path`` is not to be spoken to; "": nothing speaks against it.

    Who may put a socket into a directory is its owner; in one that everybody writes, anyone. So the socket
    must be root's, this user's, or of the directory's owner, and no symbolic link.
    """
    try:
        found, folder = path.lstat(), path.parent.stat()
    except OSError as fault:
        return str(fault.strerror)
    if not stat.S_ISSOCK(found.st_mode):
        return "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is no socket"
    if found.st_uid not in {0, os.geteuid(), folder.st_uid}:
        return f"belongs to another user ({found.st_uid})"
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        return "everybody can replace it: its directory is writable by all"
    return ""


def fitting(report: Report) -> bytes:
    """Return the datagram; of GPUs that do not fit, or whose figures are none, the last are left out.

    It is read again: a daemon ends the connection for what is not a message. Errors: WireError.
    """
    while True:
        try:
            raw = encode(report)
            decode(raw)
        except WireError:
            if not report.devices:
                raise
            report = replace(report, devices=report.devices[:-1])
        else:
            return raw


def _send(connection: socket.socket, raw: bytes) -> bool:
    """Returns whether it was sent; a daemon that does not read misses it."""
    try:
        connection.send(raw)
    except BlockingIOError:
        return False
    return True


def _heard(connection: socket.socket) -> Iterator[Message]:
    """Yield what has come, maybe nothing. Errors: ConnectionError at the end; WireError."""
    while True:
        try:
            raw = connection.recv(LIMIT + 1)
        except BlockingIOError:
            return
        if not raw:
            raise ConnectionError("the daemon ended it")
        yield decode(raw)
