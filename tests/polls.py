"""Polls made by hand, for tests of what is stored and shown."""

from vramwatch.core.model import (
    ClaimKind,
    Gpu,
    Holding,
    Instant,
    Ledger,
    Memory,
    Missing,
    Owner,
    OwnerKind,
    ProcessFacts,
    ProcessKey,
    Reading,
    Tenant,
)
from vramwatch.core.poll import Poll
from vramwatch.core.units import GIB, MIB, Bytes

BOOT = "5a0c1e3e-0000-4000-8000-000000000001"
START = 1_700_000_000.0
"""Wall clock at which this boot began."""


def instant(seq, wall=None, boot_id=BOOT):
    """A poll a second, unless ``wall`` says otherwise."""
    return Instant(seq, START + seq if wall is None else wall, float(seq), boot_id)


def gpu(number=0, **facts):
    return Gpu(f"GPU-{number:08d}", str(number), "NVIDIA H100 80GB HBM3", **facts)


def owner(name="llama"):
    return Owner(f"unit:{name}.service", name, OwnerKind.UNIT)


def tenant(pid, of=None, start_ticks=4242, **facts):
    known = {"name": "python", "title": f"python serve.py {pid}", **facts}
    return Tenant(ProcessFacts(ProcessKey(BOOT, pid, start_ticks), **known), of or owner())


def holding(pid, held=Bytes(GIB), of=None, **more):
    kinds = more.pop("kinds", frozenset({ClaimKind.COMPUTE}))
    return Holding(pid, held, more.pop("tenant", None) or tenant(pid, of), kinds, **more)


def ledger(at, *holdings, on=None, used=None, listed=None, explanations=(), **read):
    """A balanced ledger; ``listed``: when the list was read, else now; ``read``: more of the Reading."""
    ordered = sorted(holdings, key=lambda h: (h.held is None, -(h.held or 0), h.pid))
    held = sum(h.held for h in ordered if h.held is not None)
    used = Bytes(held + 10 * MIB) if used is None else used
    total, reserved = Bytes(80 * GIB), Bytes(600 * MIB)
    memory = Memory(total, used, Bytes(total - used - reserved), reserved)
    reading = Reading(on or gpu(), memory, **read)
    return Ledger(at, reading, tuple(ordered), Bytes(used - held), tuple(explanations), listed or at)


def poll(seq, *holdings, **more):
    """A poll of one GPU."""
    at = instant(seq, more.pop("wall", None))
    return Poll(at, (ledger(at, *holdings, **more),))


def blind(seq, fault, on=None, *ledgers):
    return Poll(instant(seq), ledgers, (Missing(on, fault),))
