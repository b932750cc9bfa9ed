"""FakeDriver: builds the C library, owns the state behind it, and changes it while other processes use it."""

import fcntl
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import sizeof
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.nvml.gpu import GIB, MIB, FakeGpu, InUseError
from tests.nvml.places import Place, matching
from tests.nvml.state import ANY, FINGERPRINT, FUNCTION_ROWS, FUNCTIONS, GPUS, Scene, State

HERE = Path(__file__).parent
EVERYWHERE = 0  # the place that stands for all devices, and for calls on none
UNINITIALIZED = 1  # pynvml: NVML_ERROR_UNINITIALIZED

# What each variant of the library says of itself: driver version, CUDA version.
VARIANTS = {
    "R470": ("470.256.02", 11040),  # no memory v2; process lists unversioned and _v2
    "R535": ("535.54.03", 12020),  # 32-byte rows in the _v3 lists; no detail list
    "R580": ("580.95.05", 13000),  # detail list, without the mode ALL
    "R610": ("610.43.02", 13030),  # detail list with the mode ALL
    "ROWS16": ("610.43.02", 13030),  # 16-byte rows in the _v3 lists (nvitop#226)
}


@cache
def build() -> Path:
    """Return the folder with one library a variant, after ``make``; at most one process makes at a time.

    Errors: subprocess.CalledProcessError, after the compiler's own words on stderr.
    """
    folder = HERE / "build"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", "-C", str(HERE), f"PYTHON={sys.executable}"], check=True)
    return folder


class FakeDriver(Place):
    """A driver without a GPU. Its own ``fail``, ``hang``, ``delay``... hold for every device."""

    def __init__(self, variant: str = "R580", gpus: int = 0) -> None:
        """Load nothing into this process; ``gpus`` H100s are there from the start."""
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is no driver; there are {', '.join(VARIANTS)}")
        self._library = build() / variant
        self._folder = Path(tempfile.mkdtemp(prefix="vramwatch-nvml-"))
        self._file = os.open(self._folder / "state", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, sizeof(State))
        self.state = State.from_buffer(mmap.mmap(self._file, sizeof(State)))
        super().__init__(self.state, EVERYWHERE)
        self.state.fingerprint = FINGERPRINT
        self.scene = Scene()
        self.gpus: list[FakeGpu] = []
        self._lock = threading.RLock()
        self._changes = 0
        version, cuda = VARIANTS[variant]
        with self.changing():
            self.scene.cuda_version = cuda
            self.scene.nvml_version = f"{cuda // 1000}.{version}".encode()
            self.set_version(version)
            for _ in range(gpus):
                self.add_gpu()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free whoever hangs and remove the state file; processes that have it mapped keep what they see."""
        self.clear_faults()
        os.close(self._file)
        shutil.rmtree(self._folder)

    def environment(self) -> dict[str, str]:
        """Return the variables with which a process finds this driver as its libnvidia-ml.so.1."""
        folders = [str(self._library), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return {
            "VRAMWATCH_TEST_NVML": str(self._folder / "state"),
            "LD_LIBRARY_PATH": os.pathsep.join(folders),
        }

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make all changes inside into one: a reader sees none of them or all."""
        with self._lock:
            self._changes += 1
            try:
                yield
            finally:
                self._changes -= 1
                if self._changes == 0:
                    self._publish()

    def _publish(self) -> None:
        """Write the scene. By system calls, whose order holds for readers on every kind of processor."""
        for gpu in self.gpus:
            gpu.balance()
        before = self.state.sequence
        for offset, data in (
            (State.sequence.offset, (before + 1).to_bytes(8, sys.byteorder)),
            (State.scene.offset, bytes(self.scene)),
            (State.sequence.offset, (before + 2).to_bytes(8, sys.byteorder)),
        ):
            os.pwrite(self._file, data, offset)

    def add_gpu(
        self,
        *,
        name: str = "NVIDIA H100 80GB HBM3",
        total: int = 80 * GIB,
        reserved: int = 512 * MIB,
        uuid: str | None = None,
        pci: str | None = None,
    ) -> FakeGpu:
        """Return a new GPU in the next slot: idle, MIG mode off, accounting off.

        Errors: ValueError when all slots are taken.
        """
        slot = len(self.gpus)
        if slot == GPUS:
            raise ValueError(f"the test driver has {GPUS} slots, all are taken")
        with self.changing():
            fields = self.scene.gpus[slot]
            fields.uuid = (uuid or f"GPU-{slot:08x}-0000-0000-0000-000000000000").encode()
            fields.name = name.encode()
            fields.pci = (pci or f"00000000:{16 * (slot + 1) % 256:02X}:00.0").encode()
            gpu = FakeGpu(self, slot)
            self.gpus.append(gpu)
            gpu.set_memory(total=total, reserved=reserved)
            gpu.set_sensors(utilization=0, temperature=40, power=100_000, persistence=True)
            gpu.plug_in()
        return gpu

    def set_version(self, driver: str) -> None:
        """Report another driver version."""
        with self.changing():
            self.scene.driver_version = driver.encode()

    def reload(self, code: int = UNINITIALIZED) -> None:
        """Load the driver anew: who was attached is told ``code`` until its last shutdown and a new init."""
        with self.changing():
            self.scene.generation += 1
            self.scene.reload_code = code

    def crash_on_bad_handles(self, crash: bool = True) -> None:
        """Follow NULL and stale handles into a segmentation fault instead of answering with an error."""
        with self.changing():
            self.scene.bad_handles_crash = crash

    def clear_faults(self) -> None:
        """End every fault and delay everywhere, and free the calls that hang."""
        for row in self.state.faults:
            for fault in row:
                fault.word = fault.delay = 0
        self.free_hung()

    def free_hung(self) -> None:
        """Let the calls that hang now return success; the faults stay."""
        self.state.hang_epoch += 1

    def calls(self, function: str = ANY) -> int:
        """Return how many calls arrived, on all devices together."""
        names = FUNCTIONS if function == ANY else matching(function)
        return sum(sum(self.state.calls[FUNCTION_ROWS[name]]) for name in names)

    def total_calls(self) -> int:
        """Return how many calls arrived, of all functions."""
        return self.calls()

    def reset_calls(self) -> None:
        """Begin to count anew."""
        for row in self.state.calls:
            for place in range(len(row)):
                row[place] = 0

    def wait_for_calls(self, function: str, count: int = 1, timeout: float = 10.0) -> None:
        """Return when ``count`` calls have arrived since the last reset. Errors: TimeoutError."""
        deadline = time.monotonic() + timeout
        while (arrived := self.calls(function)) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{function}: {arrived} of {count} calls within {timeout} s")
            time.sleep(0.002)

    def clients(self) -> list[int]:
        """Return the pids that have the library initialised and live, ascending."""
        return sorted(pid for pid in set(self.state.clients) if pid and _lives(pid))

    def refuse_if_in_use(self, wish: str) -> None:
        """Errors: InUseError while there is a client."""
        if clients := self.clients():
            raise InUseError(f"{wish}: in use by {', '.join(map(str, clients))}")


def _lives(pid: int) -> bool:
    """Whether the process can still hold a GPU: there, and not a zombie (proc(5), /proc/pid/stat)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
