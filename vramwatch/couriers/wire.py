"""Connections to whoever may be slow or hostile: read within a bound, cut when their time is over."""

import contextlib
import http.client
import io
import socket
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

HEADERS_MOST = 16 * 1024
"""Bytes of a status line and its headers; Apache and nginx take less from their clients."""


class Leash:
    """Holds the connections of one channel and cuts them when an exchange takes too long.

    A time-out for each read ends no receiver that drips a byte a second. For one thread, beside its timer.
    """

    def __init__(self) -> None:
        self._held: set[socket.socket] = set()
        self.is_over = False
        """Whether the time of the exchange is over; what fails then fails for this reason."""

    def hold(self, connected: socket.socket) -> socket.socket:
        """Take hold of a connection, whatever TLS makes of it later; return what ``release`` wants."""
        held = (
            connected.dup()
        )  # wrapping takes the first one's descriptor away; this one shares the connection
        self._held.add(held)
        if self.is_over:
            _cut(held)
        return held

    def release(self, held: socket.socket) -> None:
        self._held.discard(held)
        held.close()

    def close(self) -> None:
        """Cut every connection, and let go of it."""
        self.cut()
        for held in tuple(self._held):
            self.release(held)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Cut every connection, and those that are made afterwards, if the block lasts longer."""
        self.is_over = False
        timer = threading.Timer(seconds, self.cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # so that it cuts nothing of the next exchange

    def cut(self) -> None:
        self.is_over = True
        for held in tuple(self._held):
            _cut(held)


def _cut(held: socket.socket) -> None:
    with contextlib.suppress(OSError):
        held.shutdown(socket.SHUT_RDWR)


class _Metered(io.RawIOBase):
    """The first ``most`` bytes of ``source``; what follows is as if the connection had ended."""

    def __init__(self, source: Any, most: int) -> None:
        self._source = source
        self._left = most
        self.has_ended = False
        """Whether somebody wanted to read on after the end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        read: int | None = self._source.readinto(memoryview(buffer)[: self._left])
        self._left -= read or 0
        self.has_ended = self.has_ended or read == 0
        return read

    def close(self) -> None:
        self._source.close()
        super().close()


def metered(connected: Any, most: int) -> io.BufferedReader:
    """Return a reader of the first ``most`` bytes that a socket receives, whatever is sent."""
    return io.BufferedReader(_Metered(connected.makefile("rb", buffering=0), most))


class BoundedResponse(http.client.HTTPResponse):
    """An answer of which so much is read, and no more: neither endless headers nor endless chunks."""

    MOST: ClassVar[int]
    """Bytes of the body, and what of the headers is left over."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = metered(sock, HEADERS_MOST + self.MOST)
