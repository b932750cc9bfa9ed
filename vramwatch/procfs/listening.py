"""At which sockets of this machine a process listens. Formats: proc_pid_net(5), proc_pid_fd(5).

A port says nothing of who answers: a listener counts only if the kernel names the process's own user for
it, and the process holds it where its descriptors may be seen.
"""

import ipaddress
import os
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.identity import read_stat, read_status

_TABLES = ("tcp", "tcp6")
_TABLE_LIMIT = 1 << 18  # listeners stand before all connections: net/ipv4/tcp_ipv4.c, tcp_seq_start
_LISTEN = b"0A"  # TCP_LISTEN, include/net/tcp_states.h
_DESCRIPTORS_LIMIT = 8192  # of one process; a server with as many is asked by its port or not at all
_CHILDREN_LIMIT = 64
_SOCKET = "socket:["

Ask = Callable[[int, int], Collection[int] | None]
"""Who has the rights tells at which sockets a life listens: pid, start ticks -> inodes; None: no answer."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits for connections. ``host``: an IP address, maybe of all interfaces."""

    host: str
    port: int
    uid: int
    inode: int

    @property
    def loopback(self) -> str | None:
        """The address of this machine alone at which it is reached; None: it is bound to another."""
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "::1"
        return self.host if address.is_loopback else None


def find_listeners(
    root: str, pids: Collection[int], port: int | None, ask: Ask | None = None
) -> tuple[Listener, ...]:
    """Return the ``own_listeners`` of ``pids`` that are in our own network; empty where there is none."""
    return in_our_network(root, own_listeners(root, pids, port, ask))


def own_listeners(
    root: str, pids: Collection[int], port: int | None, ask: Ask | None = None
) -> tuple[Listener, ...]:
    """Return the sockets at which one of ``pids`` listens, in whichever network; at ``port`` alone if given.

    They are of the first one's user: a child may be anybody's, as sudo that waits for a password is root's.
    Without a ``port`` only sockets count that a process is known to hold; with one its user is proof
    enough where its descriptors may not be seen. Empty where there is none. The tables of a busy machine
    take the kernel milliseconds: ask once, and then whether it ``still_listens``.
    """
    user = next((read_status(root, pid).uid for pid in pids), None)
    rows = {x.inode: x for pid in pids for x in _listeners(f"{root}/{pid}/net") if x.uid == user}
    held = _held(root, pids, ask)
    if held is None:
        return tuple(each for each in rows.values() if port is not None and each.port == port)
    return tuple(each for each in rows.values() if each.inode in held and port in (None, each.port))


def in_our_network(root: str, listeners: Collection[Listener]) -> tuple[Listener, ...]:
    """Return those of ``listeners`` that are in our own network: of another the same port is nobody's."""
    here = {each.inode for each in _listeners(f"{root}/self/net")} if listeners else set()
    return tuple(each for each in listeners if each.inode in here)


def still_listens(root: str, pids: Collection[int], inode: int, ask: Ask | None = None) -> bool:
    """Return whether one of ``pids`` holds that socket, or, where that is not known, whether it is there.

    A socket that listens keeps its port and its inode until it is closed.
    """
    held = _held(root, pids, ask)
    if held is not None:
        return inode in held
    return any(each.inode == inode for each in _listeners(f"{root}/self/net"))


def listening_inodes(root: str, pid: int) -> frozenset[int]:
    """Return the inodes of the sockets at which ``pid`` listens, and of no other; empty: none is seen."""
    held = _held(root, (pid,), None) or set()
    return frozenset(each.inode for each in _listeners(f"{root}/{pid}/net") if each.inode in held)


def children(root: str, pid: int) -> tuple[int, ...]:
    """Return the children of ``pid``, at most 64; empty where the kernel does not tell."""
    words = (read_bounded(f"{root}/{pid}/task/{pid}/children", 4096) or b"").split()
    return tuple(int(word) for word in words[:_CHILDREN_LIMIT] if word.isdigit())


def _listeners(folder: str) -> Iterator[Listener]:
    for name in _TABLES:
        for row in (read_bounded(f"{folder}/{name}", _TABLE_LIMIT) or b"").splitlines()[1:]:
            words = row.split()
            if len(words) < 10 or words[3] != _LISTEN:
                continue
            try:
                host, _, port = words[1].partition(b":")
                yield Listener(_address(host), int(port, 16), int(words[7]), int(words[9]))
            except ValueError:
                continue


def _address(written: bytes) -> str:
    """Return the address of a row: 32-bit words in the machine's own order of bytes."""
    packed = bytes.fromhex(written.decode("ascii"))
    if sys.byteorder == "little":
        packed = b"".join(packed[start : start + 4][::-1] for start in range(0, len(packed), 4))
    return str(ipaddress.ip_address(packed))


def _held(root: str, pids: Collection[int], ask: Ask | None) -> set[int] | None:
    """Return the inodes of the sockets that ``pids`` have open; None where one's may not be seen.

    Of those that we may not see ``ask`` tells the ones that listen.
    """
    inodes: set[int] = set()
    for pid in pids:
        try:
            folder = os.open(f"{root}/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            told = _asked(root, pid, ask)
            if told is None:
                return None
            inodes.update(told)
            continue
        try:
            inodes.update(_sockets(folder))
        except OSError:
            return None
        finally:
            os.close(folder)
    return inodes


def _asked(root: str, pid: int, ask: Ask | None) -> Collection[int] | None:
    stat = read_stat(root, pid) if ask else None
    return ask(pid, stat.start_ticks) if ask and stat else None


def _sockets(folder: int) -> Iterator[int]:
    with os.scandir(folder) as entries:
        for entry in islice(entries, _DESCRIPTORS_LIMIT):
            try:
                target = os.readlink(entry.name, dir_fd=folder)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if target.startswith(_SOCKET) and target[len(_SOCKET) : -1].isdigit():
                yield int(target[len(_SOCKET) : -1])
