"""What a role is handed: the memory of its device, its time, and how it says what it does.

Standard output has one JSON object a line: {"at": unix seconds, "did": what}. The file of gauges holds the
newest: bytes of torch's allocator, of its KV cache, and of what it took past torch.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from vramwatch.probe.tensors import LiveTensors

SERVES = "serves requests"
"""What is said once the first is answered: by then the context is made and the kernels are loaded."""


class Cuda:
    """The memory of a GPU, as torch's allocator has it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def allocated(self) -> int:
        return int(torch.cuda.memory_allocated(self._device)) if torch.cuda.is_initialized() else 0

    def reserved(self) -> int:
        return int(torch.cuda.memory_reserved(self._device)) if torch.cuda.is_initialized() else 0

    def empty(self) -> None:
        torch.cuda.empty_cache()

    def wait(self) -> None:
        torch.cuda.synchronize(self._device)


class Mirrored:
    """In a rehearsal: live tensors of the CPU count as allocated, and what they took at most as reserved."""

    def __init__(self) -> None:
        self.live = LiveTensors()

    def allocated(self) -> int:
        return self.live.now

    def reserved(self) -> int:
        return self.live.peak

    def empty(self) -> None:
        self.live.reset_peak()

    def wait(self) -> None:
        pass


class Stage:
    """What a role is handed: its device, its time, and how it says what it does."""

    def __init__(self, device: str, seconds: float, gauges: Path, is_small: bool) -> None:
        self.device = torch.device(device)
        self.is_small = is_small
        self.memory: Cuda | Mirrored = Cuda(self.device) if self.device.type == "cuda" else Mirrored()
        self.outside = 0  # bytes taken past torch
        self.requests = 0
        self.kv = 0
        self.kv_requires_grad = False
        self._until = time.monotonic() + seconds
        self._gauges = gauges

    def did(self, what: str) -> None:
        print(json.dumps({"at": time.time(), "did": what}), flush=True)

    def is_on(self) -> bool:
        return time.monotonic() < self._until

    def served(self) -> None:
        self.requests += 1
        if self.requests == 1:
            self.did(SERVES)

    def requests_every(self, seconds: float, release_every: float = 8.0) -> Iterator[int]:
        """Yield the number of each request until the time is over; release unused memory now and then.

        A recording of 60 s has more than six such release cycles.
        """
        released = time.monotonic()
        while self.is_on():
            began = time.monotonic()
            yield self.requests
            self.served()
            if time.monotonic() - released >= release_every:
                released = time.monotonic()
                self.memory.empty()
                self.did("released what was unused")
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))

    def rest(self) -> None:
        """Do nothing until the time is over."""
        while self.is_on():
            time.sleep(0.1)

    def tell(self) -> None:
        told = {
            "allocated": self.memory.allocated(),
            "reserved": self.memory.reserved(),
            "outside": self.outside,
            "requests": self.requests,
            "kv": self.kv,
            "kv_requires_grad": self.kv_requires_grad,
        }
        part = self._gauges.with_suffix(".part")
        part.write_text(json.dumps(told))
        part.replace(self._gauges)
