"""Runs that are kept, to be compared with later ones: one JSON file each in the user's state directory."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vramwatch.core.errors import UsageError, VramwatchError
from vramwatch.probe.results import Result, read, to_json

FOLDER = "probes"
FORM = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Kept:
    """``id``: when it was made, in UTC. ``results``: by variant, without their samples."""

    id: str
    made: float  # unix seconds
    results: Mapping[str, Result]

    @property
    def first(self) -> Result:
        return next(iter(self.results.values()))


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where runs are kept. Source: XDG Base Directory Specification, XDG_STATE_HOME."""
    given = Path(environment.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return state / "vramwatch" / FOLDER


def keep(results: Mapping[str, Result], made: float, where: Path) -> str:
    """Store the results of one call, and return their id. Errors: VramwatchError."""
    name = datetime.fromtimestamp(made, UTC).strftime(FORM)
    told = {variant: to_json(replace(result, samples=())) for variant, result in results.items()}
    path = where / f"{name}.json"
    while path.exists():  # two in one second
        name += "+"
        path = where / f"{name}.json"
    try:
        where.mkdir(mode=0o750, parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"made": made, "results": told}), encoding="utf-8")
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


def find(beginning: str, where: Path) -> Kept:
    """Return the run whose id begins so; "-1" is the newest, "-2" the one before. Errors: UsageError."""
    there = all_kept(where)
    if beginning.startswith("-") and beginning[1:].isdecimal() and 0 < int(beginning[1:]) <= len(there):
        return there[-int(beginning[1:])]
    matching = [each for each in there if each.id.startswith(beginning)]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(each.id for each in matching or there) or "none"
    raise UsageError(f"no one run {beginning!r} is kept in {where}; there are: {known}")


def _kept(path: Path) -> Kept:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    results = {variant: read(each) for variant, each in found["results"].items()}
    if not results:
        raise ValueError("no results")
    return Kept(path.stem, float(found["made"]), results)


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that two runs do not share. ``variant``: empty for the environment."""

    variant: str
    what: str
    before: str | float | None
    after: str | float | None


NOISE = 0.01
"""Of bytes: less is called the same, as allocators round."""

SLOWER = 1.5
"""Times as fast, or as slow, from which on two speeds differ."""


def changes(before: Kept, after: Kept) -> list[Change]:
    """Return what changed between two runs: libraries, what was asked, then each variant's figures."""
    old, new = before.first.environment, after.first.environment
    found = [
        Change("", name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    was, now = asdict(before.first.experiment), asdict(after.first.experiment)
    found += [Change("", name, str(was[name]), str(now[name])) for name in was if was[name] != now[name]]
    for variant in before.results.keys() & after.results.keys():
        found += _changed(variant, before.results[variant], after.results[variant])
    return found


def _changed(variant: str, old: Result, new: Result) -> list[Change]:
    if old.ended is not new.ended:
        return [Change(variant, "ended", str(old.ended), str(new.ended))]
    figures: Sequence[tuple[str, float | None, float | None, float]] = (
        ("peak", old.peak, new.peak, 1 + NOISE),
        ("weights", old.weights, new.weights, 1 + NOISE),
        ("KV", _kv(old), _kv(new), 1 + NOISE),
        ("after release", _held(old), _held(new), 1 + NOISE),
        ("tokens/s", old.tokens_per_second, new.tokens_per_second, SLOWER),
    )
    return [
        Change(variant, what, first, second)
        for what, first, second, least in figures
        if first is not None and second is not None and max(first, second) > least * min(first, second)
    ]


def _kv(result: Result) -> int | None:
    reading = result.at("generate")
    return None if reading is None else reading.kv_resident


def _held(result: Result) -> int | None:
    reading = result.at("release")
    return None if reading is None else reading.live
