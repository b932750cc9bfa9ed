"""The reader: a process of its own that alone maps the driver's library.

Started by driver.process with the slot's descriptor and the parent's pid. Reads requests from standard
input and answers on standard output until the input ends, then lets go of the GPUs.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import BinaryIO, NoReturn

from vramwatch.driver.calls import Driver, DriverError
from vramwatch.driver.reader import Reader
from vramwatch.driver.wire import MESSAGE_MOST, Farewell, Message, Ready, Request, Slot, decode, encode

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(slot_fd: int, parent_pid: int) -> None:
    """Serve until standard input ends or SIGTERM comes; a call in flight is finished first."""
    _die_with(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    signal.signal(signal.SIGTERM, _end)
    requests, answers = sys.stdin.buffer, _take_standard_output()
    try:
        reader = Reader(Driver(Slot(slot_fd)), _next(requests).without)
    except DriverError as error:
        _send(answers, Farewell(error.fault()))
        return
    try:
        _send(answers, Ready())
        while True:
            _send(answers, reader.answer(_next(requests)))
    except DriverError as error:
        _send(answers, Farewell(error.fault()))
    finally:
        with suppress(DriverError):  # a driver that has gone has already let go
            reader.close()


def _next(requests: BinaryIO) -> Request:
    line = requests.readline(MESSAGE_MOST)
    if not line:
        sys.exit()
    return Request(*decode(line))


def _send(answers: BinaryIO, message: Message) -> None:
    answers.write(encode(message))
    answers.flush()


def _take_standard_output() -> BinaryIO:
    """Return what was standard output; what the library prints there goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _die_with(parent_pid: int) -> None:
    """Have the kernel end this process when its parent ends, even inside a call that hangs."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit()


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit()
