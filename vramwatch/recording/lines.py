"""A file's lines as fields, in bounded memory, each with its number."""

import csv
import zlib
from collections.abc import Iterator
from typing import Protocol

from vramwatch.recording.row import MalformedError

BLOCK = 64 * 1024  # bytes read at a time; a line is shorter than this
_BOM = b"\xef\xbb\xbf"


class Readable(Protocol):
    """An open binary file: whole, packed, or a pipe."""

    def read(self, size: int, /) -> bytes: ...


def records(file: str, stream: Readable) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of every line of ``stream`` that is not empty. CSV as of RFC 4180.

    Errors: MalformedError for what is not UTF-8, not CSV, not intact gzip, or longer than a line may be.
    """
    line = 0
    for block in _blocks(file, stream):
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            at = line + 1 + block.count(b"\n", 0, error.start)
            raise MalformedError(file, at, "not UTF-8 text; write the file as UTF-8") from error
        reader = csv.reader(lines, skipinitialspace=True, strict=True)
        try:
            for fields in reader:
                if fields:
                    yield line + reader.line_num, fields
        except csv.Error as error:
            raise MalformedError(file, line + reader.line_num, f"not CSV: {error}") from error
        line += len(lines)


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
