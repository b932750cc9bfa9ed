"""How full a GPU's memory is, and on what basis that is known. Runs in the child."""

import ctypes

import pynvml

from vramwatch.driver.calls import (
    INVENTORY,
    MEMORY,
    NOT_AVAILABLE_64,
    NOT_FOR_THIS_GPU,
    Driver,
    DriverError,
    Function,
)
from vramwatch.driver.devices import Device, Sharing
from vramwatch.driver.wire import Figures

MEMINFO = "/proc/meminfo"

INTEGRATED = ("GB10", "Thor", "Orin", "Xavier", "Tegra", "(nvgpu)")
"""In the names of GPUs that have no memory of their own: DGX Spark and the Jetsons."""

SHARE_OF_HOST = 0.9
"""An integrated GPU whose total is more than this share of the host's memory reports the host's memory."""


def sharing_of(name: str, total: int, host_total: int, is_node: bool) -> Sharing:
    """Return how a GPU shares memory. ``total``: as the driver tells it, 0 where it tells none. Bytes."""
    if is_node:
        return Sharing.NODE
    integrated = any(mark in name for mark in INTEGRATED)
    if not total or total == host_total or (integrated and total >= SHARE_OF_HOST * host_total):
        return Sharing.HOST
    return Sharing.OWN


def host_memory() -> tuple[int, int]:
    """Return MemTotal and MemAvailable of /proc/meminfo. Bytes."""
    wanted: dict[str, int] = {}
    with open(MEMINFO, encoding="ascii") as lines:  # noqa: PTH123 - pathlib is half a MiB in the child
        for line in lines:
            key, _, rest = line.partition(":")
            if key in ("MemTotal", "MemAvailable"):
                wanted[key] = int(rest.split()[0]) * 1024
    return wanted["MemTotal"], wanted["MemAvailable"]


class MemoryInfo:
    """Reads memory figures, by nvmlMemory_v2 where the driver has it (R510 and later), else by v1."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._v2 = driver.find("nvmlDeviceGetMemoryInfo_v2")
        self._v1 = driver.find("nvmlDeviceGetMemoryInfo")
        self._memory_v2 = pynvml.c_nvmlMemory_v2_t(version=pynvml.nvmlMemory_v2)
        self._memory_v1 = pynvml.c_nvmlMemory_t()

    def read(self, device: Device) -> Figures:
        """Return the figures of ``device``. Errors: DriverError."""
        if device.sharing == Sharing.HOST:
            total, available = host_memory()
            return Figures("unified", total, 0, available, 0)
        told = self._told(device)
        if device.sharing == Sharing.NODE:
            return Figures("unified", told.total, 0, told.free, 0)
        return told

    def sharing(self, device: Device) -> Sharing:
        """Return how ``device``, whose name is known, shares memory. Errors: DriverError."""
        try:
            total = self._told(device).total
        except DriverError as error:
            if error.code != pynvml.NVML_ERROR_NOT_SUPPORTED:
                raise
            total = 0
        return sharing_of(device.name, total, host_memory()[0], self._is_node(device))

    def _is_node(self, device: Device) -> bool:
        try:
            node = self._driver.ask(INVENTORY, device.target, pynvml.nvmlDeviceGetNumaNodeId, device.handle)
        except DriverError as error:
            if error.code in NOT_FOR_THIS_GPU | {pynvml.NVML_ERROR_INVALID_ARGUMENT}:
                return False
            raise
        return bool(node >= 0)

    def _told(self, device: Device) -> Figures:
        if self._v2:
            try:
                return self._told_v2(device, self._v2)
            except DriverError as error:
                if error.code not in _NO_V2:
                    raise
                self._v2 = None
        if not self._v1:
            raise DriverError("nvmlDeviceGetMemoryInfo", pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        memory = self._memory_v1
        self._driver.call(MEMORY, device.target, self._v1, device.handle, ctypes.byref(memory))
        return _available(self._v1.name, Figures("v1", memory.total, memory.used, memory.free, 0))

    def _told_v2(self, device: Device, function: Function) -> Figures:
        memory = self._memory_v2
        self._driver.call(MEMORY, device.target, function, device.handle, ctypes.byref(memory))
        figures = Figures("v2", memory.total, memory.used, memory.free, memory.reserved)
        return _available(function.name, figures)


_NO_V2 = frozenset(
    {
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
    }
)


def _available(call: str, figures: Figures) -> Figures:
    """Return ``figures``. Errors: DriverError where one of them is "not available"."""
    if NOT_AVAILABLE_64 in figures:
        raise DriverError(call, pynvml.NVML_ERROR_NOT_SUPPORTED)
    return figures
