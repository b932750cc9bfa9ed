"""A real HTTP receiver on loopback that keeps what it is told and answers as it is told to."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 20.0


@dataclass(frozen=True)
class Request:
    at: float  # seconds that do not step
    method: str
    path: str
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # who tells may be killed meanwhile
            super().handle_error(request, client_address)


class Listener:
    """``answer``: (status, headers, body) of every answer from now on."""

    def __init__(self):
        self.answer = (200, {}, b"")
        self.got = []
        self._changed = threading.Condition()
        self._server = Server(("127.0.0.1", 0), self._handler())
        self.netloc = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.netloc}"

    def wait_for(self, count):
        """Return the first ``count`` requests once there are as many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, PATIENCE), self.got
            return self.got[:count]

    def _handler(self):
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, answer = listener.answer
                with listener._changed:
                    told = Request(time.monotonic(), self.command, self.path, dict(self.headers), body)
                    listener.got.append(told)
                    listener._changed.notify_all()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_POST

            def log_message(self, *_):
                pass

        return Handler

    def run(self):
        self._server.serve_forever(poll_interval=0.05)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def listening():
    listener = Listener()
    threading.Thread(target=listener.run, daemon=True).start()
    try:
        yield listener
    finally:
        listener.close()


def until(holds, patience=PATIENCE, every=0.01):
    """Wait until ``holds()`` is true, and return what it returned; for what other threads do."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(every)
    return found
