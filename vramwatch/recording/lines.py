"""A file's lines, in bounded memory, each with its number."""

import zlib
from collections.abc import Iterator
from typing import Protocol

from vramwatch.recording.row import MalformedError

BLOCK = 64 * 1024  # bytes read at a time; a line is shorter than this
_BOM = b"\xef\xbb\xbf"


class Readable(Protocol):
    """An open binary file: whole, packed, or a pipe."""

    def read(self, size: int, /) -> bytes: ...


def lines(file: str, stream: Readable) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line of ``stream`` that is not empty.

    Errors: MalformedError for what is not UTF-8, not intact gzip, or longer than a line may be.
    """
    line = 0
    for block in _blocks(file, stream):
        try:
            texts = block.decode("utf-8").replace("\r\n", "\n").split("\n")
        except UnicodeDecodeError as error:
            at = line + 1 + block.count(b"\n", 0, error.start)
            raise MalformedError(file, at, "not UTF-8 text; write the file as UTF-8") from error
        for place, text in enumerate(texts, line + 1):
            if text:
                yield place, text
        line += len(texts)


def _blocks(file: str, stream: Readable) -> Iterator[bytes]:
    """Yield ``stream`` in blocks of whole lines, without the last line break."""
    rest = b""
    line = 1
    try:
        while block := stream.read(BLOCK):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield whole.removeprefix(_BOM) if line == 1 else whole
                line += whole.count(b"\n") + 1
            if len(rest) > BLOCK:
                raise MalformedError(file, line, f"a line of more than {BLOCK} bytes; this is no recording")
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedError(file, line, f"cannot be read on: {error}") from error
    if rest:
        yield rest.removeprefix(_BOM) if line == 1 else rest
