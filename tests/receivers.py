"""Receivers on loopback that keep what they are told, and answer as a script says: at once and well, slowly,
wrongly, without end, or never.
"""

import contextlib
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a receiver that a test has forgotten gives up."""


@dataclass(frozen=True)
class Request:
    at: float  # seconds that do not step
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Exchange:
    """One connection, as the script sees it."""

    connection: socket.socket
    request: Request | None
    number: int  # of requests before this one, over all connections
    stop: threading.Event

    def say(self, text: str | bytes) -> None:
        self.connection.sendall(text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode())

    def drip(self, text: str, pause: float) -> None:
        """Send a byte at a time, until nobody listens."""
        for byte in text.replace("\n", "\r\n").encode():
            self.connection.sendall(bytes([byte]))
            if self.stop.wait(pause):
                return

    def flood(self, part: bytes) -> None:
        """Send without end, until nobody listens."""
        while not self.stop.is_set():
            self.connection.sendall(part)

    def hang(self) -> None:
        self.stop.wait(PATIENCE)


Script = Callable[[Exchange], None]


@dataclass
class Receiver:
    """``script``: what is said to every request from now on."""

    port: int
    script: Script
    got: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.netloc}"

    def answers(self, status: int, body: str = "", headers: str = "") -> None:
        """Answer so from now on; see ``answering``."""
        self.script = answering(status, body, headers)


@contextlib.contextmanager
def receiving(
    script: Script | None = None,
    tls: ssl.SSLContext | None = None,
    reads: bool = True,
    host: str = "127.0.0.1",
) -> Iterator[Receiver]:
    """Serve ``script`` to every request, or, where ``reads`` is false, to every connection.

    None: every request is answered with 200.
    """
    stop = threading.Event()
    listener = socket.create_server((host, 0), backlog=16)
    receiver = Receiver(listener.getsockname()[1], script or answering(200))
    threads: list[threading.Thread] = []
    served: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.settimeout(PATIENCE)
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
                served.append(connection)
            with contextlib.closing(connection):
                if not reads:
                    receiver.script(Exchange(connection, None, receiver.connections - 1, stop))
                    return
                while request := _read(connection):
                    receiver.got.append(request)
                    receiver.script(Exchange(connection, request, len(receiver.got) - 1, stop))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                served.append(connection)
                receiver.connections += 1
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield receiver
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(5)
        listener.close()
        for connection in served:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def _read(connection: socket.socket) -> Request | None:
    read = b""
    while b"\r\n\r\n" not in read:
        part = connection.recv(65536)
        if not part:
            return None
        read += part
    head, _, body = read.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return Request(time.monotonic(), method, path, headers, body)


def answering(status: int, body: str = "", headers: str = "") -> Script:
    """Return a script that answers whole and at once; ``headers``: lines, each with its end."""
    said = f"HTTP/1.1 {status} Said\n{headers}Content-Length: {len(body.encode())}\n\n".replace("\n", "\r\n")

    def script(exchange: Exchange) -> None:
        is_head = exchange.request is not None and exchange.request.method == "HEAD"
        exchange.say(said.encode() + (b"" if is_head else body.encode()))

    return script


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """Return a certificate that nobody has signed but itself, and its key; both PEM."""
    written, key = folder / f"{name}.pem", folder / f"{name}.key"
    kind = "IP" if name[0].isdigit() else "DNS"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}"]
    files = ["-keyout", str(key), "-out", str(written)]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *names, *files], check=True, capture_output=True, timeout=60
    )
    return written, key


def tls_of(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context
