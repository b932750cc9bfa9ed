"""One page of an engine over HTTP: no redirect, no proxy, bounded in time and size.

What answers may be anything: another program, a hostile one, one that drips a byte a second.
"""

import http.client
import ssl
from urllib.parse import urlsplit

from vramwatch import __version__
from vramwatch.couriers.wire import BoundedResponse, Leash

PAGE_MOST = 2 << 20
"""Bytes of an answer: vLLM's page of one engine has some 100 KiB, and more with each engine and model."""

CONNECT_WITHIN = 1.0
"""Seconds to connect to this machine, or to one beside it."""

PAGE_WITHIN = 2.0
"""Seconds for a whole page; an engine that computes answers later than one that rests."""

FAILURES = (OSError, ValueError, http.client.HTTPException)


class Fetcher:
    """Gets pages from one origin, for one thread; a connection is used once."""

    def __init__(self, base: str, token: str | None = None) -> None:
        """``base``: http:// or https:// with a host and maybe a path. ``token``: sent as a bearer."""
        parts = urlsplit(base)
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {
            "User-Agent": f"vramwatch/{__version__}",
            "Accept-Encoding": "identity",  # a small answer, compressed, may be a large one
            "Connection": "close",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }

    def get(self, path: str) -> str | None:
        """Return the text of a page; None: the engine has none there, by its status.

        Errors: OSError, ValueError and http.client.HTTPException where nothing whole was answered.
        """
        leash = Leash()
        try:
            with leash.within(PAGE_WITHIN):
                return self._exchange(leash, path)
        except FAILURES:
            if leash.is_over:
                raise TimeoutError(f"no whole answer within {PAGE_WITHIN:g} s") from None
            raise
        finally:
            leash.close()

    def _exchange(self, leash: Leash, path: str) -> str | None:
        connection = self._connection()
        try:
            connection.connect()
            leash.hold(connection.sock)
            connection.request("GET", self._path + path, headers=self._headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                return None
            body = answer.read(PAGE_MOST + 1)
        finally:
            connection.close()
        if leash.is_over:
            raise TimeoutError
        if len(body) > PAGE_MOST:
            raise ValueError(f"a page of more than {PAGE_MOST >> 20} MiB")
        return body.decode(errors="replace")

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._is_tls:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_WITHIN, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_WITHIN)
        connection.response_class = _Response
        return connection


class _Response(BoundedResponse):
    MOST = PAGE_MOST + 1  # that there is more is seen
