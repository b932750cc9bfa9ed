"""The daemon's end of the socket, as far as a worker sees it: it takes one after the other."""

import os
import socket
import struct
import time

from vramwatch.sdk.wire import LIMIT, Clear, Hello, Report, Welcome, decode, encode

PATIENCE = 20.0


class Daemon:
    """Listens at ``path`` until ``stop``; may be started anew at the same place."""

    def __init__(self, path):
        self.path = path
        self._listening = None
        self._peers = []
        self.start()

    def start(self):
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(str(self.path))
        self._listening.listen(64)
        self._listening.settimeout(PATIENCE)

    def stop(self):
        """End as a daemon does: its connections with it."""
        self._listening.close()
        for peer in self._peers:
            peer.close()
        self.path.unlink()

    def environment(self):
        return {**os.environ, "VRAMWATCH_SOCKET": str(self.path)}

    def meet(self, report_every=0.25):
        """Take the next worker, read its Hello and welcome it."""
        peer = self.take()
        peer.hello = peer.hears(Hello)
        peer.says(Welcome(report_every=report_every))
        return peer

    def take(self):
        self._peers.append(Peer(self._listening.accept()[0]))
        return self._peers[-1]

    def is_left_alone(self, seconds):
        """Whether nobody comes."""
        self._listening.settimeout(seconds)
        try:
            self.take()
        except TimeoutError:
            return True
        finally:
            self._listening.settimeout(PATIENCE)
        return False


class Peer:
    """One worker at the other end."""

    def __init__(self, connection):
        self._connection = connection
        connection.settimeout(PATIENCE)
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.pid = struct.unpack("3i", packed)[0]
        self.hello = None

    def says(self, message):
        self._connection.send(encode(message))

    def says_raw(self, raw):
        self._connection.send(raw)

    def hears(self, kind=None):
        """Return the next message of ``kind``; others are passed over. Errors: ConnectionError at the end."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            raw = self._connection.recv(LIMIT + 1)
            if not raw:
                raise ConnectionError
            message = decode(raw)
            if kind is None or isinstance(message, kind):
                return message
        raise TimeoutError

    def reports(self, holds):
        """Return the first report that ``holds``."""
        while not holds(report := self.hears(Report)):
            pass
        return report

    def asks(self, *clears, id="one", within=10.0, max_pause=0.0):
        self.says(Clear(id, clears, within, max_pause))

    def is_over(self):
        """Whether the worker parts, now or soon."""
        try:
            while True:
                self.hears()
        except ConnectionError:
            return True

    def close(self):
        self._connection.close()
