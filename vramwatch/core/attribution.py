"""Divides a Reading among processes; it balances to the byte, and what is left over is explained."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vramwatch.core.model import (
    Claim,
    ClaimKind,
    Explanation,
    Fault,
    GhostKind,
    Holding,
    Instant,
    Ledger,
    MemoryBasis,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    Reading,
    Tenant,
)
from vramwatch.core.owners import owner_of
from vramwatch.core.units import MIB, Bytes, Seconds

DRIVER_QUANTUM = Bytes(2 * MIB)
"""The driver rounds what it reports to 2 MiB: 98.44 and 100 MiB read alike."""

GHOST_AFTER = Seconds(10.0)
"""An exit in progress: how long the driver may take to free the memory of a process that has ended."""

_GHOSTS = {
    ProcessState.GONE: GhostKind.GONE,
    ProcessState.ZOMBIE: GhostKind.ZOMBIE,
    ProcessState.STUCK: GhostKind.STUCK,
}


@dataclass(frozen=True, slots=True)
class Listed:
    """The newest process list of one Gpu. ``fault``: it could not be read; then it has no claims."""

    at: Instant
    claims: tuple[Claim, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What holds for the whole machine. ``ghost_after``: how long a process must have been over."""

    hidden_pids: bool = False  # processes of other pid namespaces are not shown to us
    mps: bool = False  # an MPS server runs
    ghost_after: Seconds = GHOST_AFTER


def attribute(
    at: Instant,
    reading: Reading,
    listed: Listed | None,
    tenants: Mapping[int, Tenant],
    surroundings: Surroundings,
) -> Ledger:
    """Return the Ledger of ``reading``: ``sum(held) + unattributed == used``, whatever the list says.

    ``listed`` may be older than the reading; None or one with a fault leaves every byte unattributed.
    A pid of the list without a tenant is held by an unknown process. ``unattributed`` is negative when
    the claims exceed ``used``, and is kept so. Memory is taken as it is: balancing it is the source's.
    """
    known = listed if listed and listed.fault is None else None
    holdings = _holdings(known, reading, tenants, surroundings.ghost_after) if known else ()
    held = sum(holding.held for holding in holdings if holding.held is not None)
    unattributed = Bytes(reading.memory.used - held)
    listed_at = known.at if known else None
    bare = Ledger(at, reading, holdings, unattributed, (), listed_at)
    explanations = tuple(_explanations(bare, surroundings))
    return Ledger(at, reading, holdings, unattributed, explanations, listed_at) if explanations else bare


def will_be_ghost(facts: ProcessFacts) -> bool:
    """Return whether time alone makes what this process holds count as a ghost's."""
    return facts.state in _GHOSTS


def tolerance(processes: int) -> Bytes:
    """Return how far figures of ``processes`` and of their Gpu may differ by rounding alone."""
    return Bytes(DRIVER_QUANTUM * (processes + 1))


def join(claims: Iterable[Claim]) -> dict[int, Claim]:
    """Return pid -> one Claim of all that the driver says of it.

    The compute, graphics and MPS lists overlap: of several rows with one (pid, GPU instance, compute
    instance) the largest counts, and a row that withholds its bytes says nothing against another. Rows
    of different instances are different memory and add up; if one of them withholds, so does the sum,
    for a sum with an unknown part is unknown. Order of ``claims`` is of no account.
    """
    instances: dict[tuple[int, int | None, int | None], Claim] = {}
    for claim in claims:
        place = (claim.pid, claim.gpu_instance, claim.compute_instance)
        known = instances.get(place)
        instances[place] = _same(known, claim) if known else claim
    processes: dict[int, Claim] = {}
    for claim in instances.values():
        other = processes.get(claim.pid)
        processes[claim.pid] = _both(other, claim) if other else claim
    return processes


def _same(first: Claim, second: Claim) -> Claim:
    said = [claim.used for claim in (first, second) if claim.used is not None]
    return Claim(
        first.pid,
        max(said, default=None),
        first.kinds | second.kinds,
        first.gpu_instance,
        first.compute_instance,
    )


def _both(first: Claim, second: Claim) -> Claim:
    """Of a process in several instances no single instance can be named."""
    is_known = first.used is not None and second.used is not None
    used = Bytes((first.used or 0) + (second.used or 0)) if is_known else None
    return Claim(first.pid, used, first.kinds | second.kinds)


def _holdings(
    listed: Listed, reading: Reading, tenants: Mapping[int, Tenant], ghost_after: Seconds
) -> tuple[Holding, ...]:
    """Largest first, withheld last, then by pid."""
    holdings = []
    for pid, claim in join(listed.claims).items():
        tenant = tenants.get(pid) or _unknown_tenant(pid, listed.at)
        ghost = _ghost(tenant.facts, listed.at, ghost_after)
        holdings.append(Holding(pid, claim.used, tenant, claim.kinds, ghost, reading.peaks.get(pid)))
    return tuple(sorted(holdings, key=_order))


def _order(holding: Holding) -> tuple[bool, int, int]:
    return (holding.held is None, -(holding.held or 0), holding.pid)


def _unknown_tenant(pid: int, at: Instant) -> Tenant:
    facts = ProcessFacts(ProcessKey(at.boot_id, pid, 0), ProcessState.HIDDEN)
    return Tenant(facts, owner_of(facts, None))


def _ghost(facts: ProcessFacts, listed_at: Instant, ghost_after: Seconds) -> GhostKind | None:
    """Judged at the moment of the list: only then did the driver still say that bytes are held."""
    has_lasted = listed_at.boottime - facts.state_since >= ghost_after
    return _GHOSTS.get(facts.state) if has_lasted else None


def _explanations(ledger: Ledger, surroundings: Surroundings) -> Iterator[Explanation]:
    """Most likely first: what is certain of this list, then what the machine allows for."""
    if abs(ledger.unattributed) <= tolerance(len(ledger.holdings)):
        return
    if ledger.listed is None:
        yield Explanation.NO_LIST
        if ledger.memory.basis is MemoryBasis.V1:
            yield Explanation.DRIVER
    elif ledger.unattributed < 0:
        if not ledger.is_fresh:
            yield Explanation.STALE_LIST
        yield Explanation.SHARED
    else:
        yield from _explanations_of_lack(ledger, surroundings)


def _explanations_of_lack(ledger: Ledger, surroundings: Surroundings) -> Iterator[Explanation]:
    holdings = ledger.holdings
    has_mps_clients = any(ClaimKind.MPS in holding.kinds for holding in holdings)
    in_order = (
        (Explanation.WITHHELD, any(holding.held is None for holding in holdings)),
        (Explanation.DRIVER, ledger.memory.basis is MemoryBasis.V1),
        (Explanation.HIDDEN_PIDS, surroundings.hidden_pids),
        (Explanation.NOBODY, not holdings),
        (Explanation.STALE_LIST, not ledger.is_fresh),
        (Explanation.MPS, surroundings.mps or has_mps_clients),
        (Explanation.MANAGED, bool(holdings)),
    )
    yield from (explanation for explanation, applies in in_order if applies)
