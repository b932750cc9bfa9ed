"""What the reader and its parent say to each other: JSON lines, and one slot of shared memory.

Both ends are one installation, so nothing here carries a version. Standard library alone: the child
imports it.
"""

import json
import mmap
import os
import struct
from typing import Any, NamedTuple

MESSAGE_MOST = 1024 * 1024
"""Bytes of one line; 16 GPUs with the driver's 950 processes each need about half of it."""

COMPUTE, GRAPHICS, MPS = 1, 2, 4
"""The kinds of a ClaimRow, as bits."""


class Identity(NamedTuple):
    """One Gpu that the reader answers for. ``uuid`` is ``index:3`` while the driver will not tell it."""

    uuid: str
    ordinal: str
    name: str
    pci: str | None
    parent: str | None
    unified: bool


class Figures(NamedTuple):
    """The driver's own figures of a Gpu's memory, not yet balanced. Bytes.

    With the basis ``unified``, ``used`` and ``reserved`` are 0 and ``free`` is what could still be had.
    """

    basis: str
    total: int
    used: int
    free: int
    reserved: int


class ClaimRow(NamedTuple):
    pid: int
    used: int | None
    kinds: int
    gpu_instance: int | None
    compute_instance: int | None


class FaultRow(NamedTuple):
    """``kind`` is a value of core.model.FaultKind."""

    kind: str
    detail: str
    call: str | None = None
    code: int | None = None


class GpuRow(NamedTuple):
    """One Gpu as read. Utilisation 0..1, degrees Celsius, watts; peaks are (pid, bytes)."""

    uuid: str
    figures: Figures
    claims: list[ClaimRow] | None = None
    claims_fault: FaultRow | None = None
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    peaks: tuple[tuple[int, int], ...] = ()


class Request(NamedTuple):
    """``lists``: UUIDs, None for all. ``without``: device UUID -> index of what must not be touched."""

    lists: list[str] | None
    slow: bool
    without: dict[str, int]


class Ready(NamedTuple):
    """The reader has taken up the GPUs."""


class Answer(NamedTuple):
    """What one request brought. ``inventory`` is None where it is the same as last time."""

    gpus: list[GpuRow]
    missing: list[tuple[str, FaultRow]]
    inventory: list[Identity] | None
    seconds: dict[str, float]
    calls: int


class Farewell(NamedTuple):
    """The reader can do nothing for any GPU and ends."""

    fault: FaultRow


_KINDS: dict[str, type[Ready] | type[Answer] | type[Farewell] | type[Request]] = {
    kind.__name__: kind for kind in (Ready, Answer, Farewell, Request)
}

Message = Ready | Answer | Farewell | Request


def encode(message: Message) -> bytes:
    """Return ``message`` as one line."""
    return json.dumps((type(message).__name__, *message), separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of one line; rows within it stay lists, in the order of their class's fields.

    Errors: ValueError for what is no message.
    """
    parts: Any = json.loads(line)
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], str):
        raise ValueError("not a message")
    kind = _KINDS.get(parts[0])
    if kind is None or len(parts) != len(kind._fields) + 1:
        raise ValueError(f"no message {parts[0][:20]!r} of {len(parts) - 1} parts")
    return kind(*parts[1:])


class Calling(NamedTuple):
    """The driver call that the reader is inside of. ``device_index``: None for calls on no GPU."""

    call: str
    gpu: str | None
    device_index: int | None
    seconds: float


_SLOT = struct.Struct("=Qi64s96s")  # started (monotonic ns; 0: no call), device index, call, GPU
_STARTED = struct.Struct("=Q")
_NO_DEVICE = -1


class Slot:
    """Says what the reader is calling, before it calls; costs no system call.

    Shared memory, so that it can still be read when the reader hangs or has crashed.
    """

    def __init__(self, fd: int) -> None:
        """Map ``fd``, one made by ``create``."""
        self._map = mmap.mmap(fd, mmap.PAGESIZE)

    @staticmethod
    def create() -> int:
        """Return a new file descriptor for one slot; it is handed to the reader."""
        fd = os.memfd_create("vramwatch-now-calling")
        os.ftruncate(fd, mmap.PAGESIZE)
        return fd

    def enter(self, started_ns: int, call: bytes, index: int, gpu: bytes) -> None:
        _SLOT.pack_into(self._map, 0, started_ns, index, call, gpu)

    def leave(self) -> None:
        _STARTED.pack_into(self._map, 0, 0)

    def calling(self, now_ns: int) -> Calling | None:
        """Return what the reader is inside of at ``now_ns`` (CLOCK_MONOTONIC), None between calls."""
        started, index, call, gpu = _SLOT.unpack_from(self._map, 0)
        if not started:
            return None
        return Calling(
            _text(call),
            _text(gpu) or None,
            None if index == _NO_DEVICE else index,
            max(0, now_ns - started) / 1e9,
        )

    def close(self) -> None:
        self._map.close()


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii", "replace")
