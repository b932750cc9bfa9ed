"""A worker reduced to its messages: says what it is told to, over the real socket."""

import contextlib
import socket

from tests.waiting import PATIENCE, wait_until
from vramwatch.sdk.wire import LIMIT, Hello, Message, decode, encode

CONSENTING = Hello(
    sdk="test", name="chat", model="tiny", remedies=("ask", "signal:SIGURG"), clears=("gc", "empty_cache")
)


class Line:
    """One connection to the socket of workers."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def say(self, message: Message) -> None:
        self.socket.send(encode(message))

    def say_raw(self, raw: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.send(raw)

    def hear(self) -> Message | None:
        """Return what the daemon says next; None: it has hung up."""
        try:
            raw = self.socket.recv(LIMIT)
        except ConnectionResetError:
            return None
        return decode(raw) if raw else None

    def enrol(self, hello: Hello = CONSENTING) -> Message | None:
        self.say(hello)
        return self.hear()


def until_enrolled(reception, pid):
    """Wait until a process ``pid`` has enrolled; return its key."""
    return wait_until(lambda: next((key for key in reception.enrolled() if key.pid == pid), None), "enrolled")
