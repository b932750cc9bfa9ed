"""A device or MIG instance as the reader holds it. Runs in the child."""

from enum import StrEnum
from typing import Any

from vramwatch.driver.calls import DriverError, Target
from vramwatch.driver.wire import FaultRow, Identity

LONGEST_WAIT = 31
"""Polls for which a GPU that failed again and again is not asked; a slow tick asks it regardless."""


class Sharing(StrEnum):
    """What a GPU's memory is in relation to the host's."""

    OWN = "own"
    HOST = "host"  # it is the host's (GB10, Jetson)
    NODE = "node"  # its own, and a NUMA node of the host that others may use (GH200, GB200)


class Device:
    """What is kept of one Gpu between readings. ``handle`` None: the driver gave none."""

    __slots__ = (
        "_failures",
        "_lacking",
        "_waits",
        "fault",
        "handle",
        "has_mig",
        "index",
        "kinds",
        "list_group",
        "name",
        "ordinal",
        "parent",
        "pci",
        "pids",
        "sharing",
        "target",
        "uuid",
    )

    def __init__(self, index: int, uuid: str, ordinal: str, handle: Any, parent: str | None = None) -> None:
        self.index = index
        self.uuid = uuid
        self.list_group = f"list:{uuid}"  # what its list costs is counted apart: one GPU may be the dear one
        self.ordinal = ordinal
        self.handle = handle
        self.parent = parent
        self.target = Target(index, uuid.encode())
        self.name = ""
        self.pci: str | None = None
        self.sharing = Sharing.OWN
        self.has_mig = parent is None  # until the driver says otherwise
        self.kinds: dict[int, int] = {}  # pid -> kinds, as last told
        self.pids: tuple[int, ...] = ()  # of the last list
        self.fault: FaultRow | None = None
        self._failures = 0
        self._waits = 0
        self._lacking: set[str] = set()

    def identity(self) -> Identity:
        unified = self.sharing is not Sharing.OWN
        return Identity(self.uuid, self.ordinal, self.name, self.pci, self.parent, unified)

    def lacks(self, function: str) -> bool:
        """Whether this handle has no such value, as the driver said before."""
        return function in self._lacking

    def forgo(self, function: str) -> None:
        self._lacking.add(function)

    def is_due(self) -> bool:
        """Whether to ask it at this poll; one that failed is asked less and less often."""
        if self._waits:
            self._waits -= 1
            return False
        return True

    def renew(self, handle: Any, index: int, ordinal: str) -> None:
        """Take a fresh handle, of which nothing is known yet but whose GPU it is."""
        self.handle = handle
        self.index = index
        self.ordinal = ordinal
        self.target = Target(index, self.uuid.encode())
        self._lacking.clear()

    def failed(self, error: DriverError) -> None:
        """Note why it cannot be read; its handle is not trusted again."""
        self.handle = None
        self.fault = error.fault()
        self._waits = min((1 << self._failures) - 1, LONGEST_WAIT)
        self._failures = min(self._failures + 1, LONGEST_WAIT)

    def succeeded(self) -> None:
        self.fault = None
        self._failures = 0
