"""Liveness and readiness over HTTP, from the newest Vitals; touches neither driver nor store."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from vramwatch.core.errors import VramwatchError

CALLERS = 8
"""Requests answered at a time; further ones wait in the kernel's queue."""

CALLER_DEADLINE = 5.0
"""Seconds one caller may take for its whole request."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""Host headers that are answered: a web page that rebinds its name to loopback has another."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the daemon says of itself after each turn."""

    polls: int  # finished turns; one that ends in a Gap counts
    readings: int  # turns that brought at least one reading
    age: float  # seconds since the newest finished turn
    stuck_after: float  # seconds after which a turn counts as stuck
    lag: float = 0.0  # seconds by which the newest turn began too late
    blind: str | None = None  # since when and why nothing can be read
    store: str | None = None  # what is wrong with the store

    @property
    def is_healthy(self) -> bool:
        return self.age <= self.stuck_after

    @property
    def is_ready(self) -> bool:
        return self.is_healthy and self.readings > 0 and self.blind is None


class HealthServer:
    """Serves /-/healthy and /-/ready on ``host``:``port`` on threads of its own."""

    def __init__(self, host: str, port: int, vitals: Callable[[], Vitals]) -> None:
        """Errors: VramwatchError when the address is in use or not ours."""
        try:
            self._server = _Server((host, port), vitals)
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

    def __init__(self, address: tuple[str, int], vitals: Callable[[], Vitals]) -> None:
        super().__init__(address, _Handler)
        self.vitals = vitals
        self._places = threading.BoundedSemaphore(CALLERS)

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


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "vramwatch"
    sys_version = ""
    timeout = CALLER_DEADLINE

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in LOOPBACK_NAMES and host not in LOOPBACK_NAMES:
            self._answer(HTTPStatus.FORBIDDEN, {"error": "ask by a loopback address"})
            return
        vitals = self.server.vitals()
        known = {"/-/healthy": vitals.is_healthy, "/-/ready": vitals.is_ready}
        if self.path not in known:
            self._answer(HTTPStatus.NOT_FOUND, {"error": f"there is {' and '.join(known)}"})
            return
        is_fine = known[self.path]
        self._answer(
            HTTPStatus.OK if is_fine else HTTPStatus.SERVICE_UNAVAILABLE,
            {
                "ok": is_fine,
                "polls": vitals.polls,
                "last_poll_age_seconds": round(vitals.age, 3),
                "lag_seconds": round(vitals.lag, 3),
                "blind": vitals.blind,
                "store": vitals.store,
            },
        )

    def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing a request: the log holds one line a transition, step or fault."""
