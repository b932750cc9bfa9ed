"""Runs that are kept, to be compared with later ones: one JSON file each in the user's state directory."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vramwatch.core.errors import UsageError, VramwatchError
from vramwatch.probe.findings import fault_names
from vramwatch.probe.results import Result, read, to_json

FOLDER = "probes"
FORM = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Kept:
    """``id``: when it was made, in UTC. ``results``: by variant, without their samples in a file.

    ``faults``: names of those of its first result, which a file states for they show in samples; None: it
    is to be seen in the result.
    """

    id: str
    made: float  # unix seconds
    results: Mapping[str, Result]
    faults: tuple[str, ...] | None = None

    @property
    def first(self) -> Result:
        return next(iter(self.results.values()))


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where runs are kept. Source: XDG Base Directory Specification, XDG_STATE_HOME."""
    given = Path(environment.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return state / "vramwatch" / FOLDER


def id_of(made: float) -> str:
    """Return the id of a run that was made then (unix seconds)."""
    return datetime.fromtimestamp(made, UTC).strftime(FORM)


def keep(results: Mapping[str, Result], made: float, where: Path) -> str:
    """Store the results of one call, and return their id. Errors: VramwatchError."""
    name = id_of(made)
    told = {variant: to_json(replace(result, samples=())) for variant, result in results.items()}
    path = where / f"{name}.json"
    while path.exists():  # two in one second
        name += "+"
        path = where / f"{name}.json"
    try:
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        written = {"made": made, "faults": fault_names(next(iter(results.values()))), "results": told}
        temporary.write_text(json.dumps(written), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise VramwatchError(f"{path}: the run cannot be kept ({error.strerror})") from error
    return name


def all_kept(where: Path) -> list[Kept]:
    """Return what is kept, oldest first; files that are none of ours are passed over."""
    found = []
    for path in sorted(where.glob("*.json")):
        try:
            found.append(_kept(path))
        except (ValueError, KeyError, TypeError, UsageError):
            continue
    return found


def _kept(path: Path) -> Kept:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    results = {variant: read(each) for variant, each in found["results"].items()}
    if not results:
        raise ValueError("no results")
    named = found.get("faults")
    faults = None if named is None else tuple(map(str, named))
    return Kept(path.stem, float(found["made"]), results, faults)
