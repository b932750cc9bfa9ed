"""A part is a list of steps; each that is finished has a file, so that a part which was cut off goes on."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.findings import Finding

LIMIT = 460.0
"""Seconds of one run: eight minutes, less what it takes to begin and to end."""


NAMES = "steps"
"""The file that names every step of a part, so that a report can say what was not run."""


class NotFinishedError(Exception):
    """A step has kept what it has so far, and needs another run. ``findings``: what can be said already."""

    def __init__(self, why: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(why)
        self.findings = tuple(findings)


@dataclass(frozen=True, slots=True)
class Scene:
    """Where something was measured. ``is_rehearsal``: no figure in it is one of a GPU."""

    device: str
    driver: str
    torch: str
    is_rehearsal: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step brings: lines of the table, and what they rest on."""

    findings: Sequence[Finding]
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """``seconds``: what it may take; it is not begun where less is left. ``run`` is told what is left."""

    name: str
    seconds: float
    run: Callable[[float], Measured]


@dataclass(frozen=True, slots=True)
class Record:
    """A finished step, as its file has it. ``at``: unix seconds when it began; ``seconds``: what it took."""

    step: str
    command: str
    at: float
    seconds: float
    scene: Scene
    findings: tuple[Finding, ...]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a step in this run. ``why``: of one that has no record, what is in the way."""

    step: str
    findings: tuple[Finding, ...]
    why: str = ""
    has_failed: bool = False
    was_done: bool = False  # by an earlier run


def go_through(
    steps: Sequence[Step],
    folder: Path,
    scene: Scene,
    command: str,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    limit: float = LIMIT,
) -> list[Told]:
    """Run what has no record yet and fits into ``limit`` seconds; return what is known of every step.

    A step that fails is told and leaves no record: the next run tries it again. Errors: OSError where
    ``folder`` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAMES).write_text("".join(f"{step.name}\n" for step in steps), encoding="utf-8")
    until = clock() + limit
    told: list[Told] = []
    for step in steps:
        record = find(folder, step.name, scene)
        left = until - clock()
        if record is not None:
            told.append(Told(step.name, record.findings, was_done=True))
        elif step.seconds > left:
            told.append(
                Told(step.name, (), f"needs {step.seconds:.0f} s and {max(0.0, left):.0f} s are left")
            )
        else:
            say(f"{step.name}: up to {step.seconds:.0f} s")
            told.append(_run(step, left, folder, scene, command, clock))
    return told


def _run(
    step: Step, left: float, folder: Path, scene: Scene, command: str, clock: Callable[[], float]
) -> Told:
    at, began = time.time(), clock()
    try:
        measured = step.run(left)
    except NotFinishedError as error:
        return Told(step.name, error.findings, str(error))
    except Exception as error:  # one that fails must not cost those that follow, with the GPU at hand
        return Told(step.name, (), f"{type(error).__name__}: {error}", has_failed=True)
    findings = tuple(measured.findings)
    write(folder, Record(step.name, command, at, clock() - began, scene, findings, measured.raw))
    return Told(step.name, findings)


def path_of(folder: Path, step: str) -> Path:
    return folder / f"{step}.json"


def write(folder: Path, record: Record) -> None:
    """Write the record whole or not at all."""
    path = path_of(folder, record.step)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def find(folder: Path, step: str, scene: Scene) -> Record | None:
    """Return the record of a step in this very scene; None: there is none, or it cannot be read."""
    record = read(path_of(folder, step))
    return record if record is not None and record.scene == scene else None


def read(path: Path) -> Record | None:
    """Return the record in ``path``; None: there is none that can be read."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        given["scene"] = Scene(**given["scene"])
        given["findings"] = tuple(Finding(**each) for each in given["findings"])
        return Record(**given)
    except (OSError, ValueError, KeyError, TypeError):
        return None
