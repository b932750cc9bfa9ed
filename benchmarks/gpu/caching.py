"""A model server that has cached and freed memory, and gives it back when it is asked.

    python -m benchmarks.gpu.caching --device cuda:0 --bytes 8589934592 --gauges FILE [--busy] [--current 1]

It enrols as any worker does. "ready" on standard output: the memory is cached and nobody uses it.
``--busy``: requests run all the time; ``--current``: the CUDA device that is current meanwhile.
"""

import argparse
import json
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vramwatch.sdk import Device, enroll

BLOCK = 32 * 2**20
REQUEST = 0.02  # seconds


class Pool:
    """In a rehearsal: an allocator over tensors of the CPU, as the SDK's protocol has it."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.held: list[Any] = []
        self.cached = 0

    def devices(self) -> Sequence[Device]:
        allocated = sum(each.untyped_storage().nbytes() for each in self.held)
        return (Device(self.uuid, allocated=allocated, reserved=allocated + self.cached),)

    def uuid_of(self, device: str) -> str | None:
        return self.uuid

    def is_capturing(self) -> bool:
        return False

    def is_grad_enabled(self) -> bool:
        return bool(torch.is_grad_enabled())

    def empty_cache(self) -> None:
        self.cached = 0

    def free(self) -> None:
        self.cached += sum(each.untyped_storage().nbytes() for each in self.held)
        self.held.clear()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.caching")
    parser.add_argument("--device", required=True)
    parser.add_argument("--uuid", required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--gauges", type=Path, required=True)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--current", type=int)
    asked = parser.parse_args()
    pool = Pool(asked.uuid) if asked.device == "cpu" else None
    blocks = [torch.empty(BLOCK, dtype=torch.uint8, device=asked.device) for _ in range(asked.bytes // BLOCK)]
    if pool is not None:
        pool.held = blocks
        threading.Thread(target=_keep_telling, args=(pool, asked.gauges), daemon=True).start()
        pool.free()
    del blocks
    if asked.current is not None:
        torch.zeros(1, device=f"cuda:{asked.current}")
        torch.cuda.set_device(asked.current)
    worker = enroll(
        name="caching",
        clears=("gc", "empty_cache"),
        remedies=("ask", f"signal:{signal.Signals.SIGURG.name}"),
        idle_after=0.1,
        cooldown=0.0,
        allocator=pool,
    )
    a = torch.ones((256, 256), device=asked.device)
    with worker.request():
        a @ a
    print("ready", flush=True)
    while True:
        if asked.busy:
            with worker.request():
                until = time.monotonic() + REQUEST
                while time.monotonic() < until:
                    a @ a
            worker.safe_point()
        else:
            time.sleep(REQUEST)


def _keep_telling(pool: Pool, gauges: Path) -> None:
    while True:
        (device,) = pool.devices()
        part = gauges.with_suffix(".part")
        part.write_text(json.dumps({"reserved": device.reserved}))
        part.replace(gauges)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
