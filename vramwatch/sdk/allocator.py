"""The allocator of the GPUs' memory, as the SDK sees it: PyTorch's, or one that the application hands in.

PyTorch is looked for among the modules that the application has imported. It is never imported here, and no
CUDA context is made: what would make one (``torch.cuda.mem_get_info``, ``synchronize``, the properties of a
device) is not called before ``is_initialized()``, and of GPUs that are not in use not at all.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol

from .wire import MAX_ITEMS, Device

PREFIXES = ("GPU-", "MIG-")
"""Of UUIDs as NVML writes them; PyTorch leaves the first one out (torch 2.13, ``_CudaDeviceProperties``)."""


class Allocator(Protocol):
    """What the SDK asks of an allocator: ``empty_cache`` between requests alone, the rest at any time.

    Whatever it raises is logged, and counts as not known.
    """

    def devices(self) -> Sequence[Device]:
        """Return its figures for each GPU on which it holds memory; may be empty."""
        ...

    def uuid_of(self, device: str) -> Optional[str]:
        """Return the UUID of what a tensor calls ``device``, as in "cuda:0"; None: no GPU of it."""
        ...

    def is_capturing(self) -> bool:
        """Whether the calling thread captures a graph at this moment."""
        ...

    def is_grad_enabled(self) -> bool:
        """Whether what the calling thread computes keeps its graph."""
        ...

    def empty_cache(self) -> None:
        """Wait for the work of each GPU, then give unused segments back to the driver."""
        ...


class TorchCuda:
    """PyTorch's caching allocator (``torch/cuda/memory.py``), as far as this process uses it."""

    def __init__(self) -> None:
        self._uuids: dict[int, str] = {}

    def devices(self) -> tuple[Device, ...]:
        torch = _initialized()
        if torch is None:
            return ()
        used = ((index, _statistics(torch, index)) for index in range(torch.cuda.device_count()))
        told = (_device(self._uuid(torch, index), stats) for index, stats in used if _peak(stats))
        return tuple(each for each in told if each.uuid)[:MAX_ITEMS]

    def uuid_of(self, device: str) -> Optional[str]:
        kind, _, index = device.partition(":")
        torch = _initialized()
        if torch is None or kind != "cuda":
            return None
        return self._uuid(torch, int(index or 0)) or None

    def available(self) -> tuple[int, ...]:
        """Return the bytes that this process can still take of each GPU that it uses.

        They are what the driver has free, and what lies in segments that hold nothing.
        """
        torch = _initialized()
        if torch is None:
            return ()
        used = ((index, _statistics(torch, index)) for index in range(torch.cuda.device_count()))
        return tuple(
            torch.cuda.mem_get_info(index)[0] + _unused(stats) for index, stats in used if _peak(stats)
        )

    def is_capturing(self) -> bool:
        torch = _initialized()
        is_capturing = getattr(torch and torch.cuda, "is_current_stream_capturing", None)
        return bool(is_capturing and is_capturing())

    def is_grad_enabled(self) -> bool:
        is_enabled = getattr(sys.modules.get("torch"), "is_grad_enabled", None)
        return bool(is_enabled and is_enabled())

    def empty_cache(self) -> None:
        """Wait for every GPU that is in use, with it as the current one, before anything is unmapped.

        pytorch#196258: with expandable segments, emptying while another device is current unmaps memory under
        work that is still queued.
        """
        torch = _initialized()
        if torch is None:
            return
        for index in range(torch.cuda.device_count()):
            if _peak(_statistics(torch, index)):
                with torch.cuda.device(index):
                    torch.cuda.synchronize(index)
        torch.cuda.empty_cache()

    def _uuid(self, torch: Any, index: int) -> str:
        if index not in self._uuids:
            self._uuids[index] = _uuid(torch, index, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        return self._uuids[index]


def _initialized() -> Any:
    """Return torch if it has a context that this process may use, else None."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)  # None too while torch is still being imported
    is_initialized = getattr(cuda, "is_initialized", None)
    if is_initialized is None or not is_initialized():
        return None
    is_of_parent = getattr(cuda, "_is_in_bad_fork", None)
    return None if is_of_parent is not None and is_of_parent() else torch


def _statistics(torch: Any, index: int) -> Mapping[str, Any]:
    """One call of a microsecond; ``memory_stats`` would flatten and sort some 120 keys of it."""
    stats = torch.cuda.memory_stats_as_nested_dict(index)
    return stats if isinstance(stats, Mapping) else {}


def _uuid(torch: Any, index: int, visible: str) -> str:
    """Return the UUID of ``index``, "" where nothing tells it. The environment alone names MIG instances."""
    names = [name.strip() for name in visible.split(",")]
    named = names[index] if index < len(names) else ""
    if named.startswith("MIG-"):
        return named
    told = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    if told is None:
        return named if named.startswith("GPU-") else ""
    return str(told) if str(told).startswith(PREFIXES) else f"GPU-{told}"


def _device(uuid: str, stats: Mapping[str, Any]) -> Device:
    pools = stats.get("reserved_bytes_by_private_pools")  # torch 2.13 and newer
    return Device(
        uuid,
        allocated=_bytes(stats, "allocated_bytes"),
        reserved=_bytes(stats, "reserved_bytes"),
        active=_bytes(stats, "active_bytes"),
        inactive_split=_bytes(stats, "inactive_split_bytes"),
        requested=_bytes(stats, "requested_bytes"),
        peak=_bytes(stats, "allocated_bytes", "peak"),
        graph_pools=sum(_bytes(pools, pool) or 0 for pool in pools) if isinstance(pools, Mapping) else None,
        alloc_retries=_whole(stats.get("num_alloc_retries")),
        ooms=_whole(stats.get("num_ooms")),
    )


def _peak(stats: Mapping[str, Any]) -> int:
    """What was reserved at most; 0: this GPU was never used, and has no context of this process."""
    return _bytes(stats, "reserved_bytes", "peak") or 0


def _unused(stats: Mapping[str, Any]) -> int:
    """Return the bytes of segments without a live block, at most; what lies between live ones is split."""
    reserved, active = _bytes(stats, "reserved_bytes") or 0, _bytes(stats, "active_bytes") or 0
    return max(reserved - active - (_bytes(stats, "inactive_split_bytes") or 0), 0)


def _bytes(stats: Mapping[str, Any], name: Any, which: str = "current") -> Optional[int]:
    pools = stats.get(name)
    every = pools.get("all") if isinstance(pools, Mapping) else None
    return _whole(every.get(which)) if isinstance(every, Mapping) else None


def _whole(value: Any) -> Optional[int]:
    return int(value) if isinstance(value, int) else None
