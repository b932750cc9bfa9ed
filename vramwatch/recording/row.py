"""One line of a recording, whatever form it came in, and how its fields are read."""

from math import isfinite
from typing import NamedTuple

from vramwatch.core.errors import UsageError

LATEST_TIME = 1e11  # unix seconds in the year 5138; a larger number counts milliseconds
LARGEST_NUMBER = 2**53  # what a CSV written through floats still holds exactly
LONGEST_TEXT = 200  # characters of a name: a UUID, an owner, a reason

GAP, EXIT, RESTART, OOM = "gap", "exit", "restart", "oom"
EVENTS = "gap:REASON, exit, restart or oom"


class MalformedError(UsageError):
    """A line that cannot be read: ``file:line: reason``."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")


class Said(NamedTuple):
    """What a line says beside its time, of a Gpu (``pid`` None) or of one process on it.

    Bytes, unix seconds. Lines that say the same may share it.
    """

    gpu: str  # empty: a gap of everything
    pid: int | None = None
    used: int | None = None
    total: int | None = None
    reserved: int = 0
    utilization: float | None = None
    started: float | None = None
    owner: str = ""
    event: str = ""
    reason: str = ""  # of a gap
    gauges: tuple[tuple[str, float], ...] = ()
    program: str = ""
    ordinal: str = ""
    device: str = ""


class Row(NamedTuple):
    """One line: where it stands, at what time (unix seconds), and what it says then."""

    file: str
    line: int
    time: float
    said: Said

    def malformed(self, reason: str) -> MalformedError:
        """Return the error that places ``reason`` at this row."""
        return MalformedError(self.file, self.line, reason)


def read_count(column: str, text: str) -> int:
    """Return the whole number in ``text``; "123.0", as data frames write it, is one too.

    Errors: ValueError, naming ``column``.
    """
    if text.isdecimal() and len(text) < len(str(LARGEST_NUMBER)):
        return int(text)
    value = read_number(column, text)
    if not value.is_integer():
        raise ValueError(f"{column} is {text!r}; write a whole number")
    return int(value)


def read_number(column: str, text: str) -> float:
    """Return the number in ``text``, 0 or more. Errors: ValueError, naming ``column``."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}; write a number, or nothing where it is not known") from None
    if not (isfinite(value) and 0 <= value <= LARGEST_NUMBER):
        raise ValueError(f"{column} is {text!r}; write a number from 0 to {LARGEST_NUMBER}")
    return value


def read_text(column: str, text: str) -> str:
    """Return ``text`` as a name. Errors: ValueError, naming ``column``."""
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise ValueError(f"{column} is no name; write at most {LONGEST_TEXT} printable characters")
    return text


def read_pid(text: str) -> int:
    """Return the pid in ``text``. Errors: ValueError."""
    pid = read_count("pid", text)
    if not 0 < pid < 2**31:
        raise ValueError(f"pid is {text!r}; write a process id, or nothing for the whole GPU")
    return pid
