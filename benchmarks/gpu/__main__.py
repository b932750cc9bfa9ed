"""Measure on a GPU what it alone can show; what is finished is not measured again.

    python -m benchmarks.gpu PART [--out DIR] [--dry]
    python -m benchmarks.gpu report [--out DIR]

Exit codes: 0 every step is finished; 1 some failed or are left, so run it again; 69 there is no GPU.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks.findings import Finding, show
from benchmarks.gpu import report
from benchmarks.gpu.rig import LackingError, NoGpuError, Rig, real, rehearsal
from benchmarks.gpu.steps import Told, go_through

PARTS = {
    "reading": "reading",
    "watcher": "watcher",
    "remedies": "remedies",
    "probe": "probe",
    "layers-1": "layers",
    "layers-2": "layers",
}
"""Part -> the file of this folder that has ``steps(part, rig, folder)``; in the order that costs least."""

NO_GPU = 69
"""EX_UNAVAILABLE of sysexits.h, as everywhere in vramwatch."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("part", choices=[*PARTS, "report"], help="what to measure; report: write it down")
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="where the files go")
    parser.add_argument("--dry", action="store_true", help="rehearse it without a GPU")
    asked = parser.parse_args(arguments)
    out = (asked.out / "rehearsal" if asked.dry else asked.out).resolve()
    if asked.part == "report":
        return report.main(out, list(PARTS))
    rig: AbstractContextManager[Rig] = rehearsal() if asked.dry else real()
    try:
        with rig as here:
            return _run(asked.part, here, out, asked.dry)
    except NoGpuError as error:
        print(
            f"make gpu needs an NVIDIA GPU, and {error}; DRY=1 rehearses every step without one",
            file=sys.stderr,
        )
        return NO_GPU
    except LackingError as error:
        print(error, file=sys.stderr)
        return 1


def _run(part: str, rig: Rig, out: Path, dry: bool) -> int:
    folder = out / part
    folder.mkdir(parents=True, exist_ok=True)
    steps = importlib.import_module(f"benchmarks.gpu.{PARTS[part]}").steps(part, rig, folder)
    command = f"make gpu PART={part}" + (" DRY=1" if dry else "")
    told = go_through(
        steps, folder, rig.scene, command, lambda what: print(what, file=sys.stderr, flush=True)
    )
    where = rig.scene
    print(f"{part}: {where.device}, driver {where.driver}, torch {where.torch}; files in {folder}")
    if rig.is_rehearsal:
        print("A rehearsal: it shows that every step runs. No figure in it is one of a GPU.")
    show(rows(told))
    left = [each for each in told if each.why]
    if left:
        print(f"{len(left)} of {len(told)} steps are not finished; run it again")
    return int(bool(left))


def rows(told: Sequence[Told]) -> list[Finding]:
    """Return the lines of the table, each under the name of its step."""
    found: list[Finding] = []
    for each in told:
        found += [
            Finding(f"{each.step}: {one.name}", one.measured, one.goal, one.reached) for one in each.findings
        ]
        if each.why:
            found.append(Finding(each.step, f"{'FAILED' if each.has_failed else 'left'}: {each.why}"))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
