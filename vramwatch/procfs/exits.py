"""Sees the end of many processes with one system call, by a pidfd each (pidfd_open(2), epoll(7))."""

import os
import resource
import select

_MOST = 512
"""pidfds held at most; a server runs some dozens of processes on its GPUs."""

_SHARE_OF_DESCRIPTORS = 4  # of the process's own limit, the other three quarters are the daemon's


class Exits:
    """Holds a pidfd for every watched pid. Costs one epoll_wait a question, whatever it watches."""

    def __init__(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._room = min(_MOST, soft // _SHARE_OF_DESCRIPTORS) if soft != resource.RLIM_INFINITY else _MOST
        self._descriptors: dict[int, int] = {}  # pid -> pidfd
        self._pids: dict[int, int] = {}
        self._epoll: select.epoll | None = None

    def watch(self, pid: int) -> bool:
        """Begin to watch ``pid``; False where that cannot be had: no such process, no room, an old kernel."""
        self.forget(pid)
        if len(self._descriptors) >= self._room:
            return False
        descriptor = _open(pid)
        if descriptor is None:
            return False
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(descriptor, select.EPOLLIN)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptors[pid] = descriptor
        self._pids[descriptor] = pid
        return True

    def ended(self) -> list[int]:
        """Return the watched pids whose last thread has ended, and watch them no longer."""
        if self._epoll is None or not self._descriptors:
            return []
        pids = [self._pids[descriptor] for descriptor, _ in self._epoll.poll(0)]
        for pid in pids:
            self.forget(pid)
        return pids

    def forget(self, pid: int) -> None:
        """Watch ``pid`` no longer; one that is not watched is fine."""
        descriptor = self._descriptors.pop(pid, None)
        if descriptor is not None and self._epoll is not None:
            self._epoll.unregister(descriptor)  # closing is not enough while a forked child holds it too
            del self._pids[descriptor]
            os.close(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        for pid in list(self._descriptors):
            self.forget(pid)
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None


def exists(pid: int) -> bool:
    """Whether there is such a process, even where /proc is mounted so that it hides other users' own."""
    descriptor = _open(pid)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, OverflowError, ValueError):  # a driver can name what is no pid at all
        return None
