"""From what the reader answered to the records of the house. Pure; what makes no sense is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from vramwatch.core.model import (
    Claim,
    ClaimKind,
    Fault,
    FaultKind,
    Gpu,
    Memory,
    MemoryBasis,
    Missing,
    Reading,
)
from vramwatch.core.units import Bytes
from vramwatch.driver.wire import COMPUTE, GRAPHICS, MPS, ClaimRow, FaultRow, Figures, GpuRow

_KINDS = tuple(
    frozenset(
        kind
        for bit, kind in ((COMPUTE, ClaimKind.COMPUTE), (GRAPHICS, ClaimKind.GRAPHICS), (MPS, ClaimKind.MPS))
        if bits & bit
    )
    for bits in range(COMPUTE | GRAPHICS | MPS + 1)
)
"""The set of kinds for each combination of bits."""


def balance(figures: Figures, held: int) -> Memory | None:
    """Return ``figures`` as a Memory that balances, None where more is used than there is.

    ``held``: the sum of the claims, which is what is used where memory is shared with the host; what
    neither they hold nor anyone could have is then reserved, for the host holds it. Else what the driver
    calls used stands, free is the rest, and reserved gives way where that would be negative. Bytes.
    """
    basis = MemoryBasis(figures.basis)
    total = figures.total
    if basis is MemoryBasis.UNIFIED:
        used = min(held, total)
        free = min(figures.free, total - used)
        return Memory(Bytes(total), Bytes(used), Bytes(free), Bytes(total - used - free), basis)
    if figures.used > total:
        return None
    reserved = min(figures.reserved, total - figures.used)
    free = total - figures.used - reserved
    return Memory(Bytes(total), Bytes(figures.used), Bytes(free), Bytes(reserved), basis)


def reading(gpu: Gpu, row: GpuRow) -> Reading | Missing:
    """Return one row as a Reading. Errors: ValueError, TypeError for what is no row."""
    claims = None if row.claims is None else tuple(map(_claim, row.claims))
    held = sum(claim.used or 0 for claim in claims or ())
    figures = Figures(*row.figures)
    if not all(isinstance(figure, int) and figure >= 0 for figure in figures[1:]):
        raise ValueError("memory figures that are no sizes")
    memory = balance(figures, held)
    if memory is None:
        detail = f"the driver says that {figures.used} of {figures.total} bytes are used, which cannot be"
        return Missing(gpu, Fault(FaultKind.UNKNOWN, detail))
    return Reading(
        gpu,
        memory,
        claims,
        fault(row.claims_fault) if row.claims_fault else None,
        row.utilization,
        row.temperature,
        row.power,
        _peaks(row.peaks),
    )


def fault(row: Sequence[Any]) -> Fault:
    """Return a FaultRow as a Fault. Errors: ValueError, TypeError."""
    told = FaultRow(*row)
    return Fault(FaultKind(told.kind), told.detail, told.call, told.code)


def _claim(row: Sequence[Any]) -> Claim:
    pid, used, kinds, gpu_instance, compute_instance = ClaimRow(*row)
    if not isinstance(pid, int) or not (used is None or (isinstance(used, int) and used >= 0)):
        raise ValueError("a claim that is none")
    return Claim(pid, None if used is None else Bytes(used), _KINDS[kinds], gpu_instance, compute_instance)


def _peaks(rows: Sequence[Sequence[int]]) -> Mapping[int, Bytes]:
    return {pid: Bytes(peak) for pid, peak in rows}
