"""What can be read of this process's memory: torch's allocator, the driver, the kernel."""

import os
import time
from pathlib import Path
from typing import Any

import torch

from vramwatch.probe.results import Reading
from vramwatch.probe.tensors import LiveTensors
from vramwatch.sdk.tracing import Trace

STATUS = Path("/proc/self/status")


class Meters:
    """Reads every layer of memory at the end of a stage."""

    def __init__(self, device: torch.device, tensors: LiveTensors | None, trace: Trace) -> None:
        self._device = device
        self._tensors = tensors
        self._trace = trace
        self._driver = Driver(device) if device.type == "cuda" else None
        self._begun = time.perf_counter()

    def begin(self) -> None:
        """Begin a stage: peaks count from here."""
        if self._tensors is not None:
            self._tensors.reset_peak()
        elif self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def live(self) -> int:
        """Return the bytes of tensors that live."""
        if self._tensors is not None:
            return self._tensors.now
        return int(torch.cuda.memory_allocated(self._device))

    def read(self, stage: str, *, is_broken: bool = False) -> Reading:
        """Read all there is to read. ``is_broken``: the last request was not served to its end."""
        at_end = stage == "generate" and not is_broken
        caches = [] if at_end else list(self._trace.alive())
        last = self._trace.samples[-1] if self._trace.samples and at_end else None
        resident = sum(sum(layers) for _, layers in caches) if last is None else sum(last.resident)
        logical = resident if last is None else sum(last.logical)
        common: dict[str, Any] = {
            "stage": stage,
            "seconds": time.perf_counter() - self._begun,
            "kv_logical": logical,
            "kv_resident": resident,
            "rss": resident_set(),
        }
        if self._tensors is not None:
            return Reading(tensors=self._tensors.now, peak=self._tensors.peak, **common)
        torch.cuda.synchronize(self._device)
        stats: Any = torch.cuda.memory_stats_as_nested_dict(self._device)
        return Reading(
            allocated=stats["allocated_bytes"]["all"]["current"],
            reserved=stats["reserved_bytes"]["all"]["current"],
            inactive_split=stats["inactive_split_bytes"]["all"]["current"],
            peak=stats["allocated_bytes"]["all"]["peak"],
            driver=self._driver.held() if self._driver else None,
            **common,
        )


class Driver:
    """What NVML says that this process holds on one GPU.

    A CUDA ordinal counts what CUDA_VISIBLE_DEVICES leaves, in CUDA's order: the GPU is found by its UUID.
    """

    def __init__(self, device: torch.device) -> None:
        self._handle: Any = None
        self._nvml: Any = None
        try:
            import pynvml  # noqa: PLC0415 -- here alone, in a child, is the driver mapped

            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._nvml = pynvml
        except Exception:  # no driver library, no such device, a MIG slice: the figure stays unknown
            self._handle = None

    def held(self) -> int | None:
        """Return bytes, as the driver counts; None: it does not say, as to a pid of another namespace."""
        if self._handle is None:
            return None
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except self._nvml.NVMLError:
            return None
        return next((each.usedGpuMemory for each in processes if each.pid == os.getpid()), None)


def resident_set() -> int:
    """Return this process's resident set in bytes. Source: proc_pid_status(5), VmRSS in kB."""
    for row in STATUS.read_text().splitlines():
        if row.startswith("VmRSS:"):
            return int(row.split()[1]) * 1024
    return 0
