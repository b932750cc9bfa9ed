"""A service manager's end of NOTIFY_SOCKET: a real datagram socket, and what was said on it."""

import socket

from tests.waiting import wait_until


class NotifySocket:
    def __init__(self, path):
        self.path = path
        self.said = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def close(self):
        self._socket.close()

    def hear(self):
        """Return every assignment so far, oldest first."""
        while True:
            try:
                self.said += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return self.said

    def until(self, start, after=0):
        """Wait for an assignment that begins so, and return its place after the last one before it."""
        wait_until(lambda: any(each.startswith(start) for each in self.hear()[after:]), start)
        return next(n for n, each in enumerate(self.said) if n >= after and each.startswith(start)) + 1
