"""Which life of which process: /proc/PID/stat and /proc/PID/status, users, and the pid namespace we see.

Formats: proc_pid_stat(5), proc_pid_status(5), proc_stat(5), pid_namespaces(7).
"""

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vramwatch.procfs.files import read_bounded, read_regular_under
from vramwatch.procfs.texts import printable

PID_LIMIT = 2**22
"""PID_MAX_LIMIT of the kernel (include/linux/threads.h): no larger pid exists, whatever a driver says."""

INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO (include/linux/proc_ns.h), the inode of the namespace that sees every process."""

_STAT_LIMIT = 1024  # 52 numbers and a name: about 400 bytes
_STATUS_LIMIT = (
    1 << 16
)  # NSpid stands behind the list of groups, of which a directory user can have thousands
_KERNEL_STAT_LIMIT = 1 << 20  # btime stands behind one line a CPU and the interrupt counters
_PASSWD_LIMIT = 1 << 20
_USERS_KEPT = 1024

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/PID/stat says. ``progress`` stands still while nothing of the process runs."""

    name: str
    state: str  # one letter: R S D Z T t X x K W P I
    parent_pid: int
    start_ticks: int  # since boot
    progress: tuple[int, int, int, int]  # minor and major faults, user and system ticks


def parse_stat(raw: bytes) -> Stat | None:
    """Return what a line of /proc/PID/stat says; None if it is no such line.

    The name stands in parentheses and may itself hold parentheses and blanks: the last one closes it.
    """
    opening, closing = raw.find(b"("), raw.rfind(b")")
    fields = raw[closing + 1 :].split()
    if not 0 <= opening < closing or len(fields) < 20:
        return None
    try:
        return Stat(
            name=printable(raw[opening + 1 : closing]),
            state=fields[0].decode("ascii"),
            parent_pid=int(fields[1]),
            start_ticks=int(fields[19]),
            progress=(int(fields[7]), int(fields[9]), int(fields[11]), int(fields[12])),
        )
    except ValueError:
        return None


def read_stat(root: str, pid: int) -> Stat | None:
    """Return the Stat of ``pid``; None where it has no entry that we can read."""
    if not 0 < pid <= PID_LIMIT:
        return None
    raw = read_bounded(f"{root}/{pid}/stat", _STAT_LIMIT)
    return None if raw is None else parse_stat(raw)


@dataclass(frozen=True, slots=True)
class Status:
    """What /proc/PID/status adds: the real user, and the pid in each namespace, ours first."""

    uid: int | None
    namespace_pids: tuple[int, ...]

    @property
    def is_first_of_its_namespace(self) -> bool:
        """Whether it is the init of a pid namespace below ours: the first process of a container."""
        return len(self.namespace_pids) > 1 and self.namespace_pids[-1] == 1


def parse_status(raw: bytes) -> Status:
    """Return what /proc/PID/status says; what is missing or malformed is unknown."""
    uid: int | None = None
    namespace_pids: tuple[int, ...] = ()
    for line in raw.split(b"\n"):
        label, _, rest = line.partition(b":")
        try:
            numbers = tuple(int(word) for word in rest.split()) if label in (b"Uid", b"NSpid") else ()
        except ValueError:
            continue
        if label == b"Uid" and numbers:
            uid = numbers[0]
        elif label == b"NSpid":
            namespace_pids = numbers
            break  # stands behind Uid; the rest is of no use to us
    return Status(uid, namespace_pids)


def read_status(root: str, pid: int) -> Status:
    """Return the Status of ``pid``; everything unknown where it cannot be read."""
    return parse_status(read_bounded(f"{root}/{pid}/status", _STATUS_LIMIT) or b"")


def read_boot_time(root: str) -> int | None:
    """Return when the machine started, unix seconds (``btime`` of /proc/stat); None where unknown."""
    for line in (read_bounded(f"{root}/stat", _KERNEL_STAT_LIMIT) or b"").splitlines():
        label, _, value = line.partition(b" ")
        if label == b"btime" and value.strip().isdigit():
            return int(value)
    return None


def started_at(boot_time: int | None, start_ticks: int) -> float | None:
    """Return unix seconds of a start that is ``start_ticks`` after ``boot_time``; None where unknown."""
    return None if boot_time is None else boot_time + start_ticks / _TICKS_PER_SECOND


def sees_every_process(root: str) -> bool:
    """Whether we are in the initial pid namespace, so that a pid without an entry is gone, not hidden."""
    try:
        return str(Path(f"{root}/self/ns/pid").readlink()) == f"pid:[{INITIAL_PID_NAMESPACE}]"
    except OSError:
        return False


class Users:
    """Names of user ids, asked once each, misses too: a directory server is never asked in a loop."""

    def __init__(self, host: Path) -> None:
        self._names: dict[int, str | None] = {}
        self._ask: Callable[[int], str | None] = _ask_system
        if host != Path("/"):
            self._ask = _read_passwd(host).get

    def name(self, uid: int | None) -> str | None:
        """Return the name of ``uid``; None where it has none or is unknown."""
        if uid is None:
            return None
        if uid not in self._names:
            if len(self._names) >= _USERS_KEPT:
                self._names.clear()
            self._names[uid] = self._ask(uid)
        return self._names[uid]


def _ask_system(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _read_passwd(host: Path) -> dict[int, str]:
    """Return uid -> name of the host's own passwd(5) file, where we run inside a container of it."""
    names: dict[int, str] = {}
    raw = read_regular_under(host, "etc/passwd", _PASSWD_LIMIT) or b""
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) > 2 and fields[2].isdigit():
            names.setdefault(int(fields[2]), printable(fields[0]))
    return names
