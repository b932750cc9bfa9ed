"""Which form a recording has, by its header, and its rows."""

from collections.abc import Iterator
from datetime import tzinfo

from vramwatch.recording.long_form import REQUIRED, LongForm
from vramwatch.recording.nvidia_smi import GPU_LOG, AppsLog, GpuLog, is_apps_log, is_log
from vramwatch.recording.row import MalformedError, Row

Parser = LongForm | GpuLog | AppsLog


def rows(file: str, records: Iterator[tuple[int, list[str]]], zone: tzinfo | None) -> Iterator[Row]:
    """Yield what each of ``records`` (line number, fields) says; ``file`` is its name in errors.

    ``zone`` is that of nvidia-smi's stamps, None: the zone of this machine. A header that stands again
    in the middle, as where two logs were joined, is passed over.
    Errors: MalformedError at the first line that is neither.
    """
    line, header = next(records, (1, []))
    try:
        parser = _parser(file, header, zone)
        for line, fields in records:
            _check_width(fields, header)
            if fields != header:
                yield parser.row(line, fields)
    except ValueError as error:
        raise MalformedError(file, line, str(error)) from error


def _check_width(fields: list[str], header: list[str]) -> None:
    if len(fields) != len(header):
        raise ValueError(f"{len(fields)} fields under a header of {len(header)}: {','.join(fields)[:80]!r}")


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
