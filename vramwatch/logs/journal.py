"""Follows the journal of units through ``journalctl --follow``, a child that is replaced when it ends."""

import contextlib
import logging
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from vramwatch.core.oom_lines import TRIGGERS, parse
from vramwatch.core.oom_sightings import Sighting
from vramwatch.logs.formats import journal_entry
from vramwatch.logs.lines import Lines

CHUNK = 65536
"""Bytes read at once: what a pipe holds. When lines come faster than they are read, journalctl waits."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a journalctl that ended is replaced: doubled each time, until one has lived for a while."""

LOOK_AGAIN = 300.0
"""Seconds after which a journalctl that was given a glob is replaced: it looks only at its start which
units a glob means. The new one goes on where the old one stopped."""

LINES_MOST = 1000
"""Lines a second that are made sense of; more, as one might log to keep the daemon busy, are passed over."""

END_WAIT = 2.0
"""Seconds that a journalctl has to end when it is told to."""

_UNPRINTABLE = (b'"MESSAGE":[', b'"MESSAGE" : [')  # a message with colours; written as numbers
_CURSOR = re.compile(rb'"__CURSOR" ?: ?"([0-9a-z;=]{1,300})"')  # sd_journal_get_cursor(3)
_GLOB = re.compile(r"[*?\[]")

logger = logging.getLogger("vramwatch.logs")


def command(units: Sequence[str], cursor: str | None = None, since: int | None = None) -> list[str]:
    """Return the command that follows ``units``: from after ``cursor``, else from the unix second ``since``,
    else from now on."""
    start = ["--lines=0"]
    if cursor is not None:
        start = ["--no-tail", f"--after-cursor={cursor}"]
    elif since is not None:
        start = ["--no-tail", f"--since=@{since}"]
    return [
        "journalctl",
        "--follow",
        "--quiet",
        "--no-pager",
        "--output=json",
        "--output-fields=MESSAGE,_PID,_SYSTEMD_UNIT",
        *start,
        *(f"--unit={unit}" for unit in units),
    ]


def next_pause(pause: float, lived: float) -> float:
    """Return how long to wait after a journalctl that ``lived`` so long, ``pause`` being the last wait."""
    return FIRST_PAUSE if lived >= LONGEST_PAUSE else min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)


class Journal:
    """The journal of ``units``, globs of unit names. ``run`` belongs on a thread of its own."""

    def __init__(
        self,
        units: Sequence[str],
        hand_over: Callable[[Sighting], None],
        *,
        pause: Callable[[float], object] | None = None,
        look_again: float = LOOK_AGAIN,
    ) -> None:
        """``hand_over`` must not wait. ``pause`` waits so many seconds, or until ``close``."""
        self._units = units
        self._hand_over = hand_over
        self._closed = threading.Event()
        self._pause = pause or self._closed.wait
        self._lifetime = look_again if any(_GLOB.search(unit) for unit in units) else None
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._cursor: str | None = None  # of the last entry that was read
        self._since: int | None = None  # unix second of the first start, or in which something came last
        self._told: str | None = None

    def run(self) -> None:
        """Follow until ``close`` is called; whatever becomes of journalctl, it is tried again."""
        pause = 0.0
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                is_due = self._follow()
            except OSError as error:
                is_due = False
                self._tell(f"journalctl cannot be run: {error.strerror}; install it, or empty logs.units")
            if is_due:
                continue
            pause = next_pause(pause, time.monotonic() - began)
            self._pause(pause)

    def close(self) -> None:
        """End the child and have ``run`` return. From any thread, and more than once."""
        self._closed.set()
        with self._lock:
            if self._child is not None:
                self._child.terminate()

    def _follow(self) -> bool:
        """Read from one journalctl until it ends; return whether it was ended to be replaced at once."""
        with self._lock:
            if self._closed.is_set():
                return True
            child = self._child = _start(command(self._units, self._cursor, self._since))
            self._since = self._since or int(time.time())
        timer = threading.Timer(self._lifetime, child.terminate) if self._lifetime else None
        began = time.monotonic()
        try:
            if timer:
                timer.daemon = True
                timer.start()
            has_come = self._read(child)
        finally:
            if timer:
                timer.cancel()
            with self._lock:
                self._child = None
            status = _end(child)
        if self._closed.is_set() or (self._lifetime and time.monotonic() - began >= self._lifetime):
            return True
        if not has_come:
            self._cursor = None  # journalctl may have refused it
        self._tell(
            f"journalctl ended with status {status}; it is started again. No unit of logs.units may have "
            "logged yet, or the daemon's user may not read the journal (group systemd-journal)"
        )
        return False

    def _read(self, child: subprocess.Popen[bytes]) -> bool:
        """Read until ``child`` closes its output; return whether anything has come."""
        has_come, second, looked_at = False, 0.0, 0
        lines = Lines((*TRIGGERS, *_UNPRINTABLE))
        output = child.stdout
        while output is not None and (chunk := os.read(output.fileno(), CHUNK)):
            has_come, self._since = True, int(time.time())
            second, looked_at = (
                (second, looked_at) if time.monotonic() < second + 1 else (time.monotonic(), 0)
            )
            for line in lines.feed(chunk):
                if looked_at < LINES_MOST:
                    self._look_at(line)
                looked_at += 1
            self._cursor = _last_cursor(chunk) or self._cursor
        return has_come

    def _look_at(self, line: bytes) -> None:
        entry = journal_entry(line)
        if entry is None or not any(fnmatchcase(entry.unit, unit) for unit in self._units):
            return  # journalctl also shows what others say about a unit
        report = parse(entry.message)
        if report:
            self._hand_over(Sighting(report, unit=entry.unit, pid=entry.pid))

    def _tell(self, what: str) -> None:
        """Log each thing that is wrong once, until another one is."""
        if what != self._told:
            self._told = what
            logger.warning("%s", what)


def _last_cursor(chunk: bytes) -> str | None:
    """Return the cursor of the last entry of ``chunk`` that is whole, None if it cannot be seen."""
    whole = chunk[: chunk.rfind(b"\n") + 1]
    found = _CURSOR.search(whole, max(0, whole.rfind(b'"__CURSOR"')))
    return found[1].decode("ascii") if found else None


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what it says might quote a line
        bufsize=0,
        cwd="/",
        env=kept | {"LC_ALL": "C"},
        start_new_session=True,
    )


def _end(child: subprocess.Popen[bytes]) -> int:
    """End ``child`` and return its exit status, negative for a signal."""
    with child:  # closes the pipe and waits
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(END_WAIT)
        child.kill()
        return child.wait()
