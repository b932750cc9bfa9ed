"""Splits a process's memory into layers, by the driver's figure and its own; refuses what is impossible."""

from collections.abc import Iterator, Mapping

from vramwatch.core.units import MIB
from vramwatch.core.windows import Layer

PARTS = ("torch_reserved_bytes", "torch_allocated_bytes", "engine_kv_bytes")
"""Each is a part of what the driver counts for a process, so none can be larger."""

TOLERATED, TOLERATED_SHARE = 256 * MIB, 0.1
"""By how much a part may be above the driver's figure: the two are read some seconds apart."""


def layers(held: float, told: Mapping[str, float]) -> Iterator[tuple[Layer, float]]:
    """Yield the layers of a process that holds ``held`` bytes, as far as they are ``told``; see Layer.

    None where what it tells cannot be: its word may be wrong, never the driver's.
    """
    if excess(held, told) is not None:
        return
    reserved, allocated = told.get("torch_reserved_bytes"), told.get("torch_allocated_bytes")
    kv = told.get("engine_kv_bytes")
    if kv is not None:  # what may be dropped at any time is no use of the pool
        kv = max(0.0, kv - told.get("engine_evictable_bytes", 0.0))
    if reserved is not None:
        yield Layer.NON_TORCH, held - reserved
        if allocated is not None:
            yield Layer.CACHED, reserved - allocated
    if allocated is not None:
        yield Layer.LIVE, allocated - (kv or 0.0)
    if kv is not None:
        yield Layer.KV, kv


def excess(held: float, told: Mapping[str, float]) -> float | None:
    """Return by how many bytes a part that is ``told`` is above what the driver says is ``held``.

    None: it can be true.
    """
    most = max((told[part] for part in PARTS if part in told), default=0.0)
    return most - held if most > held + max(TOLERATED, TOLERATED_SHARE * held) else None
