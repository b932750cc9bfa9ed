"""Stands in for nvidia-smi in a rehearsal: the few questions that are asked, put to the driver of the tests.

python -m benchmarks.gpu.smi --query-compute-apps=gpu_uuid,pid,used_memory --format=csv,noheader,nounits
"""

import sys
from collections.abc import Iterator
from typing import Any

import pynvml

MIB = 2**20


def main(words: list[str]) -> None:
    """Answer one question. Errors: SystemExit for one that it does not know."""
    asked = next((word for word in words if word.startswith("--query-")), "")
    what, _, names = asked.partition("=")
    pynvml.nvmlInit()
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        rows = [gpu_of(handle)] if what == "--query-gpu" else list(apps_of(handle))
        for row in rows:
            missing = [name for name in names.split(",") if name not in row]
            if missing:
                sys.exit(f'Field "{missing[0]}" is not a valid field to query.')
            print(", ".join(row[name] for name in names.split(",")))


def gpu_of(handle: Any) -> dict[str, str]:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    return {
        "uuid": pynvml.nvmlDeviceGetUUID(handle),
        "memory.total": str(memory.total // MIB),
        "memory.used": str(memory.used // MIB),
        "memory.free": str(memory.free // MIB),
        "memory.reserved": str(memory.reserved // MIB),
    }


def apps_of(handle: Any) -> Iterator[dict[str, str]]:
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        used = "[N/A]" if each.usedGpuMemory is None else str(each.usedGpuMemory // MIB)
        yield {"gpu_uuid": uuid, "pid": str(each.pid), "used_memory": used}


if __name__ == "__main__":
    main(sys.argv[1:])
