"""One reader process as its parent holds it: two pipes, a slot, and signals. Never waits without a limit."""

import os
import select
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from signal import Signals

import vramwatch
from vramwatch.core.errors import VramwatchError
from vramwatch.core.units import Seconds
from vramwatch.driver.wire import MESSAGE_MOST, Calling, Message, Slot, decode, encode

BOOTSTRAP = (
    "import sys; sys.path += sys.argv[3:]; "
    "from vramwatch.driver.child import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)

CHUNK = 65536
"""Bytes read at once: what a pipe holds."""

EXIT_WAIT = Seconds(0.25)
"""How long the exit may lag behind the end of the answers."""


class Ended(Exception):
    """The process has closed its end."""


class Babble(Exception):
    """The process answered something that is no answer; the text says what."""


class ReaderProcess:
    """A started reader. Errors of the constructor: OSError, VramwatchError where pynvml is missing."""

    def __init__(self) -> None:
        slot = Slot.create()
        try:
            self._process = subprocess.Popen(
                _command(slot),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                pass_fds=(slot,),
                start_new_session=True,
            )
            self._slot = Slot(slot)
        finally:
            os.close(slot)
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("the reader's pipes are missing")
        self._requests, self._answers = self._process.stdin, self._process.stdout
        os.set_blocking(self._requests.fileno(), False)
        os.set_blocking(self._answers.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._received = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, message: Message) -> None:
        """Send ``message``. Errors: Ended."""
        try:
            self._requests.write(encode(message))
        except BrokenPipeError:
            raise Ended from None

    def answer(self, within: Seconds) -> Message | None:
        """Return the next message, None if it does not come ``within``. Errors: Ended, Babble."""
        until = time.monotonic() + within
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                try:
                    return decode(bytes(line))
                except (ValueError, RecursionError) as error:
                    raise Babble(f"something unreadable: {error}") from None
            if len(self._received) > MESSAGE_MOST:
                raise Babble(f"more than {MESSAGE_MOST} bytes")
            left = max(0.0, until - time.monotonic())
            if not self._poll.poll(left * 1000) and not left:
                return None
            self._receive()

    def _receive(self) -> None:
        try:
            chunk = os.read(self._answers.fileno(), CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            raise Ended
        self._received += chunk

    def calling(self) -> Calling | None:
        """Return the driver call that it is inside of, or was inside of when it ended."""
        return self._slot.calling(time.monotonic_ns())

    def signal(self, signal: Signals) -> None:
        self._process.send_signal(signal)

    def hang_up(self) -> None:
        """Tell it that no more will be asked: it lets go of the GPUs and ends."""
        self._requests.close()

    def wait(self, within: Seconds) -> int | None:
        """Return its exit status, negative for a signal, None if it still lives after ``within``."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """Give up the pipes and the slot; says nothing about the process."""
        self._requests.close()
        self._answers.close()
        self._slot.close()


def _command(slot: int) -> list[str]:
    """Return the command of a light start: no site packages but the two that are needed, no environment.

    Errors: VramwatchError.
    """
    pynvml = find_spec("pynvml")  # found, not imported: the parent never maps the driver's library
    if pynvml is None or pynvml.origin is None:
        raise VramwatchError("the package nvidia-ml-py is missing; install it with: pip install nvidia-ml-py")
    places = dict.fromkeys(str(Path(place).resolve().parent) for place in _files(pynvml.origin))
    return [sys.executable, "-I", "-S", "-c", BOOTSTRAP, str(slot), str(os.getpid()), *places]


def _files(pynvml: str) -> tuple[str, str]:
    return str(Path(vramwatch.__file__).parent), pynvml
