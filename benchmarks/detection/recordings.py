"""Recordings as files: the long-form CSV that ``vramwatch replay`` reads."""

import csv
import gzip
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

MIB = 1024**2
BLIND = 12  # characters of a file name
COLUMNS = (
    "time",
    "gpu",
    "pid",
    "used_bytes",
    "total_bytes",
    "utilization",
    "process_start",
    "owner",
    "event",
    "torch_reserved_bytes",
    "torch_allocated_bytes",
    "engine_kv_bytes",
    "requests_total",
    "requests_running",
    "requests_waiting",
)


class Row(NamedTuple):
    """One line; the fields are those of the file, in its order. None is written as nothing."""

    time: float
    gpu: str
    pid: int | None = None
    used: int | None = None
    total: int | None = None
    utilization: float | None = None
    process_start: float | None = None
    owner: str | None = None
    event: str | None = None
    torch_reserved: int | None = None
    torch_allocated: int | None = None
    engine_kv: int | None = None
    requests_total: int | None = None
    requests_running: int | None = None
    requests_waiting: int | None = None


class Sample(NamedTuple):
    """A whole Gpu at one time, as it stands in a recording. ``utilization`` None: not known."""

    time: float
    gpu: str
    used: int
    total: int
    utilization: float | None


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write ``rows`` to ``path``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def blind(directory: Path, name: str) -> Path:
    """Return where the recording called ``name`` lies: its file tells a program nothing of its truth."""
    return directory / f"{hashlib.sha256(name.encode()).hexdigest()[:BLIND]}.csv"


def samples(path: Path) -> Iterator[Sample]:
    """Yield the figures of whole Gpus in a recording (.csv or .csv.gz), in its order.

    Rows of processes and of gaps are passed over. Errors: KeyError where a required column is missing,
    ValueError for a field that is no number.
    """
    with _opened(path) as file:
        reader = csv.reader(file)
        header = next(reader)
        places = {name: header.index(name) for name in header}
        time, gpu, pid, used, total = (
            places[name] for name in ("time", "gpu", "pid", "used_bytes", "total_bytes")
        )
        duty = places.get("utilization")
        for fields in reader:
            if fields[pid] or not fields[used]:
                continue
            told = fields[duty] if duty is not None else ""
            yield Sample(
                float(fields[time]),
                fields[gpu],
                int(fields[used]),
                int(fields[total]),
                float(told) if told else None,
            )


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
