"""Cuts a stream of bytes into lines and lets only those through that can mean something."""

from collections.abc import Iterator, Sequence

LINE_MOST = 65536
"""Bytes of one line of a log file: a message of 4 KiB as journalctl writes it byte by byte, a part of
16 KiB as Docker writes it as JSON. What is longer is left out."""


class Lines:
    """One stream. Holds at most ``LINE_MOST`` bytes between two calls, whatever comes."""

    def __init__(self, triggers: Sequence[bytes]) -> None:
        """Only lines with one of ``triggers`` are let through."""
        self._triggers = triggers
        self._rest = b""
        self._is_overlong = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that ``chunk`` completes, without their ends, in their order; maybe none."""
        end = chunk.rfind(b"\n") + 1
        if not end:
            self._keep(chunk)
            return
        whole, first = chunk[:end], chunk.find(b"\n") + 1
        if self._is_overlong:
            whole = whole[first:]
        elif self._rest:
            whole = self._rest + whole
        self._rest, self._is_overlong = b"", False
        self._keep(chunk[end:])
        yield from self._with_triggers(whole)

    def forget(self) -> None:
        """Drop what is incomplete: the stream goes on somewhere else."""
        self._rest, self._is_overlong = b"", True

    def start(self) -> None:
        """The stream begins anew, at the beginning of a line."""
        self._rest, self._is_overlong = b"", False

    def _keep(self, part: bytes) -> None:
        if not self._is_overlong:
            self._rest += part
        if len(self._rest) > LINE_MOST:
            self.forget()

    def _with_triggers(self, whole: bytes) -> Iterator[bytes]:
        """Search the block and not each line: a flood of lines without meaning costs one pass a trigger."""
        hits = {trigger: whole.find(trigger) for trigger in self._triggers}
        hits = {trigger: at for trigger, at in hits.items() if at >= 0}
        while hits:
            at = min(hits.values())
            begin, end = whole.rfind(b"\n", 0, at) + 1, whole.find(b"\n", at)
            if end - begin <= LINE_MOST:
                yield whole[begin:end]
            for trigger, hit in list(hits.items()):
                if hit < end:
                    hits[trigger] = whole.find(trigger, end)
                    if hits[trigger] < 0:
                        del hits[trigger]
