"""What doctor looks at of the machine itself: driver, devices, kernel, clock, service, other monitors.

Each function reads below ``root``, so that a test has a machine of its own.
"""

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

from vramwatch.cli.findings import Finding, Grade
from vramwatch.cli.installing import UNIT
from vramwatch.cli.systemctl import is_booted, show
from vramwatch.driver.survey import GpuModes, Survey
from vramwatch.procfs import counts_gpu_memory

DEAR = 0.05
"""Seconds: a driver call that takes longer makes polls rarer, for vramwatch keeps to its share of time."""

MONITORS = {
    "dcgm-exporter": "dcgm-exporter",
    "nv-hostengine": "DCGM",
    "nvidia_gpu_expo": "nvidia_gpu_exporter",
    "nvitop": "nvitop",
    "nvitop-exporter": "nvitop-exporter",
    "gpustat": "gpustat",
    "nvtop": "nvtop",
    "all-smi": "all-smi",
    "gpud": "gpud",
    "gpu-watchman": "GPU Watchman",
    "netdata": "Netdata",
}
"""Name of a process as /proc/PID/comm has it, at most 15 characters -> what it is."""

UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2): the kernel's clock is kept by nobody."""

_TIMEX_SIZE = 256
"""Bytes, more than struct timex has on any machine; all zero asks and changes nothing."""

_MODULE = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")


def look_at(root: Path, surveyed: Survey | str) -> Iterator[Finding]:
    """Yield what there is to say of the machine below ``root``, whose driver said ``surveyed``."""
    if isinstance(surveyed, Survey):
        yield _versions(root, surveyed)
        for gpu in surveyed.gpus:
            yield from _modes(gpu)
    yield from _devices(root)
    yield from _mps(root)
    yield from _kernel(root)
    yield from _monitors(root)


def _versions(root: Path, surveyed: Survey) -> Finding:
    text = f"version {surveyed.driver}, CUDA {surveyed.cuda}"
    told = _read(root / "proc/driver/nvidia/version")
    module = _MODULE.search(told or "")
    if module is None:
        return Finding("driver", Grade.OK, text)
    if module[1] != surveyed.driver:
        remedy = "reload the module, or reboot: a library and a module that differ refuse new programs"
        return Finding("driver", Grade.FAIL, f"{text}; the kernel's module is {module[1]}", remedy)
    return Finding("driver", Grade.OK, f"{text}; the kernel's module is the same")


def _modes(gpu: GpuModes) -> Iterator[Finding]:
    subject = f"GPU {gpu.index}"
    if gpu.persistence is False:
        remedy = (
            "systemctl enable --now nvidia-persistenced: the driver then stays loaded between two programs"
        )
        yield Finding(
            subject, Grade.WARN, "persistence mode is off, so the first reading takes seconds", remedy
        )
    if gpu.mig:
        yield Finding(subject, Grade.OK, "MIG is on: its instances are watched each by itself")
    costs = ", ".join(f"{what} {each * 1000:.3g} ms" for what, each in gpu.calls.items())
    dearest = max(gpu.calls.values(), default=0.0)
    if dearest > DEAR:
        remedy = "polls are made rarer to keep to poll.driver_share; see who else asks the driver"
        yield Finding(subject, Grade.WARN, f"driver calls take long: {costs}", remedy)
    else:
        yield Finding(subject, Grade.OK, f"driver calls take {costs}")


def _devices(root: Path) -> Iterator[Finding]:
    found = [*sorted((root / "dev").glob("nvidia[0-9]*")), root / "dev/nvidiactl"]
    closed = [each for each in found if each.exists() and not os.access(each, os.R_OK | os.W_OK)]
    if closed:
        names = ", ".join(f"/dev/{each.name}" for each in closed)
        remedy = "they are opened for reading and writing: add this user to their group"
        yield Finding("devices", Grade.FAIL, f"closed to this user: {names}", remedy)


def _mps(root: Path) -> Iterator[Finding]:
    if any(name.startswith("nvidia-cuda-mps") for name in _names(root)):
        text = "MPS runs: what its clients hold is told as each client's where the driver tells it"
        yield Finding("MPS", Grade.OK, text)


def _kernel(root: Path) -> Iterator[Finding]:
    groups = root / "sys/fs/cgroup"
    if (groups / "cgroup.controllers").exists():
        dmem = " with the dmem controller" if counts_gpu_memory(groups) else ""
        yield Finding("cgroups", Grade.OK, f"version 2{dmem}")
    elif (groups / "memory").is_dir() or (groups / "unified").is_dir():
        text = "version 1, or both mixed: containers and units are found, limits of the unit may not hold"
        yield Finding(
            "cgroups", Grade.WARN, text, "systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
        )
    scope = (_read(root / "proc/sys/kernel/yama/ptrace_scope") or "").strip()
    if scope in ("2", "3"):
        text = f"ptrace scope {scope}: it does not limit what vramwatch reads, and stays as it is"
        yield Finding("kernel", Grade.OK, text)
    if "hidepid=" in (_proc_options(root) or ""):
        remedy = "add the user vramwatch to the group of its gid= option, or mount /proc without hidepid"
        yield Finding("processes", Grade.WARN, "/proc hides other users' processes (hidepid)", remedy)


def _proc_options(root: Path) -> str | None:
    for row in (_read(root / "proc/mounts") or "").split("\n"):
        words = row.split()
        if len(words) > 3 and words[1] == "/proc" and re.search(r"hidepid=([^0o]|of)", words[3]):
            return words[3]
    return None


def _monitors(root: Path) -> Iterator[Finding]:
    found = sorted({MONITORS[name] for name in _names(root) if name in MONITORS})
    if found:
        text = f"{', '.join(found)} {'asks' if len(found) == 1 else 'ask'} the driver too"
        yield Finding("monitors", Grade.OK, f"{text}: every asker walks its lists under the same lock")


def clock() -> Finding:
    """Return whether something keeps the clock of this machine."""
    library = ctypes.CDLL(None)
    state = library.adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))
    if state == UNSYNCHRONISED:
        remedy = "timedatectl set-ntp true: without it 'last night at 03:12' is another machine's 03:11"
        return Finding("clock", Grade.WARN, "nothing keeps it in time", remedy)
    return Finding(
        "clock", Grade.OK, "kept in time" if state >= 0 else "whether it is kept in time is not told"
    )


def service() -> Iterator[Finding]:
    """Yield how the service stands; nothing where there is none."""
    if not is_booted():
        return
    told = show(UNIT, "LoadState", "ActiveState", "StatusText")
    if told.get("LoadState") != "loaded":
        return
    state, text = told.get("ActiveState", "unknown"), told.get("StatusText", "")
    grade = Grade.OK if state == "active" else Grade.WARN
    remedy = "" if state == "active" else f"journalctl -u {UNIT} -n 20"
    yield Finding("service", grade, f"{state}{f': {text}' if text else ''}", remedy)


def _names(root: Path) -> Iterator[str]:
    for each in (root / "proc").glob("[0-9]*/comm"):
        if name := _read(each):
            yield name.strip()


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return None
