"""Reads on at the end of one log file, through rotation and truncation, in bounded bites.

As ``tail --follow=name`` does: a file that another one has taken the place of is read to its end first;
one that has become shorter is read from its beginning. What was written between a look and a rotation
that deletes at once, and what is written into a shortened file beyond the old end, cannot be seen.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from vramwatch.logs.lines import Lines
from vramwatch.procfs.files import resolve_under

BITE = 1 << 18
"""Bytes read at once."""

LOOK_MOST = 16 << 20
"""Bytes of one file that one look reads."""

BEHIND_MOST = 64 << 20
"""Bytes that may wait unread; what is older is passed over, so that a flood is caught up with."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Tail:
    """One file ``relative`` to ``host``. Holds one descriptor and at most one line."""

    def __init__(self, host: Path, relative: str, triggers: Sequence[bytes], *, from_end: bool) -> None:
        """``from_end``: what stands in the file already is not read."""
        self._host = host
        self._relative = relative
        self._lines = Lines(triggers)
        self._file: int | None = None
        self._offset = 0
        self._skips = from_end
        self.passed_over = 0
        """Bytes that were not looked at because there were too many."""

    def look(self) -> Iterator[bytes]:
        """Yield the lines with a trigger that have come since the last look. Never raises OSError."""
        self._open()
        try:
            yield from self._read()
            if self._is_replaced():
                yield from self._read()
                self.close()
                self._skips = False
                self._open()
                yield from self._read()
        except OSError:
            self.close()

    def pass_over(self) -> None:
        """Leave out what waits unread, and go on at the end."""
        if self._file is not None:
            end = os.fstat(self._file).st_size
            self.passed_over += end - self._offset
            self._skip_to(end)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        path = resolve_under(self._host, self._relative) if self._file is None else None
        if path is None or path.name != Path(self._relative).name:  # a link: its target is found by itself
            return
        try:
            opened = os.open(path, _FLAGS)
        except OSError:
            return
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            return
        self._file, self._offset = opened, 0
        self._lines.start()
        if self._skips:
            self._skip_to(os.fstat(opened).st_size)
        self._skips = False

    def _read(self) -> Iterator[bytes]:
        if self._file is None:
            return
        size = os.fstat(self._file).st_size
        if size < self._offset:
            self._offset = 0
            self._lines.start()
        if size - self._offset > BEHIND_MOST:
            self.passed_over += size - LOOK_MOST - self._offset
            self._skip_to(size - LOOK_MOST)
        left = LOOK_MOST
        while left > 0 and (bite := os.pread(self._file, min(BITE, left), self._offset)):
            self._offset += len(bite)
            left -= len(bite)
            yield from self._lines.feed(bite)

    def _skip_to(self, offset: int) -> None:
        """Go on at ``offset``, with the next line that begins there or later."""
        before = os.pread(self._file, 1, offset - 1) if self._file is not None and offset else b"\n"
        self._offset = offset
        if before == b"\n":
            self._lines.start()
        else:
            self._lines.forget()

    def _is_replaced(self) -> bool:
        """Whether the name stands for another file by now. Not yet while it stands for none."""
        path = resolve_under(self._host, self._relative)
        if self._file is None or path is None:
            return False
        try:
            there, ours = path.stat(), os.fstat(self._file)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
