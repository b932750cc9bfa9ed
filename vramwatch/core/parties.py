"""The processes behind an incident at one poll, and the workers among them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vramwatch.core.incidents import Subject
from vramwatch.core.model import Ledger, ProcessKey
from vramwatch.core.workers import Worker


@dataclass(frozen=True, slots=True)
class Party:
    """An Owner on a Gpu now.

    ``held``: bytes that the driver says its processes hold there together; None: it will not say, or its
    list was not read at this poll. ``processes``: of the Owner on that Gpu. ``workers``: every process that
    has enrolled, anywhere. ``gpus``: where processes have memory; ``engines``: what runs in them.
    """

    held: int | None
    processes: frozenset[ProcessKey] = frozenset()
    workers: Mapping[ProcessKey, Worker] = field(default_factory=dict)
    gpus: Mapping[ProcessKey, frozenset[str]] = field(default_factory=dict)
    engines: frozenset[str] = frozenset()

    @property
    def enrolled(self) -> tuple[Worker, ...]:
        """The Owner's processes on that Gpu that have enrolled, by pid; may be empty."""
        theirs = (self.workers[key] for key in self.processes if key in self.workers)
        return tuple(sorted(theirs, key=lambda worker: worker.key.pid))


def party_of(
    subject: Subject, ledgers: Sequence[Ledger], workers: Mapping[ProcessKey, Worker]
) -> Party | None:
    """Return who stands behind ``subject``, an Owner's; None: its Gpu was not read."""
    book = next((each for each in ledgers if each.gpu.uuid == subject.gpu), None)
    if book is None:
        return None
    theirs = [each for each in book.holdings if each.tenant.owner.key == subject.owner]
    told = [each.held for each in theirs if each.held is not None]
    is_told = book.is_fresh and len(told) == len(theirs)
    gpus: dict[ProcessKey, frozenset[str]] = {}
    for ledger in ledgers:
        for each in ledger.holdings:
            key = each.tenant.facts.key
            gpus[key] = gpus.get(key, frozenset()) | {ledger.gpu.uuid}
    return Party(
        sum(told) if is_told else None,
        frozenset(each.tenant.facts.key for each in theirs if each.ghost is None),
        workers,
        gpus,
        frozenset(each.tenant.engine.engine for each in theirs if each.tenant.engine),
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """What a remedy can do for an incident now: to whom, and in words what."""

    targets: tuple[ProcessKey, ...]
    plan: str
    costs_service: bool = False


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a remedy can do nothing now."""

    why: str


def consenting(party: Party, pid: int | None, remedy: str) -> tuple[Worker, ...] | Unfit:
    """Return the workers to be reached together by ``remedy`` ("ask", "signal:SIGURG"), the lowest pid first.

    ``pid``: the process that grows, None: not known; then every worker of the owner is meant. A worker of
    a group brings all ranks of it: each must be enrolled and consent, or none is reached.
    """
    chosen = [each for each in party.enrolled if pid is None or each.key.pid == pid]
    chosen = [each for each in chosen if each.consents_to(remedy)]
    if not chosen:
        return Unfit(f"no enrolled worker consents to {remedy}")
    reached: dict[ProcessKey, Worker] = {}
    for one in chosen:
        ranks = _ranks(one, party)
        if len(ranks) < one.hello.world:
            return Unfit(
                f"only {len(ranks)} of the {one.hello.world} ranks of group {one.hello.group} are there"
            )
        if not all(each.consents_to(remedy) for each in ranks):
            return Unfit(f"not every rank of group {one.hello.group} consents to {remedy}")
        reached |= {each.key: each for each in ranks}
    return tuple(sorted(reached.values(), key=lambda worker: worker.key.pid))


def _ranks(one: Worker, party: Party) -> list[Worker]:
    """Return the ranks that are asked with ``one``; a group is of one user, whoever else uses its name."""
    if not one.hello.group:
        return [one]
    return [
        each
        for each in party.workers.values()
        if each.hello.group == one.hello.group and each.uid == one.uid and each.hello.world == one.hello.world
    ]
