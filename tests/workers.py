"""A worker reduced to its messages: says what it is told to, over the real socket."""

import contextlib
import os
import signal
import socket
import subprocess
import sys

from tests.waiting import PATIENCE, wait_until
from vramwatch.sdk.wire import LIMIT, Hello, Message, Report, decode, encode

CONSENTING = Hello(
    sdk="test", name="chat", model="tiny", remedies=("ask", "signal:SIGURG"), clears=("gc", "empty_cache")
)


class Line:
    """One connection to the socket of workers."""

    def __init__(self, path, *, connect=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        if connect:
            self.connect(path)

    def connect(self, path):
        try:
            self.socket.connect(str(path))
        except OSError:
            self.close()
            raise

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
        self.say_raw(encode(hello))  # who is refused at once has still to read why
        return self.hear()


def until_enrolled(reception, pid):
    """Wait until a process ``pid`` has enrolled; return its key."""
    return wait_until(lambda: next((key for key in reception.enrolled() if key.pid == pid), None), "enrolled")


class Other:
    """A process of its own that enrols and then does what it is told, one word a line.

    ``before``: what it is started through.
    """

    def __init__(self, path, *words, before=(), **options):
        self.process = subprocess.Popen(
            [*before, sys.executable, __file__, str(path), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            **options,
        )
        self.answer()  # it stands

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def wait(self):
        return self.process.wait(PATIENCE)

    def say(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def ask(self, words):
        self.say(words)
        return self.answer()

    def answer(self):
        return int(self.process.stdout.readline())


def say(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def act(path, words):
    """Be the process: connect, do ``words``, then what comes on stdin; answer each with a number."""
    line = Line(path)
    caught = []
    if "handle" in words:
        signal.signal(signal.SIGURG, lambda *_: caught.append(1))
    if "enrol" in words:
        line.enrol()
    say(0)
    for told in sys.stdin:
        match told.strip():
            case "pid":
                say(os.getpid())
            case "caught":
                say(len(caught))
            case "ignore":
                signal.signal(signal.SIGURG, signal.SIG_DFL)
                say(0)
            case "exec":
                os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
            case "fork" | "fork and report" as what:
                child = os.fork()
                if not child:
                    if what != "fork":
                        line.say(Report(1))
                    signal.pause()
                say(child)
            case "become nobody":
                os.setresuid(65534, 65534, 65534)
                say(0)


if __name__ == "__main__":
    act(sys.argv[1], sys.argv[2:])
