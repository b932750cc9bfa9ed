"""The socket's place: who can open it, and that it is nobody else's."""

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vramwatch.core.errors import VramwatchError
from vramwatch.reception.bounds import QUEUED

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

REMEDY = "set workers.socket to a path in a directory of its own, or workers.enabled to false"


class ReceptionError(VramwatchError):
    """No worker can enrol here."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may enrol, beside root and the daemon's own user: members of ``group``, of them ``users``.

    By number; None: nobody else; every member.
    """

    group: int | None = None
    users: frozenset[int] | None = None

    @classmethod
    def of(cls, group: str | None, users: Collection[str] | None) -> "Admission":
        """Return it by names; users may be numbers too, which need no name here (those of containers).

        Errors: ReceptionError for a name that this machine does not know.
        """
        return cls(
            None if group is None else _gid(group),
            None if users is None else frozenset(_uid(name) for name in users),
        )

    def admits(self, uid: int, gids: Collection[int]) -> bool:
        if uid in (0, os.geteuid()):
            return True
        return self.group in gids and (self.users is None or uid in self.users)


def _gid(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ReceptionError(
            f"workers.group: this machine has no group {name!r}; make it with: groupadd --system {name}"
        ) from None


def _uid(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ReceptionError(f"workers.users: this machine has no user {name!r}") from None


class Entrance:
    """Listens on ``path``: 0660, of the daemon's user and the ``group``. Errors: ReceptionError."""

    def __init__(self, path: Path, group: int | None) -> None:
        self.path = path
        with _directory(path.parent) as directory:
            _make_room(path, directory)
            self.socket = _listen(path, directory, group)
            self._identity = _identity(path.name, directory)

    def close(self) -> None:
        """Stop listening, and remove the socket if it is still this one."""
        self.socket.close()
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if _identity(self.path.name, descriptor) == self._identity:
                    os.unlink(self.path.name, dir_fd=descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """Hold the directory open in which nobody but root and this user can put or swap anything."""
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)  # the control socket may stand here too
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        why = "it is a symbolic link or no directory" if error.errno == errno.ENOTDIR else error.strerror
        raise ReceptionError(f"{path}: workers cannot enrol here ({why}); {REMEDY}") from error
    try:
        told = os.fstat(descriptor)
        if told.st_uid not in (0, os.geteuid()):
            raise ReceptionError(f"{path}: belongs to uid {told.st_uid}, not to root or to us; {REMEDY}")
        if told.st_mode & OTHERS_MAY_WRITE:
            raise ReceptionError(f"{path}: others can write here and could stand in for us; {REMEDY}")
        yield descriptor
    finally:
        os.close(descriptor)


def _make_room(path: Path, directory: int) -> None:
    """Remove a socket of ours that nobody listens on any more. Errors: ReceptionError for anything else."""
    try:
        told = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(told.st_mode):
        raise ReceptionError(f"{path}: is a symbolic link; remove it, or set workers.socket")
    if not stat.S_ISSOCK(told.st_mode):
        raise ReceptionError(f"{path}: is there and is no socket; remove it, or set workers.socket")
    if told.st_uid not in (0, os.geteuid()):
        raise ReceptionError(f"{path}: belongs to uid {told.st_uid}; remove it, or set workers.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(_in(directory, path.name))
        except ConnectionRefusedError:
            os.unlink(path.name, dir_fd=directory)
            return
        except OSError:  # its queue is full, or it is a socket of another kind: somebody listens
            pass
    raise ReceptionError(f"{path}: another program answers here; stop it, or set workers.socket")


def _listen(path: Path, directory: int, group: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        # Connections inherit it: each message has its sender's pid from the first one on (unix(7)).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # Bound without rights for anybody, opened once the group stands: no moment in between.
        before = os.umask(0o777)
        try:
            listener.bind(_in(directory, path.name))
        finally:
            os.umask(before)
        _open_to(path.name, directory, group)
        listener.listen(QUEUED)
    except OSError as error:
        listener.close()
        raise ReceptionError(f"{path}: workers cannot enrol here ({error.strerror}); {REMEDY}") from error
    except ReceptionError:
        listener.close()
        os.unlink(path.name, dir_fd=directory)
        raise
    return listener


def _open_to(name: str, directory: int, group: int | None) -> None:
    if group is not None:
        try:
            os.chown(name, -1, group, dir_fd=directory, follow_symlinks=False)
        except PermissionError as error:
            raise ReceptionError(
                f"workers.group: the daemon's user is no member of group {group}, and cannot give it the "
                "socket; add it, as a service with SupplementaryGroups="
            ) from error
    os.chmod(name, 0o660, dir_fd=directory)


def _in(directory: int, name: str) -> str:
    """Return a path within an open directory that no rename on the way to it can lead elsewhere."""
    return f"/proc/self/fd/{directory}/{name}"


def _identity(name: str, directory: int) -> tuple[int, int]:
    told = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return told.st_dev, told.st_ino
