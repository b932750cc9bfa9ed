"""Answers requests: reads every Gpu, and takes what fails as a value. Runs in the child."""

from typing import Any

import pynvml

from vramwatch.driver.calls import (
    DRIVER_WENT_AWAY,
    NOT_AVAILABLE_32,
    NOT_AVAILABLE_64,
    NOT_FOR_THIS_GPU,
    SLOW,
    STALE_HANDLE,
    Driver,
    DriverError,
)
from vramwatch.driver.devices import Device, Sharing
from vramwatch.driver.inventory import Inventory
from vramwatch.driver.lists import Lists
from vramwatch.driver.memory import MemoryInfo
from vramwatch.driver.wire import Answer, ClaimRow, FaultRow, GpuRow, Identity, Request

ABOUT_THE_GPU = STALE_HANDLE | {
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
}
"""Said of one value, these are said of the whole GPU."""

PERCENT = 100
MILLIWATTS = 1000


class Reader:
    """The GPUs of this node, taken up. Errors of the constructor: DriverError."""

    def __init__(self, driver: Driver, without: dict[str, int]) -> None:
        self._driver = driver
        self._without = without
        self._told: list[Identity] | None = None
        self._take_up()

    def answer(self, request: Request) -> Answer:
        """Return what ``request`` asks for. Errors: DriverError, when the driver itself has gone."""
        self._driver.restart_counts()
        try:
            gpus = self._read(request)
        except DriverError as error:
            if error.code not in DRIVER_WENT_AWAY:
                raise
            self._take_up_again()
            gpus = self._read(request)
        devices = self._inventory.devices
        read = {row.uuid for row in gpus}
        missing = [(d.uuid, d.fault) for d in devices if d.uuid not in read and d.fault]
        told, self._told = self._told, [device.identity() for device in devices]
        inventory = None if told == self._told else self._told
        return Answer(gpus, missing, inventory, self._driver.seconds(), self._driver.calls)

    def close(self) -> None:
        """Let go of every GPU. Errors: DriverError."""
        self._driver.close()

    def _take_up(self) -> None:
        self._driver.open()
        self._memory = MemoryInfo(self._driver)
        self._lists = Lists(self._driver)
        self._temperature = self._driver.find("nvmlDeviceGetTemperatureV")
        self._inventory = Inventory(self._driver, self._memory)
        self._inventory.take(self._without)

    def _take_up_again(self) -> None:
        """Initialise once more, after a reload of the driver. Errors: DriverError."""
        try:
            self._driver.close()
        except DriverError as error:
            if error.code not in DRIVER_WENT_AWAY:
                raise
        self._take_up()

    def _read(self, request: Request) -> list[GpuRow]:
        """Read what is due. Errors: DriverError, said by every GPU alike."""
        waiting = {d for d in self._inventory.devices if not d.is_due() and not request.slow}
        if self._needs_inventory(request, waiting):
            self._inventory.take(self._without)
        rows, errors = self._read_each(request, waiting)
        if any(error.code in STALE_HANDLE for error in errors):
            self._inventory.take(self._without)
            rows, errors = self._read_each(request, waiting)
        faults = [device.fault for device in self._inventory.devices if device.fault]
        if faults and not rows and all(fault.code in DRIVER_WENT_AWAY for fault in faults):
            raise DriverError(str(faults[0].call), faults[0].code or pynvml.NVML_ERROR_UNKNOWN)
        return rows

    def _needs_inventory(self, request: Request, waiting: set[Device]) -> bool:
        if request.without != self._without:
            self._without = request.without
            self._told = None
            return True
        if any(device.handle is None for device in self._inventory.devices if device not in waiting):
            return True
        return request.slow and self._inventory.has_changed()

    def _read_each(self, request: Request, waiting: set[Device]) -> tuple[list[GpuRow], list[DriverError]]:
        rows, errors = [], []
        for device in self._inventory.devices:
            if device in waiting or device.handle is None:
                continue
            try:
                rows.append(self._read_one(device, request))
                device.succeeded()
            except DriverError as error:
                device.failed(error)
                errors.append(error)
        return rows, errors

    def _read_one(self, device: Device, request: Request) -> GpuRow:
        figures = self._memory.read(device)
        wants_lists = request.lists is None or device.uuid in request.lists
        if not (wants_lists or request.slow or device.sharing is not Sharing.OWN):
            return GpuRow(device.uuid, figures)
        claims, claims_fault = None, None
        if wants_lists or device.sharing is not Sharing.OWN:
            claims, claims_fault = self._claims(device, request.slow)
        utilization = self._utilization(device) if wants_lists else None
        if not request.slow:
            return GpuRow(device.uuid, figures, claims, claims_fault, utilization)
        return GpuRow(
            device.uuid,
            figures,
            claims,
            claims_fault,
            utilization,
            self._degrees(device),
            self._watts(device),
            self._peaks(device),
        )

    def _claims(self, device: Device, renew_kinds: bool) -> tuple[list[ClaimRow] | None, FaultRow | None]:
        """Return the claims, or why there are none. Errors: DriverError, for what is about the GPU."""
        try:
            claims = self._lists.read(device, renew_kinds)
        except DriverError as error:
            if error.code in ABOUT_THE_GPU or device.sharing is not Sharing.OWN:
                raise
            return None, error.fault()
        device.pids = tuple({claim.pid for claim in claims})
        return claims, None

    def _utilization(self, device: Device) -> float | None:
        """Return nvmlUtilization_t.gpu as a ratio; its ``memory`` is bandwidth, not a fill level."""
        told = self._value(device.list_group, device, pynvml.nvmlDeviceGetUtilizationRates)
        return told.gpu / PERCENT if told is not None and told.gpu <= PERCENT else None

    def _degrees(self, device: Device) -> float | None:
        function = pynvml.nvmlDeviceGetTemperatureV if self._temperature else pynvml.nvmlDeviceGetTemperature
        told = self._value(SLOW, device, function, pynvml.NVML_TEMPERATURE_GPU)
        return None if told is None or told & NOT_AVAILABLE_32 == NOT_AVAILABLE_32 else float(told)

    def _watts(self, device: Device) -> float | None:
        told = self._value(SLOW, device, pynvml.nvmlDeviceGetPowerUsage)
        return None if told is None or told == NOT_AVAILABLE_32 else told / MILLIWATTS

    def _peaks(self, device: Device) -> tuple[tuple[int, int], ...]:
        """Return (pid, largest bytes ever) of the listed pids, where accounting mode is on."""
        mode = self._value(SLOW, device, pynvml.nvmlDeviceGetAccountingMode)
        if mode != pynvml.NVML_FEATURE_ENABLED:
            return ()
        peaks = []
        for pid in device.pids:
            stats = self._value(SLOW, device, pynvml.nvmlDeviceGetAccountingStats, pid)
            if stats is not None and stats.maxMemoryUsage not in (None, NOT_AVAILABLE_64):
                peaks.append((pid, int(stats.maxMemoryUsage)))
        return tuple(peaks)

    def _value(self, group: str, device: Device, function: Any, *arguments: Any) -> Any:
        """Return one of the values that a GPU may do without, None where it does."""
        if device.lacks(function.__name__):
            return None
        try:
            return self._driver.ask(group, device.target, function, device.handle, *arguments)
        except DriverError as error:
            if error.code in NOT_FOR_THIS_GPU:
                device.forgo(function.__name__)
            return None
