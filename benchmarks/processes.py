"""What a process and those it has started have used, as the kernel counts it."""

import time
from dataclasses import dataclass
from pathlib import Path

KIB = 1024

_CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h: the clock of what a process has run, in nanoseconds


@dataclass(frozen=True, slots=True)
class Use:
    """What a tree of processes has used until now; rss is what it holds now. Seconds, bytes.

    ``wakeups``: how often a thread of it gave up the processor by itself, to wait for something.
    ``written``: what went to the block layer, as in write_bytes of proc_pid_io(5).
    """

    cpu: float
    rss: int
    wakeups: int
    written: int


def use_of(pid: int) -> Use:
    """Return what ``pid`` and its living descendants have used. Errors: OSError when ``pid`` has ended."""
    tree = [pid, *descendants(pid)]
    return Use(
        cpu=sum(map(cpu_seconds, tree)),
        rss=sum(map(rss_bytes, tree)),
        wakeups=sum(map(_wakeups, tree)),
        written=sum(map(_written, tree)),
    )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of ``pid``, its ended threads included; to the nanosecond, unlike /proc/pid/stat.

    clock_getcpuclockid(3); how the number of the clock is made: include/linux/posix-timers_types.h.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def descendants(pid: int) -> list[int]:
    """Return the pids of the living children of ``pid``, of theirs, and so on."""
    found: list[int] = []
    for table in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, table.read_text().split()):
            found += [child, *descendants(child)]
    return found


def rss_bytes(pid: int) -> int:
    """Return the resident memory of ``pid``; pages that it shares with others count in full."""
    return int(_fields(Path(f"/proc/{pid}/status"))["VmRSS"].split()[0]) * KIB


def peak_bytes(pid: int) -> int:
    """Return the most that was ever resident of ``pid``."""
    return int(_fields(Path(f"/proc/{pid}/status"))["VmHWM"].split()[0]) * KIB


def handed_bytes(pid: int) -> int:
    """Return what ``pid`` has handed to write(2) and its kin: wchar of proc_pid_io(5)."""
    return int(_fields(Path(f"/proc/{pid}/io"))["wchar"])


def _wakeups(pid: int) -> int:
    statuses = Path(f"/proc/{pid}/task").glob("*/status")
    return sum(int(_fields(status)["voluntary_ctxt_switches"]) for status in statuses)


def _written(pid: int) -> int:
    return int(_fields(Path(f"/proc/{pid}/io"))["write_bytes"])


def _fields(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in pairs}
