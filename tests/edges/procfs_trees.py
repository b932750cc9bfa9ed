"""Lays out the recorded and composed /proc trees of tests/fixtures/proc for one test."""

import shutil
from pathlib import Path

from vramwatch.core.model import Instant

TREES = Path(__file__).parent.parent / "fixtures" / "proc"


def lay_out(name: str, folder: Path) -> Path:
    """Copy the tree ``name`` below ``folder``, add its symbolic links and return where it lies.

    It holds ``proc`` and, where the tree has them, ``host`` and ``cgroup``.
    """
    tree = folder / name
    shutil.copytree(TREES / name, tree)
    links = tree / "links"
    for line in links.read_text().splitlines() if links.exists() else ():
        path, target = line.split(" -> ")
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)
    return tree


def restate(tree: Path, pid: int, **changes: str) -> None:
    """Change fields of ``pid``'s stat: ``name``, ``state``, ``start_ticks``, ``minor_faults``."""
    path = tree / "proc" / str(pid) / "stat"
    head, _, rest = path.read_text().rpartition(") ")
    fields = rest.split()
    for field, value in changes.items():
        if field == "name":
            head = f"{pid} ({value}"
        else:
            fields[{"state": 0, "minor_faults": 7, "start_ticks": 19}[field]] = value
    path.write_text(f"{head}) {' '.join(fields)}\n")


def at(boottime: float) -> Instant:
    return Instant(seq=int(boottime * 1000), wall=1.8e9 + boottime, boottime=boottime, boot_id="boot")
