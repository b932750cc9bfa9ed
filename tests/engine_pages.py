"""Pages as engines serve them, and programs that look like engines and serve them over real HTTP."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until

PAGES = Path(__file__).parent / "fixtures" / "engine_pages"

_SERVER = """
import http.server, os, subprocess, sys
pages, port_file, child = sys.argv[-3:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            body = open(pages + self.path.replace("/", "_"), "rb").read()
        except OSError:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
inner = subprocess.Popen([child, "600"], executable="/bin/sleep") if child else None
open(port_file + ".new", "w").write(f"{server.server_port} {inner.pid if inner else os.getpid()}")
os.rename(port_file + ".new", port_file)
try:
    server.serve_forever()
finally:
    if inner: inner.kill()
"""


def page(name: str) -> str:
    return (PAGES / name).read_text()


@dataclass
class Server:
    """A running program. ``inner``: the process that would be on the GPU."""

    pid: int
    inner: int
    port: int
    folder: Path

    def serve(self, pages: Mapping[str, str]) -> None:
        """Serve ``pages`` (path -> text) from now on."""
        for path, text in pages.items():
            place = self.folder / f"pages{path.replace('/', '_')}"
            new = place.with_suffix(".new")
            new.write_text(text)
            new.replace(place)


@contextlib.contextmanager
def serving(
    folder: Path, program: str, *arguments: str, pages: Mapping[str, str], child: str = ""
) -> Iterator[Server]:
    """Run a program of that name; ``child``: what the process below it calls itself, which is on the GPU."""
    folder.mkdir(parents=True, exist_ok=True)
    script, port_file = folder / program, folder / "port"
    script.write_text(_SERVER)
    server = Server(0, 0, 0, folder)
    server.serve(pages)
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments, str(folder / "pages"), str(port_file), child],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        wait_until(port_file.exists, "the engine serves")
        port, inner = map(int, port_file.read_text().split())
        yield Server(process.pid, inner, port, folder)
    finally:
        if child and server.inner != process.pid and port_file.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(port_file.read_text().split()[1]), 9)
        process.kill()
        process.wait()
