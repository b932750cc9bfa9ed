"""``vramwatch export``: a stretch of history as CSV, to be replayed or looked at elsewhere."""

import csv
import gzip
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from vramwatch.cli.asking import open_history
from vramwatch.cli.options import config_option, store_option
from vramwatch.cli.when import parse_span, show_when
from vramwatch.core.errors import VramwatchError
from vramwatch.core.units import show_bytes

if TYPE_CHECKING:
    from vramwatch.recording.export import Fields
    from vramwatch.store import History

LATE = 3600.0
"""Seconds after which the first sample tells that older ones are gone: they go by the hour."""

PRIVATE = 0o600
"""Who held what is no business of others on a shared machine."""


@dataclass(frozen=True, slots=True)
class Written:
    """So many rows, and the times of the first and the last, unix seconds; None: there was none."""

    rows: int
    first: float | None
    last: float | None


@click.command()
@click.option("--gpu", help="One GPU: its ordinal (0, 0:1), its UUID, or how that begins.")
@click.option("--owner", help="Processes of owners by key or name; * and ? stand for anything.")
@click.option("--since", default="1d", show_default=True, help="From when: 7d, 03:12, yesterday 03:12.")
@click.option("--until", default="now", show_default=True, help="Till when.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to: FILE.csv or FILE.csv.gz; default standard output.",
)
@config_option
@store_option
def command(
    gpu: str | None,
    owner: str | None,
    since: str,
    until: str,
    output: Path | None,
    config_path: Path | None,
    store_path: Path | None,
) -> None:
    """Write readings as CSV: whole GPUs and their processes, at the times at which they were read.

    `vramwatch run --source replay FILE --store NEW` turns it into a history again.
    """
    from vramwatch.cli.exporting import export_rows
    from vramwatch.cli.selection import pick_gpu

    span = parse_span(since, until, time.time(), None)
    history = open_history(config_path, store_path)
    uuid = pick_gpu(gpu, history.gpus()).uuid if gpu is not None else None
    rows = export_rows(history, uuid, owner, *span)
    if output is None:
        written = _write(sys.stdout, rows)
    else:
        with _created(output) as stream:
            written = _write(stream, rows)
        click.echo(f"vramwatch: {output}: {_written_words(written, output, time.time())}", err=True)
    if written.first is None:
        click.echo("vramwatch: no sample is kept of that time; see vramwatch history", err=True)
    elif written.first > _earliest(history, span[0]) + LATE:
        since = show_when(written.first, time.time(), None)
        click.echo(f"vramwatch: samples are kept from {since} on; before it, see vramwatch history", err=True)


def _earliest(history: "History", since: float) -> float:
    """Return when readings may begin: as asked, or with the store itself."""
    return max(since, min(history.span() or (since,)))


def _write(stream: TextIO, rows: "Iterator[Fields]") -> Written:
    """Write the header and ``rows``; return what was written."""
    from vramwatch.recording.export import HEADER

    table = csv.DictWriter(stream, HEADER, lineterminator="\n")
    table.writeheader()
    count, first, last = 0, None, None
    for row in rows:
        table.writerow(row)
        count, last = count + 1, row["time"]
        first = last if first is None else first
    return Written(count, *(None if each is None else float(each) for each in (first, last)))


def _written_words(written: Written, path: Path, now: float) -> str:
    """Return "6,848 rows, 06:21 to 07:21, 512 KiB"."""
    told = [f"{written.rows:,} row{'' if written.rows == 1 else 's'}"]
    if written.first is not None and written.last is not None:
        told.append(" to ".join(show_when(each, now, None) for each in (written.first, written.last)))
    return ", ".join([*told, show_bytes(path.stat().st_size)])


@contextmanager
def _created(path: Path) -> Iterator[TextIO]:
    """Open ``path`` for writing, packed if its name ends in .gz; it appears when it is whole.

    Errors: VramwatchError where it cannot be written.
    """
    half = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE)
        with os.fdopen(descriptor, "wb") as binary:
            packed = gzip.GzipFile(fileobj=binary, mode="wb") if path.suffix == ".gz" else binary
            with TextIOWrapper(packed, encoding="utf-8", newline="") as stream:
                yield stream
        half.replace(path)
    except OSError as error:
        raise VramwatchError(f"{path}: cannot be written: {error.strerror}; name another with -o") from error
    finally:
        half.unlink(missing_ok=True)
