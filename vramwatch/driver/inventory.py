"""Which devices and MIG instances there are, by UUID. Runs in the child."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pynvml

from vramwatch.driver.calls import (
    INVENTORY,
    NO_TARGET,
    NOT_FOR_THIS_GPU,
    STALE_HANDLE,
    Driver,
    DriverError,
    Target,
)
from vramwatch.driver.devices import Device
from vramwatch.driver.memory import MemoryInfo

UNNAMED = "NVIDIA GPU"


class Inventory:
    """The Gpus that there are. A device on which MIG is on stands here by its instances alone.

    ``devices`` is in index order; one without a handle has a fault that says why.
    """

    def __init__(self, driver: Driver, memory: MemoryInfo) -> None:
        self._driver = driver
        self._memory = memory
        self._count = 0
        self._known: dict[str, Device] = {}  # devices with MIG on too
        self._mig_on: dict[str, bool] = {}
        self.devices: list[Device] = []

    def take(self, without: Mapping[str, int]) -> None:
        """Look everything up again, leaving out devices ``without`` (UUID -> index). Errors: DriverError."""
        count = self._count_devices()
        is_same_count, self._count = count == self._count, count
        before, self._before = self.devices, self._known | {device.uuid: device for device in self.devices}
        self._known, self._mig_on = {}, {}
        found: list[Device] = []
        for index in sorted(set(range(count)).difference(without.values())):
            same_place = [device for device in before if is_same_count and device.index == index]
            found += self._at(index, same_place)
        self.devices = [d for d in found if d.uuid not in without and d.parent not in without]

    def has_changed(self) -> bool:
        """Whether ``take`` would find something else. Errors: DriverError."""
        if self._count_devices() != self._count or any(device.parent for device in self.devices):
            return True
        return any(
            self._mig_is_on(d) != self._mig_on.get(d.uuid) for d in self.devices if d.handle and d.has_mig
        )

    def _count_devices(self) -> int:
        return int(self._driver.ask(INVENTORY, NO_TARGET, pynvml.nvmlDeviceGetCount))

    def _at(self, index: int, same_place: Collection[Device]) -> list[Device]:
        """Return what stands at ``index``; ``same_place``: what stood there before."""
        try:
            target = Target(index, f"index:{index}".encode())
            handle = self._handle(target, pynvml.nvmlDeviceGetHandleByIndex, index)
            uuid = str(self._ask(target, pynvml.nvmlDeviceGetUUID, handle))
        except DriverError as error:
            return self._unreachable(index, same_place, error)
        device = self._renewed(uuid, handle, index, str(index), None)
        self._known[uuid] = device
        try:
            is_divided = device.has_mig and self._mig_is_on(device)
            self._mig_on[uuid] = is_divided
            if not device.name:
                self._describe(device, is_divided)
            instances = self._instances(device) if is_divided else []
        except DriverError as error:
            device.failed(error)
            return [device]
        if is_divided and not instances:
            device.failed(
                DriverError(
                    "nvmlDeviceGetMigDeviceHandleByIndex",
                    pynvml.NVML_ERROR_NOT_SUPPORTED,
                    "MIG is on and has no instances",
                )
            )
        return instances or [device]

    def _unreachable(self, index: int, same_place: Collection[Device], error: DriverError) -> list[Device]:
        if error.code in STALE_HANDLE:
            return []
        devices = list(same_place) or [Device(index, f"index:{index}", str(index), None)]
        for device in devices:
            device.failed(error)
            if device.parent is None:
                self._known[device.uuid] = device
        return devices

    def _renewed(self, uuid: str, handle: Any, index: int, ordinal: str, parent: str | None) -> Device:
        """Return the Device that is known by ``uuid``, or a new one, with the fresh handle."""
        device = self._before.get(uuid) or Device(index, uuid, ordinal, handle, parent)
        device.renew(handle, index, ordinal)
        return device

    def _describe(self, device: Device, is_divided: bool) -> None:
        """Read what never changes. How it shares memory is not asked of a device that MIG divides."""
        device.pci = self._pci(device)
        name = self._name(device)
        if not is_divided:
            device.name = name
            device.sharing = self._memory.sharing(device)
        device.name = name

    def _name(self, device: Device) -> str:
        try:
            return str(self._ask(device.target, pynvml.nvmlDeviceGetName, device.handle)) or UNNAMED
        except DriverError as error:
            if error.code in NOT_FOR_THIS_GPU:
                return UNNAMED
            raise

    def _pci(self, device: Device) -> str | None:
        try:
            bus_id = self._ask(device.target, pynvml.nvmlDeviceGetPciInfo_v3, device.handle).busId
        except DriverError as error:
            if error.code in NOT_FOR_THIS_GPU:
                return None
            raise
        return bus_id.decode("ascii", "replace") if isinstance(bus_id, bytes) else str(bus_id)

    def _mig_is_on(self, device: Device) -> bool:
        try:
            current, _pending = self._ask(device.target, pynvml.nvmlDeviceGetMigMode, device.handle)
        except DriverError as error:
            if error.code in NOT_FOR_THIS_GPU:
                device.has_mig = False
            return False
        return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)

    def _instances(self, device: Device) -> list[Device]:
        """Return the MIG instances of ``device``; their indices may have holes."""
        count = self._ask(device.target, pynvml.nvmlDeviceGetMaxMigDeviceCount, device.handle)
        found = []
        for number in range(count):
            try:
                handle = self._handle(
                    device.target, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, device.handle, number
                )
                uuid = str(self._ask(device.target, pynvml.nvmlDeviceGetUUID, handle))
            except DriverError as error:
                if error.code in STALE_HANDLE:
                    continue
                raise
            instance = self._renewed(uuid, handle, device.index, f"{device.index}:{number}", device.uuid)
            instance.pci = device.pci
            if not instance.name:
                instance.name = self._name(instance)
            found.append(instance)
        return found

    def _handle(self, target: Target, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return a handle, never NULL: the library crashes on one (nvitop issue 139)."""
        handle = self._ask(target, function, *arguments)
        if not handle:
            raise DriverError(function.__name__, pynvml.NVML_ERROR_UNKNOWN, "the driver gave a NULL handle")
        return handle

    def _ask(self, target: Target, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._driver.ask(INVENTORY, target, function, *arguments)
