"""GPUs, MIG instances and processes of a FakeDriver, changed while others look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.nvml import state
from tests.nvml.places import Place

if TYPE_CHECKING:
    from tests.nvml.driver import FakeDriver

MIB = 1024**2
GIB = 1024**3
GPU_IS_LOST = 15  # pynvml: NVML_ERROR_GPU_IS_LOST
KINDS = {"compute": state.COMPUTE, "graphics": state.GRAPHICS, "mps": state.MPS}


class InUseError(Exception):
    """The driver refuses, because a client has the library initialised (NVML_ERROR_IN_USE)."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process on a GPU: in the lists named by ``kinds``; ``used`` None: the driver will not say."""

    pid: int
    used: int | None
    kinds: tuple[str, ...] = ("compute",)
    gpu_instance: int = state.NO_INSTANCE
    compute_instance: int = state.NO_INSTANCE

    def row(self) -> state.Row:
        return state.Row(
            self.pid,
            sum(KINDS[kind] for kind in self.kinds),
            state.UNKNOWN_BYTES if self.used is None else self.used,
            self.gpu_instance,
            self.compute_instance,
        )


def _sum(processes: Iterable[Process]) -> int:
    """Return the bytes of all; a process that is listed twice on an instance holds them once."""
    held: dict[tuple[int, int, int], int] = {}
    for one in processes:
        key = (one.pid, one.gpu_instance, one.compute_instance)
        held[key] = max(held.get(key, 0), one.used or 0)
    return sum(held.values())


class FakeGpu(Place):
    """One slot of the machine. Slots keep their order; the index counts those that are plugged in.

    Memory ``used`` follows the processes (plus ``overhead``), unless it was set.
    """

    def __init__(self, driver: FakeDriver, slot: int) -> None:
        super().__init__(driver.state, 1 + slot)
        self.slot = slot
        self.instances: list[FakeInstance] = []
        self.processes: tuple[Process, ...] = ()
        self._driver = driver
        self._fields = driver.scene.gpus[slot]
        self._used: int | None = None
        self._overhead = 0

    @property
    def uuid(self) -> str:
        return str(self._fields.uuid.decode())

    @property
    def name(self) -> str:
        return str(self._fields.name.decode())

    @property
    def pci(self) -> str:
        return str(self._fields.pci.decode())

    @property
    def total(self) -> int:
        """Bytes of the GPU."""
        return int(self._fields.total)

    @property
    def used(self) -> int:
        """Bytes that the driver reports as used (v2, without the reserved ones)."""
        return _sum(self.processes) + self._overhead if self._used is None else self._used

    def set_processes(self, processes: Iterable[Process]) -> None:
        """Replace the process lists, of all instances too."""
        listed = tuple(processes)
        if len(listed) > state.ROWS:
            raise ValueError(f"{len(listed)} processes on a GPU; the test driver holds {state.ROWS}")
        with self._driver.changing():
            self.processes = listed
            self._fields.rows[: len(listed)] = [one.row() for one in listed]
            self._fields.row_count = len(listed)

    def set_used(self, used: int | None) -> None:
        """Report ``used`` bytes, whatever the processes say; None: follow them again."""
        with self._driver.changing():
            self._used = used

    def set_memory(
        self, *, total: int | None = None, reserved: int | None = None, overhead: int | None = None
    ) -> None:
        """Change what is given. ``overhead``: bytes used beside those of the processes."""
        with self._driver.changing():
            if total is not None:
                self._fields.total = total
            if reserved is not None:
                self._fields.reserved = reserved
            if overhead is not None:
                self._overhead = overhead

    def set_sensors(
        self,
        *,
        utilization: int | None = None,
        temperature: int | None = None,
        power: int | None = None,
        persistence: bool | None = None,
    ) -> None:
        """Change what is given: percent, degrees Celsius, milliwatts, and persistence mode."""
        given = {
            "utilization": utilization,
            "temperature": temperature,
            "power": power,
            "persistence": persistence,
        }
        with self._driver.changing():
            for name, value in given.items():
                if value is not None:
                    setattr(self._fields, name, int(value))

    def set_accounting(self, peaks: Mapping[int, int] | None) -> None:
        """Turn accounting mode on with the largest use of each pid, in bytes; None: off.

        A pid that is listed as a process is running.
        """
        records = peaks or {}
        if len(records) > state.ROWS:
            raise ValueError(f"{len(records)} accounting records; the test driver holds {state.ROWS}")
        running = {one.pid for one in self.processes}
        with self._driver.changing():
            self._fields.accounting = peaks is not None
            self._fields.record_count = len(records)
            for place, (pid, peak) in enumerate(records.items()):
                self._fields.records[place] = state.Record(pid, pid in running, peak)

    def lose(self, code: int = GPU_IS_LOST) -> None:
        """Answer every call on this GPU and its instances with ``code``, those that ask for a handle too."""
        with self._driver.changing():
            self._fields.condition = code

    def recover(self) -> None:
        """End what ``lose`` began."""
        self.lose(0)

    def reset(self) -> None:
        """Recover as ``nvidia-smi --gpu-reset`` would. Errors: InUseError while there is a client."""
        self._driver.refuse_if_in_use(f"reset of {self.uuid}")
        self.recover()

    def unplug(self) -> None:
        """Take the GPU out: the count and the indices follow, handles to it are dead for good."""
        self._plug(False)

    def plug_in(self) -> None:
        """Put the GPU back in."""
        self._plug(True)

    def _plug(self, present: bool) -> None:
        with self._driver.changing():
            self._fields.generation += self._fields.present != present
            self._fields.present = present

    def set_mig(self, on: bool | None, force: bool = False) -> None:
        """Turn MIG mode on or off; None: the GPU does not know of MIG. Instances go when it is not on.

        Errors: InUseError while there is a client, unless ``force``.
        """
        if not force:
            self._driver.refuse_if_in_use(f"MIG mode switch of {self.uuid}")
        with self._driver.changing():
            self._fields.mig = state.MIG_UNSUPPORTED if on is None else on
            if not on:
                for instance in list(self.instances):
                    instance.destroy()

    def add_instance(
        self,
        index: int | None = None,
        *,
        total: int = 10 * GIB,
        reserved: int = 0,
        gpu_instance: int | None = None,
        compute_instance: int = 0,
        name: str | None = None,
        uuid: str | None = None,
    ) -> FakeInstance:
        """Return a new MIG instance at ``index``, by default the lowest that is free; others stay holes.

        Errors: ValueError when the index is taken or there is none left.
        """
        taken = {instance.index for instance in self.instances}
        free = [place for place in range(state.INSTANCES) if place not in taken]
        if index is None and free:
            index = free[0]
        if index is None or index not in free:
            raise ValueError(f"no MIG instance can be made at index {index}: free are {free}")
        with self._driver.changing():
            fields = self._fields.instances[index]
            fields.generation += 1
            fields.gpu_instance = index + 1 if gpu_instance is None else gpu_instance
            fields.compute_instance = compute_instance
            fields.uuid = (
                uuid or f"MIG-{self.slot:08x}-0000-0000-{index:04x}-{fields.generation:012x}"
            ).encode()
            fields.name = (name or f"{self.name} MIG 1g.{total // GIB}gb").encode()
            fields.total, fields.reserved, fields.present = total, reserved, True
            instance = FakeInstance(self._driver, self, index)
            self.instances.append(instance)
        return instance

    def balance(self) -> None:
        """Write the used bytes of the GPU and its instances; FakeDriver does so at the end of a change."""
        self._fields.used = self.used
        for instance in self.instances:
            instance.balance()


class FakeInstance(Place):
    """A MIG instance. Its processes are those of its GPU that carry its ids."""

    def __init__(self, driver: FakeDriver, gpu: FakeGpu, index: int) -> None:
        super().__init__(driver.state, 1 + state.GPUS + gpu.slot * state.INSTANCES + index)
        self.gpu = gpu
        self.index = index
        self._driver = driver
        self._fields = driver.scene.gpus[gpu.slot].instances[index]
        self.uuid = str(self._fields.uuid.decode())
        self.name = str(self._fields.name.decode())
        self.gpu_instance = int(self._fields.gpu_instance)
        self.compute_instance = int(self._fields.compute_instance)
        self._used: int | None = None

    @property
    def processes(self) -> tuple[Process, ...]:
        return tuple(one for one in self.gpu.processes if self._holds(one))

    @property
    def used(self) -> int:
        """Bytes that the driver reports as used."""
        return _sum(self.processes) if self._used is None else self._used

    def set_processes(self, processes: Iterable[Process]) -> None:
        """Replace the processes of this instance; they get its ids."""
        others = [one for one in self.gpu.processes if not self._holds(one)]
        ours = [
            replace(one, gpu_instance=self.gpu_instance, compute_instance=self.compute_instance)
            for one in processes
        ]
        self.gpu.set_processes(others + ours)

    def set_used(self, used: int | None) -> None:
        """Report ``used`` bytes, whatever the processes say; None: follow them again."""
        with self._driver.changing():
            self._used = used

    def destroy(self) -> None:
        """End the instance with its processes: handles to it are dead, the index is a hole."""
        with self._driver.changing():
            self.set_processes([])
            self.gpu.instances.remove(self)
            self._fields.present = False
            self._fields.generation += 1

    def balance(self) -> None:
        self._fields.used = self.used

    def _holds(self, process: Process) -> bool:
        return (process.gpu_instance, process.compute_instance) == (self.gpu_instance, self.compute_instance)
