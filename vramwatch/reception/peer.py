"""Who stands at the other end of a connection, as the kernel says, and whether a signal may reach it.

Formats: unix(7), pidfd_open(2), proc_pid_status(5).
"""

import contextlib
import os
import select
import signal
import socket
import struct
from dataclasses import dataclass

from vramwatch.core.model import ProcessKey
from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.identity import read_stat, read_status
from vramwatch.sdk.wire import NEVER_SENT, Refused

SO_PEERPIDFD = 77  # include/uapi/asm-generic/socket.h, Linux 6.5; Python has no name for it
SO_PEERGROUPS = 59  # the same file, Linux 4.13

UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

_STATUS_LIMIT = 1 << 16

UNCATCHABLE = frozenset({"SIGKILL", "SIGSTOP"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who connected, as the kernel says. ``pid`` 0: it is in no pid namespace that we see."""

    pid: int
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Peer:
    """One life of one process, held by its pidfd. ``uid`` is that of when it connected."""

    key: ProcessKey
    uid: int
    pidfd: int
    namespace_pid: int | None = None

    @property
    def has_ended(self) -> bool:
        return _has_ended(self.pidfd)

    def close(self) -> None:
        os.close(self.pidfd)

    def signal(self, name: str, proc: str = "/proc") -> str | None:
        """Send the signal ``name`` through the pidfd, if a handler stands for it at this moment.

        Returns why it was not sent; None: it was.
        """
        if name in NEVER_SENT or name not in signal.Signals.__members__:
            return f"{name} is no signal that a worker can consent to"
        number = signal.Signals[name]
        pid = self.key.pid
        status = _told(read_bounded(f"{proc}/{pid}/status", _STATUS_LIMIT) or b"")
        if self.has_ended:  # asked after it was read, so that what was read is of this very life
            return f"pid {pid} has ended"
        uids = {int(word) for word in status.get(b"Uid", b"").split()[:3]}  # real, effective, saved
        if uids != {self.uid}:
            return f"pid {pid} is not of uid {self.uid} any more, which enrolled it"
        if not int(status.get(b"SigCgt", b"0"), 16) >> (number - 1) & 1:
            return f"pid {pid} has no handler for {name} now"
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except OSError as error:
            return f"pid {pid} could not be sent {name} ({error.strerror})"
        return None


def caller(connection: socket.socket) -> Caller:
    """Return who connected. It reads nothing of /proc: whoever is refused by it costs next to nothing."""
    pid, uid, gid = UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return Caller(pid, uid, frozenset({gid, *_groups(connection)}))


def identify(connection: socket.socket, known: Caller, boot_id: str, proc: str = "/proc") -> Peer | Refused:
    """Return the very life that ``known`` is of, whatever it may say of itself; the caller closes a Peer.

    The pidfd is the kernel's own of the connecting process (Linux 6.5). Before, it is opened by the pid
    between two looks at its start, which leaves out a pid that is reused while we look.
    """
    pid = known.pid
    if pid <= 0:
        return Refused(
            "the daemon cannot see this process: run it in the host's pid namespace (docker: --pid=host)"
        )
    before = read_stat(proc, pid)
    pidfd = _pidfd(connection, pid)
    if before is None or pidfd is None:
        if pidfd is not None:
            os.close(pidfd)
        return Refused(f"pid {pid} has ended, or the daemon cannot look at it in {proc}")
    namespace_pids = read_status(proc, pid).namespace_pids
    after = read_stat(proc, pid)
    # It lives, so nobody else had its pid meanwhile, and what was read is of this very life.
    if after is None or after.start_ticks != before.start_ticks or _has_ended(pidfd):
        os.close(pidfd)
        return Refused(f"pid {pid} has ended")
    inner = namespace_pids[-1] if len(namespace_pids) > 1 else None
    return Peer(ProcessKey(boot_id, pid, after.start_ticks), known.uid, pidfd, inner)


def _pidfd(connection: socket.socket, pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
    except OSError:  # more than fit, or an old kernel: then its first group alone counts
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _told(status: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in status.split(b"\n"))
    return {label: rest for label, _, rest in lines if label in (b"Uid", b"SigCgt")}
