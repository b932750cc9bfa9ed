"""Calling the driver: every call is named in the slot first, timed and counted; every error is a value.

Runs in the child. The library is loaded by pynvml; error codes are those of nvml.h (nvmlReturn_t).
"""

from collections.abc import Callable
from time import monotonic_ns
from typing import Any, NamedTuple

import pynvml

from vramwatch.driver.wire import FaultRow, Slot

INVENTORY, MEMORY, SLOW = "inventory", "memory", "slow"
"""What driver time is counted by, beside ``list:UUID`` for the process list and utilisation of one Gpu."""

NOT_FOR_THIS_GPU = frozenset(
    {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_DEPRECATED}
)
"""The GPU or this driver has no such value: not asked for again on the same handle."""

STALE_HANDLE = frozenset(
    {pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_GPU_NOT_FOUND}
)
"""The handle means nothing any more: unplugged, or its MIG instance was destroyed."""

DRIVER_WENT_AWAY = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_UNKNOWN,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)
"""Said by every GPU, these are about the driver: it was reloaded, unloaded or replaced."""

NOT_AVAILABLE_32 = pynvml.NVML_VALUE_NOT_AVAILABLE_uint.value
NOT_AVAILABLE_64 = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value

_FAULTS = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: ("no_driver", "libnvidia-ml.so.1 is missing: no NVIDIA driver"),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: ("no_driver", "the NVIDIA kernel driver is not loaded"),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "driver_mismatch",
        "the driver's library and its kernel module are of different versions; reload the module or reboot",
    ),
    pynvml.NVML_ERROR_GPU_IS_LOST: ("gpu_lost", "the GPU has fallen off the bus or is otherwise lost"),
    pynvml.NVML_ERROR_RESET_REQUIRED: ("reset_required", "the GPU must be reset before it can be used"),
    pynvml.NVML_ERROR_NO_PERMISSION: ("no_permission", "the driver denies it to this user"),
    pynvml.NVML_ERROR_OPERATING_SYSTEM: ("no_permission", "the operating system has blocked the call"),
    pynvml.NVML_ERROR_NOT_SUPPORTED: ("not_supported", "the driver does not support it on this GPU"),
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: ("not_supported", "this driver has no such function"),
    pynvml.NVML_ERROR_INVALID_ARGUMENT: ("gpu_gone", "the driver no longer knows the GPU"),
    pynvml.NVML_ERROR_NOT_FOUND: ("gpu_gone", "the driver no longer finds the GPU"),
    pynvml.NVML_ERROR_GPU_NOT_FOUND: ("gpu_gone", "the driver no longer finds the GPU"),
}


class DriverError(Exception):
    """The driver answered ``call`` with ``code``; ``detail`` where we know better what is wrong."""

    def __init__(self, call: str, code: int, detail: str | None = None) -> None:
        super().__init__(call, code, detail)
        self.call = call
        self.code = code
        self.detail = detail

    def fault(self) -> FaultRow:
        """Return it as a value, its detail a clause that may follow "because"."""
        kind, said = _FAULTS.get(self.code, ("unknown", f"the driver answered {pynvml.NVMLError(self.code)}"))
        return FaultRow(kind, self.detail or f"{said} ({self.call})", self.call, self.code)


class Target(NamedTuple):
    """What a call is about, in the slot's form."""

    device_index: int
    label: bytes


NO_TARGET = Target(-1, b"")


class Function(NamedTuple):
    """One of the library's functions with a signature of our own."""

    name: str
    label: bytes
    pointer: Callable[..., int]


class Driver:
    """The mapped library of this process. ``seconds`` (by group) and ``calls`` count since ``restart``."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._ns: dict[str, int] = {}
        self.calls = 0

    def restart_counts(self) -> None:
        self._ns = {}
        self.calls = 0

    def seconds(self) -> dict[str, float]:
        """Return seconds inside driver calls by group, groups without a call left out."""
        return {group: ns / 1e9 for group, ns in self._ns.items()}

    def open(self) -> None:
        """Load and initialise the library.

        A node without a GPU is no error (NVML_INIT_FLAG_NO_GPUS). Errors: DriverError.
        """
        self.ask(INVENTORY, NO_TARGET, pynvml.nvmlInitWithFlags, pynvml.NVML_INIT_FLAG_NO_GPUS)

    def close(self) -> None:
        """Let go of every GPU. Errors: DriverError."""
        self.ask(INVENTORY, NO_TARGET, pynvml.nvmlShutdown)

    def find(self, *names: str) -> Function | None:
        """Return the first of ``names`` that the library has."""
        for name in names:
            try:
                return Function(name, name.encode(), pynvml.nvmlLib[name])
            except AttributeError:
                continue
        return None

    def ask(self, group: str, target: Target, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function of pynvml returns. Errors: DriverError."""
        name = function.__name__
        try:
            return self._make(group, target, name.encode(), function, arguments)
        except pynvml.NVMLError as error:
            raise DriverError(name, error.value) from None
        except pynvml.NVMLLibraryMismatchError:
            raise DriverError(name, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND) from None
        except UnicodeDecodeError:
            raise DriverError(name, pynvml.NVML_ERROR_UNKNOWN, f"unreadable text from {name}") from None

    def call(self, group: str, target: Target, function: Function, *arguments: Any) -> None:
        """Call ``function`` of the library itself. Errors: DriverError."""
        code = self._make(group, target, function.label, function.pointer, arguments)
        if code:
            raise DriverError(function.name, code)

    def _make(
        self,
        group: str,
        target: Target,
        label: bytes,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> Any:
        started = monotonic_ns()
        self._slot.enter(started, label, target.device_index, target.label)
        try:
            return function(*arguments)
        finally:
            self._slot.leave()
            self._ns[group] = self._ns.get(group, 0) + monotonic_ns() - started
            self.calls += 1
