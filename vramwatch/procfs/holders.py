"""Who has a /dev/nvidia* device open: where a ghost's memory is looked for.

A GPU is released when the last descriptor of its device is closed, so whoever holds bytes that no
living process accounts for is found here: a child that inherited the descriptors, the threads of a
zombie, an MPS server. Formats: proc_pid_fd(5), proc_pid_task(5).
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vramwatch.core.model import ProcessState
from vramwatch.procfs.identity import Stat, read_stat
from vramwatch.procfs.texts import printable

TIME_LIMIT = 2.0
"""Seconds that one search may take; it belongs on a cold thread."""

_DEVICE_PREFIX = "/dev/nvidia"
_STATES = {"Z": ProcessState.ZOMBIE, "D": ProcessState.STUCK}
_ENTRIES_LIMIT = 1 << 16  # of /proc: processes and about a hundred files
_DESCRIPTORS_LIMIT = 65536  # of one process; the usual hard limit is 524288, the usual need below 1000
_DESCRIPTORS_A_GLANCE = 256  # looked at between two looks at the clock, about half a millisecond
_HOLDERS_LIMIT = 1024
_TASKS_LIMIT = 64  # threads of one zombie that are asked for the table they share


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has devices open. ``devices``: their names, sorted: nvidia0, nvidiactl, nvidia-uvm.

    ``state`` is that of the moment: STUCK is a process that was found in D, maybe for an instant.
    """

    pid: int
    start_ticks: int
    name: str
    state: ProcessState
    parent_pid: int | None
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holders:
    """What a search found, by pid. ``unreadable``: processes whose descriptors we may not see.

    Nobody found is proof only where nothing was unreadable and the search ``is_complete``.
    """

    found: tuple[Holder, ...]
    unreadable: int
    is_complete: bool


def find_holders(
    root: Path = Path("/proc"), time_limit: float = TIME_LIMIT, clock: Callable[[], float] = time.monotonic
) -> Holders:
    """Return who has an NVIDIA device open, as far as ``root`` shows and ``time_limit`` seconds reach.

    Another user's descriptors take CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to see.
    """
    return _Search(str(root), clock() + time_limit, clock).run()


class _Search:
    """One walk over all processes, which may end early."""

    def __init__(self, root: str, deadline: float, clock: Callable[[], float]) -> None:
        self._root = root
        self._deadline = deadline
        self._clock = clock
        self._is_complete = True

    def run(self) -> Holders:
        found: list[Holder] = []
        unreadable = 0
        for pid in self._pids():
            if len(found) >= _HOLDERS_LIMIT or self._is_late():
                self._is_complete = False
                break
            stat = read_stat(self._root, pid)
            if stat is None:
                continue
            try:
                devices = self._open_devices(pid, stat.state == "Z")
            except PermissionError:
                unreadable += 1
                continue
            if devices:
                found.append(_holder(pid, stat, devices))
        return Holders(tuple(sorted(found, key=lambda holder: holder.pid)), unreadable, self._is_complete)

    def _is_late(self) -> bool:
        return self._clock() >= self._deadline

    def _pids(self) -> list[int]:
        return [int(name) for name in self._names(self._root, _ENTRIES_LIMIT) if name.isdecimal()]

    def _open_devices(self, pid: int, is_zombie: bool) -> set[str]:
        """Return the devices of ``pid``; those of a zombie are held by the threads that outlive its first.

        Errors: PermissionError where we may not see them.
        """
        table = f"{self._root}/{pid}/fd"
        if not is_zombie:
            return self._devices_of(table)
        tasks = self._names(f"{self._root}/{pid}/task", _TASKS_LIMIT)
        tables = [table, *(f"{self._root}/{pid}/task/{task}/fd" for task in tasks)]
        return set().union(*map(self._devices_of, tables))

    def _devices_of(self, table: str) -> set[str]:
        devices: set[str] = set()
        try:
            folder = os.open(table, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            return devices
        try:
            for number, descriptor in enumerate(self._names(folder, _DESCRIPTORS_LIMIT)):
                if number % _DESCRIPTORS_A_GLANCE == 0 and self._is_late():
                    self._is_complete = False
                    break
                target = _target(folder, descriptor)
                if target.startswith(_DEVICE_PREFIX):
                    devices.add(printable(os.fsencode(target.removeprefix("/dev/"))))
        finally:
            os.close(folder)
        return devices

    def _names(self, folder: str | int, limit: int) -> list[str]:
        """Return the names in ``folder``, none if it is gone.

        Errors: PermissionError where we may not see them.
        """
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, limit + 1)]
        except (FileNotFoundError, ProcessLookupError):
            return []
        if len(names) > limit:
            self._is_complete = False
        return names[:limit]


def _target(folder: int, descriptor: str) -> str:
    """Return what a descriptor leads to; empty if it was closed meanwhile."""
    try:
        return os.readlink(descriptor, dir_fd=folder)
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _holder(pid: int, stat: Stat, devices: set[str]) -> Holder:
    return Holder(
        pid=pid,
        start_ticks=stat.start_ticks,
        name=stat.name,
        state=_STATES.get(stat.state, ProcessState.ALIVE),
        parent_pid=stat.parent_pid or None,
        devices=tuple(sorted(devices)),
    )
