"""Which form a recording has, by its header, and its rows."""

import csv
from collections.abc import Iterator
from datetime import tzinfo

from vramwatch.recording.long_form import REQUIRED, LongForm
from vramwatch.recording.nvidia_smi import GPU_LOG, AppsLog, GpuLog, is_apps_log, is_log
from vramwatch.recording.row import MalformedError, Row, Said

Parser = LongForm | GpuLog | AppsLog

MOST_KNOWN = 16_384
"""Texts of lines, without their times, of which it is known what they say: a bound on memory."""


def rows(file: str, lines: Iterator[tuple[int, str]], zone: tzinfo | None) -> Iterator[Row]:
    """Yield what each of ``lines`` (number, text) says; ``file`` is its name in errors. CSV as of RFC 4180.

    ``zone`` is that of nvidia-smi's stamps, None: the zone of this machine. A header that stands again
    in the middle, as where two logs were joined, is passed over. A line that says what another said
    before, at another time, is not read again. Errors: MalformedError at the first line that is neither.
    """
    line, text = next(lines, (1, ""))
    known: dict[str, Said] = {}
    stamp, time = "", 0.0
    try:
        header = _fields(text)
        parser = _parser(file, header, zone)
        for line, text in lines:
            when, _, rest = text.partition(",")
            is_plain = parser.time_place == 0 and '"' not in when
            said = known.get(rest) if is_plain else None
            if said is None:
                fields = _fields(text)
                if not fields or fields == header:
                    continue
                _check_width(fields, header)
                when = fields[parser.time_place]
            if when != stamp:
                stamp, time = when, parser.time(when.strip())
            if said is None:
                said = parser.said(fields)
                if is_plain:
                    _remember(known, rest, said)
            yield Row(file, line, time, said)
    except ValueError as error:
        raise MalformedError(file, line, str(error)) from error


def _fields(text: str) -> list[str]:
    """Return the fields of a line; none where it is empty. Errors: ValueError for what is not CSV."""
    if text and '"' not in text and "\r" not in text:
        return [field.lstrip(" ") for field in text.split(",")] if " " in text else text.split(",")
    try:
        return next(csv.reader((text,), skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from error


def _remember(known: dict[str, Said], rest: str, said: Said) -> None:
    if len(known) >= MOST_KNOWN:
        known.clear()
    known[rest] = said


def _check_width(fields: list[str], header: list[str]) -> None:
    if len(fields) != len(header):
        raise ValueError(
            f"{len(fields)} fields under a header of {len(header)}: {','.join(fields)[:80]!r}; "
            "take the line out if it was cut off, or is no row"
        )


def _parser(file: str, header: list[str], zone: tzinfo | None) -> Parser:
    if not header:
        raise ValueError(f"the file is empty; its first line must be a header: {','.join(REQUIRED)}")
    if header[0][:1].isdigit():
        raise ValueError(
            f"the header is missing; the first line must be {','.join(REQUIRED)} or that of {GPU_LOG}"
        )
    if not is_log(header):
        return LongForm(file, header)
    return AppsLog(file, header, zone) if is_apps_log(header) else GpuLog(file, header, zone)
