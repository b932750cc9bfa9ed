"""GPU memory by control group, as the kernel's dmem controller counts it (Linux 6.14 and later).

One file read names containers and units without a pid and without the driver's lock.
Formats: Documentation/admin-guide/cgroup-v2.rst, section DMEM, for dmem.current; the region name
``nvidia/PCI/vidmem`` from NVIDIA's documentation of MPS memory partitioning. Composed from these
documents: not seen on hardware.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vramwatch.core.units import Bytes
from vramwatch.procfs.cgroups import Placement, place
from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.texts import printable

_CURRENT = "dmem.current"
_FILE_LIMIT = 1 << 14  # a line of about 40 bytes a device
_GROUPS_LIMIT = 4096  # a busy node has some hundred

_LINE = re.compile(
    r"nvidia/(?P<domain>[0-9a-fA-F]{1,8}):(?P<bus>[0-9a-fA-F]{2}):(?P<device>[0-9a-fA-F]{2})"
    r"\.(?P<function>[0-7])/vidmem (?P<bytes>\d{1,20})"
)


@dataclass(frozen=True, slots=True)
class GroupMemory:
    """What the processes of one control group and of all below it hold of one GPU."""

    used: Bytes
    placement: Placement  # the unit, container, pod or job that the path names


@dataclass(frozen=True, slots=True)
class GroupMemories:
    """PCI address -> path of the control group -> its memory; empty where the controller is not there.

    Addresses are written as in ``Gpu.pci``: 00000000:65:00.0. A group's bytes contain those of the
    groups below it, so the values of one GPU are not to be added up. Groups without bytes are left out.
    """

    by_gpu: Mapping[str, Mapping[str, GroupMemory]]
    is_complete: bool  # False: more groups than are looked at


def counts_gpu_memory(root: Path) -> bool:
    """Return whether the kernel has the controller and ``root``, a mount of cgroup v2, offers it."""
    return b"dmem" in (read_bounded(str(root / "cgroup.controllers"), _FILE_LIMIT) or b"").split()


def read_group_memory(root: Path = Path("/sys/fs/cgroup")) -> GroupMemories:
    """Return the GPU memory of every control group below ``root``, the mount of cgroup v2."""
    found: dict[str, dict[str, GroupMemory]] = {}
    is_complete = True
    waiting = ["/"]
    looked_at = 0
    while waiting:
        path = waiting.pop()
        looked_at += 1
        if looked_at > _GROUPS_LIMIT:
            is_complete = False
            break
        current = read_bounded(f"{root}{path}/{_CURRENT}", _FILE_LIMIT)
        if current is None and path != "/":
            continue  # the controller is not enabled here, hence nowhere below
        for gpu, used in _parse_current(current or b"").items():
            shown = printable(os.fsencode(path))
            found.setdefault(gpu, {})[shown] = GroupMemory(used, place(shown))
        waiting += _children(root, path)
    return GroupMemories(found, is_complete)


def _parse_current(raw: bytes) -> dict[str, Bytes]:
    """Return PCI address -> bytes of every GPU of NVIDIA of which something is held."""
    held: dict[str, Bytes] = {}
    for line in raw.decode("ascii", "replace").splitlines():
        if (match := _LINE.fullmatch(line)) and int(match["bytes"]):
            domain, bus, device = (int(match[part], 16) for part in ("domain", "bus", "device"))
            held[f"{domain:08X}:{bus:02X}:{device:02X}.{match['function']}"] = Bytes(int(match["bytes"]))
    return held


def _children(root: Path, path: str) -> list[str]:
    parent = path.rstrip("/")
    try:
        with os.scandir(f"{root}{path}") as entries:
            folders = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            return [f"{parent}/{name}" for name in islice(folders, _GROUPS_LIMIT)]
    except OSError:
        return []
