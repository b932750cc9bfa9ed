"""At which port of this machine a container's own port is published, by Docker's proxy.

A container on a bridge has a network of its own, which is not asked: its published port alone is on loopback.
``docker-proxy`` listens there as root and says in its arguments what it passes on to (moby,
cmd/docker-proxy/main_linux.go); the kernel says which addresses a network has (net/ipv4/fib_trie.c). Where
the proxy is switched off (``userland-proxy: false``), and in a pod, no port of loopback leads inside.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from vramwatch.core.commandline import option
from vramwatch.procfs.commands import read_command
from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.identity import read_stat, read_status
from vramwatch.procfs.listening import Ask, Listener, find_listeners

PROXY = "docker-proxy"

_PROCESSES_LIMIT = 1 << 16
_ROUTES_LIMIT = 1 << 18  # a container has a handful of addresses
_LEAF = b"|-- "
_LOCAL = b"/32 host LOCAL"


@dataclass(frozen=True, slots=True)
class Published:
    """``listener``: the socket of this machine; ``pid``: the proxy that holds it."""

    listener: Listener
    pid: int


def find_published(
    root: str, pid: int, inside: Collection[Listener], ask: Ask | None = None
) -> tuple[Published, ...]:
    """Return where those of the listeners ``inside`` the network of ``pid`` are published; may be empty.

    A proxy counts only if it is root's: anybody can call a program docker-proxy.
    """
    ports = {str(each.port) for each in inside}
    addresses = _addresses(root, pid) if ports else frozenset()
    if not addresses:
        return ()
    return tuple(
        Published(listener, proxy)
        for proxy, host_port, container_ip, container_port in _proxies(root)
        if container_ip in addresses and container_port in ports
        for listener in find_listeners(root, (proxy,), host_port, ask)
    )


def _addresses(root: str, pid: int) -> frozenset[str]:
    """Return the IPv4 addresses of the network that ``pid`` is in, without loopback."""
    found, address = set(), ""
    for row in (read_bounded(f"{root}/{pid}/net/fib_trie", _ROUTES_LIMIT) or b"").splitlines():
        words = row.strip()
        if words.startswith(_LEAF):
            address = words.removeprefix(_LEAF).decode("ascii", "replace")
        elif words == _LOCAL and not address.startswith("127."):
            found.add(address)
    return frozenset(found)


def _proxies(root: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield pid, port of this machine, and the container's address and port, of each TCP proxy of root's."""
    with os.scandir(root) as entries:
        pids = [int(each.name) for each in islice(entries, _PROCESSES_LIMIT) if each.name.isdecimal()]
    for pid in pids:
        stat = read_stat(root, pid)
        if stat is None or stat.name != PROXY or read_status(root, pid).uid != 0:
            continue
        argv, _ = read_command(root, pid)
        host_port, ip, port = (
            option(argv, name) for name in ("-host-port", "-container-ip", "-container-port")
        )
        if option(argv, "-proto") == "tcp" and host_port and host_port.isdecimal() and ip and port:
            yield pid, int(host_port), ip, port
