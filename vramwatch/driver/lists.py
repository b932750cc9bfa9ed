"""Who holds memory on a GPU: the driver's process lists, one call each, without a size probe.

Runs in the child. The trap: the row's size is not what the symbol's version says. v1 has 16 bytes, v2 24;
v3 has 24 but had 32 in R535, and one later driver writes 16 (nvidia-ml-py and nvitop issue threads). So
the buffer is filled with a pattern first, and the size is measured by how far the driver wrote.
"""

import ctypes
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import pynvml

from vramwatch.driver.calls import (
    NOT_AVAILABLE_32,
    NOT_AVAILABLE_64,
    NOT_FOR_THIS_GPU,
    Driver,
    DriverError,
    Function,
)
from vramwatch.driver.devices import Device
from vramwatch.driver.wire import COMPUTE, GRAPHICS, MPS, ClaimRow

ROWS = 1024
"""Room for a list. The resource manager ends one at 950 (open-gpu-kernel-modules), so no list needs more."""

LAYOUTS = {
    16: struct.Struct("=I4xQ"),  # nvmlProcessInfo_v1_t: pid, used
    24: struct.Struct("=I4xQII"),  # nvmlProcessInfo_v2_t: + GPU instance, compute instance
    32: struct.Struct("=I4xQII8x"),  # R535's v3 and nvmlProcessDetail_v1_t: + protected bytes
}
"""Bytes a row -> the row. nvml.h; R535's from nvidia-ml-py 12.535."""

WIDEST = max(LAYOUTS)

POISON = 0xA5
"""Ends no row: the last byte of one is the top byte of a size, an instance id or all ones."""

_SYMBOLS = {
    COMPUTE: "nvmlDeviceGetComputeRunningProcesses",
    GRAPHICS: "nvmlDeviceGetGraphicsRunningProcesses",
    MPS: "nvmlDeviceGetMPSComputeRunningProcesses",
}

Row = Sequence[int]
"""pid, used, and from 24 bytes on GPU instance and compute instance."""


def row_size(written: bytes, count: int) -> int | None:
    """Return the bytes of each of ``count`` (> 0) rows, None where it cannot be told.

    ``written``: the buffer's first ``count + 1`` widest rows, poisoned before the call.
    """
    length = len(written.rstrip(bytes((POISON,))))
    size, rest = divmod(length, count)
    return size if size in LAYOUTS and not rest else None


def join(lists: Iterable[tuple[int, Iterable[Row]]]) -> list[ClaimRow]:
    """Return one ClaimRow for each (pid, GPU instance, compute instance), lists given as (kind, rows).

    A process that stands in several lists holds its bytes once: the largest figure counts, none is added.
    """
    joined: dict[tuple[int, ...], tuple[int | None, int]] = {}
    for kind, rows in lists:
        for pid, used, *instances in rows:
            key = (pid, *instances) if instances else (pid, NOT_AVAILABLE_32, NOT_AVAILABLE_32)
            told = None if used == NOT_AVAILABLE_64 else used
            before, kinds = joined.get(key, (None, 0))
            joined[key] = (told if before is None else max(before, told or 0), kinds | kind)
    return [
        ClaimRow(pid, used, kinds, _instance(gpu_instance), _instance(compute_instance))
        for (pid, gpu_instance, compute_instance), (used, kinds) in joined.items()
    ]


def _instance(value: int) -> int | None:
    return None if value == NOT_AVAILABLE_32 else value


class Lists:
    """Reads process lists into one kept buffer."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._buffer = ctypes.create_string_buffer((ROWS + 1) * WIDEST)
        self._view = memoryview(self._buffer).cast("B")
        self._count = ctypes.c_uint()
        self._count_ref = ctypes.byref(self._count)
        self._functions = {kind: self._versions(name) for kind, name in _SYMBOLS.items()}
        self._detail = driver.find("nvmlDeviceGetRunningProcessDetailList")
        self._details = pynvml.c_nvmlProcessDetailList_t()

    def read(self, device: Device, renew_kinds: bool) -> list[ClaimRow]:
        """Return the claims of ``device``.

        One call where the driver lists all kinds at once (13.x); as that list does not say which is
        which, kinds are then those of the last reading with ``renew_kinds``. Errors: DriverError.
        """
        if self._detail and not renew_kinds and not device.lacks(self._detail.name):
            rows = self._all_kinds(device, self._detail)
            if rows is not None:
                claims = join([(0, rows)])
                return [claim._replace(kinds=device.kinds.get(claim.pid, 0)) for claim in claims]
        claims = join((kind, rows) for kind in _SYMBOLS if (rows := self._one_kind(device, kind)) is not None)
        device.kinds = {claim.pid: claim.kinds for claim in claims}
        return claims

    def _one_kind(self, device: Device, kind: int) -> list[Row] | None:
        """Return the rows of one list, None for one that this GPU or driver does not have."""
        while self._functions[kind]:
            function = self._functions[kind][0]
            if device.lacks(function.name):
                return None
            self._poison()
            self._count.value = ROWS
            try:
                self._driver.call(
                    device.list_group, device.target, function, device.handle, self._count_ref, self._buffer
                )
            except DriverError as error:
                if kind == COMPUTE or error.code not in NOT_FOR_THIS_GPU:
                    raise
                device.forgo(function.name)
                return None
            rows = self._rows(self._count.value)
            if rows is not None:
                return rows
            del self._functions[kind][0]
        if kind != COMPUTE:
            return None
        raise DriverError(
            _SYMBOLS[kind],
            pynvml.NVML_ERROR_UNKNOWN,
            "the driver's process list has rows of an unknown layout",
        )

    def _all_kinds(self, device: Device, function: Function) -> list[Row] | None:
        """Return the rows of the list of all kinds, None where the driver has no such list."""
        self._poison()
        self._details.version = pynvml.nvmlProcessDetailList_v1
        self._details.mode = pynvml.NVML_PROCESS_MODE_ALL
        self._details.numProcArrayEntries = ROWS
        self._details.procArray = ctypes.cast(self._buffer, ctypes.POINTER(pynvml.c_nvmlProcessDetail_v1_t))
        try:
            self._driver.call(
                device.list_group, device.target, function, device.handle, ctypes.byref(self._details)
            )
        except DriverError as error:
            if error.code not in _NO_LIST_OF_ALL:
                raise
            device.forgo(function.name)
            return None
        rows = self._rows(self._details.numProcArrayEntries)
        if rows is None:
            device.forgo(function.name)
        return rows

    def _poison(self) -> None:
        ctypes.memset(self._buffer, POISON, len(self._view))

    def _rows(self, count: int) -> list[Row] | None:
        """Return the ``count`` rows that the driver wrote, None where their layout cannot be told."""
        if not count:
            return []
        if count > ROWS:
            return None
        written = self._view[: (count + 1) * WIDEST].tobytes()
        size = row_size(written, count)
        return list(LAYOUTS[size].iter_unpack(written[: count * size])) if size else None

    def _versions(self, name: str) -> list[Function]:
        """Return the versions of one list that the library has, newest first."""
        found = (self._driver.find(name + version) for version in ("_v3", "_v2", ""))
        return [function for function in found if function]


_NO_LIST_OF_ALL: frozenset[Any] = NOT_FOR_THIS_GPU | {
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
}
