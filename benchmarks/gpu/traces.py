"""A recording in the long form that ``vramwatch replay`` reads, and beside it the truth of what was done."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vramwatch.recording.long_form import FACTS, GAUGES, REQUIRED

COLUMNS = (*REQUIRED, *FACTS, *GAUGES)


@dataclass(frozen=True, slots=True)
class Deed:
    """What one worker did, and when. Unix seconds. ``pid`` None: what was done to all of them."""

    at: float
    pid: int | None
    did: str


@dataclass(frozen=True, slots=True)
class Part:
    """One worker of a recording. ``cause``: what a detector must call its growth; None: it must be silent.

    ``steady``: unix seconds from which on nothing changes but what ``role`` says, to the end.
    ``listed``: whether the driver listed its pid; where it counts pids of another namespace it does not.
    """

    role: str
    pid: int
    owner: str
    cause: str | None
    words: str  # of the role: what it does
    environment: Mapping[str, str]
    steady: tuple[float, float]
    listed: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """The sidecar. ``purpose``: "judging" is never tuned on."""

    name: str
    purpose: str
    is_rehearsal: bool
    device: str
    driver: str
    torch: str
    interval_seconds: float
    parts: tuple[Part, ...]
    deeds: tuple[Deed, ...]


def write(folder: Path, truth: Truth, rows: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Write ``NAME.csv.gz`` and ``NAME.truth.json``; return their paths. An empty column is left out.

    The same rows give the same bytes: the archive holds no time.
    """
    used = [name for name in COLUMNS if name in REQUIRED or any(row.get(name, "") != "" for row in rows)]
    recording, sidecar = folder / f"{truth.name}.csv.gz", folder / f"{truth.name}.truth.json"
    with recording.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        lines = _Lines(packed)
        table = csv.DictWriter(lines, used, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    sidecar.write_text(json.dumps(asdict(truth), indent=1) + "\n", encoding="utf-8")
    return recording, sidecar


def read(sidecar: Path) -> Truth:
    """Return the truth in ``sidecar``. Errors: OSError, ValueError, KeyError, TypeError."""
    given = json.loads(sidecar.read_text(encoding="utf-8"))
    parts = tuple(Part(**{**each, "steady": tuple(each["steady"])}) for each in given.pop("parts"))
    deeds = tuple(Deed(**each) for each in given.pop("deeds"))
    return Truth(**given, parts=parts, deeds=deeds)


def judged(lines: Sequence[str]) -> dict[str, set[str]]:
    """Return the causes that fired for each owner ("": the GPU itself), from the lines of ``replay``."""
    found: dict[str, set[str]] = {}
    for line in lines:
        told = json.loads(line)
        if told.get("state") == "firing":
            owner = (told.get("subject") or {}).get("owner") or ""
            found.setdefault(owner.removeprefix("rule:"), set()).add(told["cause"])
    return found


class _Lines:
    """Text into a binary file."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def write(self, text: str) -> int:
        return self._packed.write(text.encode())
