"""Health and metrics over HTTP: a slow or hostile caller costs bounded memory and time, and no poll anything.

At most ``CALLERS`` requests are answered at a time, each within ``CALLER_DEADLINE`` seconds from its first
byte in to its last byte out, and of each at most ``LONGEST_REQUEST`` bytes are read.
"""

import contextlib
import hmac
import ipaddress
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, BinaryIO, cast

from vramwatch.core.errors import VramwatchError
from vramwatch.credentials import Secret
from vramwatch.web.board import Board
from vramwatch.web.health import Vitals

CALLERS = 8
"""Requests answered at a time; further ones wait in the kernel's queue."""

CALLER_DEADLINE = 5.0
"""Seconds one caller may take for its whole request."""

LONGEST_REQUEST = 16384
"""Bytes of a request line with its headers; Prometheus sends some hundreds."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Host headers that are answered to anybody: a web page that rebinds its name to loopback has another."""

HEALTHY, READY, METRICS = "/-/healthy", "/-/ready", "/metrics"


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to tell; ``vitals`` and ``board`` may be called on any thread.

    ``token``: asked of whoever wants to know more than whether all is well; None: of nobody.
    ``processes``: whether metrics tell of single ones.
    """

    vitals: Callable[[], Vitals]
    board: Callable[[], Board]
    token: Secret | None = None
    processes: bool = False


class WebServer:
    """Answers on ``host``:``port`` on threads of its own."""

    def __init__(self, host: str, port: int, shown: Shown) -> None:
        """Errors: VramwatchError when the address is in use or not ours."""
        try:
            self._server = _Server((host, port), shown)
        except OSError as error:
            raise VramwatchError(
                f"{host}:{port}: cannot listen here ({error.strerror}); set http.listen to another address"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], shown: Shown) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)
        self.shown = shown
        self._places = threading.BoundedSemaphore(CALLERS)
        self._scraping = threading.Lock()
        self._answer: Callable[[str], tuple[bytes, str]] | None = None

    def server_bind(self) -> None:
        """Without HTTPServer's question for the full name of the address, which may wait for DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the text of a scrape and its content type; one is written at a time."""
        with self._scraping:
            if self._answer is None:
                from vramwatch.web.metrics import Metrics  # noqa: PLC0415 - 14 MiB that only scrapes need

                shown = self.shown
                self._answer = Metrics(shown.board, shown.vitals, processes=shown.processes).answer
            return self._answer(accept)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # Cuts off a caller that trickles its request byte by byte, which no socket timeout sees.
        cut = threading.Timer(CALLER_DEADLINE, _hang_up, (request,))
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that breaks off is its own affair."""


def _hang_up(request: Any) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Bounded:
    """The part of a request that is read: at most ``LONGEST_REQUEST`` bytes, then it ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = LONGEST_REQUEST

    def readline(self, size: int) -> bytes:
        line = self._file.readline(min(size, self._left))
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "vramwatch"
    sys_version = ""
    timeout = CALLER_DEADLINE

    def setup(self) -> None:
        super().setup()
        self.rfile = cast("Any", _Bounded(cast("BinaryIO", self.rfile)))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._is_meant():
            self._say(HTTPStatus.FORBIDDEN, {"error": "ask by a loopback address, or by an IP address"})
        elif path in (HEALTHY, READY):
            self._tell_health(path)
        elif path != METRICS:
            self._say(HTTPStatus.NOT_FOUND, {"error": f"there is {HEALTHY}, {READY} and {METRICS}"})
        elif not self._is_trusted():
            self._say(
                HTTPStatus.UNAUTHORIZED,
                {"error": "send the token of http.token_file as `Authorization: Bearer TOKEN`"},
                {"WWW-Authenticate": 'Bearer realm="vramwatch"'},
            )
        else:
            text, content_type = self.server.metrics(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, text, {"Content-Type": content_type})

    def _is_meant(self) -> bool:
        """Whether the Host header names this service, not a web page that rebound its name to our address.

        No page knows the token, so whoever sends that may call us by any name.
        """
        host = self.headers.get("Host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        token = self.server.shown.token
        return name in LOOPBACK_NAMES or (token is not None and (_is_ip(name) or self._is_trusted()))

    def _is_trusted(self) -> bool:
        token = self.server.shown.token
        if token is None:
            return True
        scheme, _, told = self.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(told.strip().encode(), token.reveal().encode())
        return scheme.lower() == "bearer" and is_right

    def _tell_health(self, path: str) -> None:
        """Say whether all is well; what is wrong is for those who are trusted."""
        vitals = self.server.shown.vitals()
        is_fine = vitals.is_healthy if path == HEALTHY else vitals.is_ready
        status = HTTPStatus.OK if is_fine else HTTPStatus.SERVICE_UNAVAILABLE
        self._say(status, vitals.told(is_fine) if self._is_trusted() else {"ok": is_fine})

    def _say(self, status: HTTPStatus, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode() + b"\n"
        self._send(status, content, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing a request: the log holds one line a transition, step or fault."""


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
