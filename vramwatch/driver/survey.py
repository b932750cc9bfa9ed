"""What doctor asks of the driver beside its memory: versions, modes, and what each call costs here.

Runs in a process of its own, ``python -m vramwatch.driver.survey``, which may hang or crash
in the driver without harm, and prints one JSON object. ``survey`` is the caller's side.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

REPEATED = 5
"""Calls of each kind that polls are made of; the median is told."""

DEADLINE = 20.0
"""Seconds for all of it: without persistence mode a GPU wakes in seconds."""


@dataclass(frozen=True, slots=True)
class GpuModes:
    """``persistence`` and ``mig`` None: the driver does not say. ``calls``: what -> seconds, median."""

    index: int
    persistence: bool | None
    mig: bool | None
    calls: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Survey:
    """``driver``: the version that the library reports, as in "580.65.06"; ``cuda`` as in "13.0"."""

    driver: str
    cuda: str
    gpus: tuple[GpuModes, ...]


def survey(deadline: float = DEADLINE) -> Survey | str:
    """Return what the driver says of itself, or why it does not, in a sentence."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vramwatch.driver.survey"],
            capture_output=True, text=True, check=False, timeout=deadline,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"the driver did not answer within {deadline:g} s"
    try:
        told = json.loads(done.stdout)
        gpus = tuple(GpuModes(**each) for each in told["gpus"])
        return Survey(told["driver"], told["cuda"], gpus)
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"the driver ended the process that asked ({done.returncode})"


def main() -> None:
    """Print the Survey as JSON, or end with a sentence."""
    import pynvml  # noqa: PLC0415 - the caller's side must not map the driver's library

    try:
        pynvml.nvmlInit()
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        told = {
            "driver": str(pynvml.nvmlSystemGetDriverVersion()),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",  # nvml.h: 1000 times major and 10 times minor
            "gpus": [_modes(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())],
        }
    except pynvml.NVMLError as error:
        sys.exit(str(error))
    print(json.dumps(told))  # noqa: T201 - this is its answer


def _modes(nvml: Any, index: int) -> dict[str, Any]:
    gpu = nvml.nvmlDeviceGetHandleByIndex(index)

    def asked(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:
            return None

    reads = {
        "memory": lambda: nvml.nvmlDeviceGetMemoryInfo(gpu, version=nvml.nvmlMemory_v2),
        "processes": lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu),
        "utilisation": lambda: nvml.nvmlDeviceGetUtilizationRates(gpu),
    }
    mig = asked(lambda: nvml.nvmlDeviceGetMigMode(gpu))
    persistence = asked(lambda: nvml.nvmlDeviceGetPersistenceMode(gpu))
    return {
        "index": index,
        "persistence": None if persistence is None else bool(persistence),
        "mig": None if mig is None else bool(mig[0]),
        "calls": {what: _seconds(asked, read) for what, read in reads.items()},
    }


def _seconds(ask: Callable[[Callable[[], Any]], Any], read: Callable[[], Any]) -> float:
    """Return the median of REPEATED calls; one that is refused counts alike."""
    spans = []
    for _ in range(REPEATED):
        begun = perf_counter()
        ask(read)
        spans.append(perf_counter() - begun)
    return median(spans)


if __name__ == "__main__":
    main()
