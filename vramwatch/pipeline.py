"""One poll through the house: read, ask who, divide. What comes out is ready to be stored.

Owns no clock and writes nothing; ``run``, ``replay`` and a single ``status`` use it alike.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vramwatch.core import cadence
from vramwatch.core.attribution import Listed, Surroundings, attribute, will_be_ghost
from vramwatch.core.cadence import Cadence, Rates
from vramwatch.core.instants import kept_instant
from vramwatch.core.model import (
    Event,
    EventKind,
    Gauge,
    Instant,
    Ledger,
    Origin,
    Owner,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    Reading,
    Readings,
    Tenant,
)
from vramwatch.core.owners import OwnerRule, owner_of, renewed
from vramwatch.core.poll import Poll
from vramwatch.core.ports import Feed, Insides
from vramwatch.core.recognition import Engine, recognise
from vramwatch.core.units import Bytes, Seconds
from vramwatch.procfs import is_mps_server

REMEMBERED_FOR = Seconds(600.0)
"""How long a process that is on no GPU any more keeps its name here; the store keeps it for good."""


ReadGroups = Callable[[], Mapping[str, Mapping[str, Bytes]]]
"""Returns PCI address -> path of a control group -> bytes; called when process lists are read."""


@dataclass(frozen=True, slots=True)
class _Book:
    """A Ledger, and the list that it was divided by."""

    ledger: Ledger
    listed: Listed

    def fits(self, at: Instant, reading: Reading, listed: Listed) -> bool:
        """Return whether ``reading`` is divided alike by another list with the same claims."""
        before = self.ledger.reading
        return (
            before.memory == reading.memory
            and before.peaks == reading.peaks
            and self.ledger.is_fresh == (listed.at.seq == at.seq)
        )


ENDED = frozenset({ProcessState.GONE, ProcessState.ZOMBIE})
"""A process in one of these is met no more: nobody reads anew who it was."""


class Pipeline:
    """Turns instants into Polls. Keeps what lasts between two polls: rates, newest lists, owners."""

    def __init__(
        self,
        feed: Feed,
        *,
        engines: Sequence[Engine],
        rules: Sequence[OwnerRule],
        rates: Rates,
        owners: Mapping[ProcessKey, Owner],
        surroundings: Surroundings,
        read_groups: ReadGroups | None = None,
        shows: Callable[[ProcessFacts], ProcessFacts] = lambda facts: facts,
        insides: Sequence[Insides] = (),
    ) -> None:
        """``shows`` says what of a process may be remembered, once its engine and Owner are known.

        ``insides`` are asked whenever process lists are read; who comes first goes before the others.
        """
        self.rates = rates
        self._rules = rules
        self._feed = feed
        self._engines = engines
        self._owners = {key: renewed(owner, rules) for key, owner in owners.items()}
        self._surroundings = surroundings
        self._read_groups = read_groups
        self._shows = shows
        self._insides = insides
        self._ooms: dict[tuple[str, ProcessKey], float] = {}  # as each told last, on each GPU
        self._cadence = Cadence()
        self._listed: dict[str, Listed] = {}
        self._tenants: dict[ProcessKey, tuple[ProcessFacts, Tenant]] = {}  # as told, and as remembered
        self._left: dict[ProcessKey, float] = {}  # boottime of the newest list with it, oldest first
        self._lists_changed = False  # since it was looked up who is in them
        self._pids: set[int] = set()  # in the newest lists; the same object while they stay the same
        self._facts: Mapping[int, ProcessFacts] = {}  # of them, as told last
        self._lost: set[ProcessKey] = set()  # forgotten, and not looked up since
        self._nameless: set[ProcessKey] = set()  # forgotten when they had ended
        self._met_at = 0.0  # boottime
        self._present: dict[int, Tenant] = {}
        self.watched: frozenset[str] = frozenset()
        """GPUs whose process list is read at every poll, for as long as it is looked whether memory falls."""
        self._is_dying = False  # whether somebody present will be a ghost by time alone
        self._books: dict[str, _Book] = {}  # by UUID, of those who are present

    def name_by(self, rules: Sequence[OwnerRule]) -> None:
        """Have ``rules`` name processes that come from now on.

        Those that are known keep their Owner, with the team and the budget that it has now.
        """
        self._rules = rules
        self._owners = {key: renewed(owner, rules) for key, owner in self._owners.items()}
        for key, (told, known) in self._tenants.items():
            self._tenants[key] = told, replace(known, owner=renewed(known.owner, rules))
        self._facts = {}  # so that those who are present are looked up again

    def forget(self, keys: Collection[ProcessKey]) -> None:
        """Let go of processes whose history was deleted. Who lives is met anew.

        Of who has ended and is listed still, as a ghost, no more is told from now on than the pid.
        """
        self._lost = set(keys)
        for known in (self._tenants, self._owners, self._left):
            for key in known.keys() & self._lost:
                del known[key]
        for told in [told for told in self._ooms if told[1] in self._lost]:
            del self._ooms[told]
        for pid, tenant in self._present.items():
            if tenant.facts.key in self._lost:
                self._present[pid] = self._tenant(tenant.facts)
        self._books.clear()
        self._facts = {}  # so that those who are present are looked up again

    def turn(self, at: Instant) -> Poll:
        """Return what the poll at ``at`` saw: a balanced Ledger for every Gpu that could be read.

        Its instant is as the store keeps it: judged again, it must be the same to the bit.
        """
        at = kept_instant(at)
        asked = cadence.ask(self._cadence, self.rates, at.boottime)
        if self.watched and asked.lists is not None:
            asked = replace(asked, lists=asked.lists | self.watched)
        readings = self._feed.source.read(at, asked)
        self._cadence = cadence.after(self._cadence, self.rates, at.boottime, asked, readings)
        self._keep_lists(at, readings)
        if any(reading.claims is not None for reading in readings.gpus):
            self._meet(at)
            readings = self._with_gauges(self._with_groups(readings), at)
            readings = replace(readings, events=(*readings.events, *self._hear(readings)))
        return Poll(
            at,
            tuple([self._ledger(at, reading) for reading in readings.gpus]),
            readings.missing,
            readings.events,
            cadence.pace(self._cadence, self.rates),
        )

    def _ledger(self, at: Instant, reading: Reading) -> Ledger:
        """Divide ``reading``; as at the poll before where nothing it depends on has changed since."""
        uuid = reading.gpu.uuid
        listed = self._listed.get(uuid)
        if listed is None or listed.fault is not None:
            return attribute(at, reading, listed, self._present, self._surroundings)
        book = self._books.get(uuid)
        if book is not None and book.listed.claims is listed.claims and book.fits(at, reading, listed):
            same = book.ledger
            return Ledger(at, reading, same.holdings, same.unattributed, same.explanations, listed.at)
        ledger = attribute(at, reading, listed, self._present, self._surroundings)
        if not self._is_dying:
            self._books[uuid] = _Book(ledger, listed)
        return ledger

    def _with_groups(self, readings: Readings) -> Readings:
        """Add what the kernel counts by control group, where it does."""
        if self._read_groups is None:
            return readings
        by_gpu = self._read_groups()
        gpus = tuple(
            replace(reading, groups=by_gpu.get(reading.gpu.pci or "", {})) for reading in readings.gpus
        )
        return replace(readings, gpus=gpus)

    def _with_gauges(self, readings: Readings, at: Instant) -> Readings:
        """Add what processes say of themselves on GPUs whose list was read, where their source does not."""
        """Add what processes say of themselves on the GPUs whose list was read; the source goes first."""
        if not self._insides:
            return readings
        present = {
            reading.gpu.uuid: {claim.pid: self._present[claim.pid] for claim in reading.claims}
            for reading in readings.gpus
            if reading.claims
        }
        told: dict[str, dict[tuple[int, str], Gauge]] = {}
        for inside in self._insides:
            for uuid, gauges in inside.gauges(present, at).items():
                known = told.setdefault(uuid, {})
                for gauge in gauges:
                    known.setdefault((gauge.pid, gauge.quantity), gauge)
        gpus = tuple(_with(reading, told.get(reading.gpu.uuid, {})) for reading in readings.gpus)
        return replace(readings, gpus=gpus)

    def _hear(self, readings: Readings) -> Iterator[Event]:
        """Yield an event for each process whose own count of being refused memory has risen."""
        if not self._insides:
            return
        for reading in readings.gpus:
            for gauge in reading.gauges:
                if gauge.quantity != "ooms_total" or gauge.pid not in self._present:
                    continue
                key = reading.gpu.uuid, self._present[gauge.pid].facts.key
                more = gauge.value - self._ooms.get(key, gauge.value)
                self._ooms[key] = gauge.value
                if more > 0:
                    yield _out_of_memory(gauge.pid, reading.gpu.uuid, more)

    def _keep_lists(self, at: Instant, readings: Readings) -> None:
        """Keep the newest process list of every Gpu, but not of one that could not be read."""
        for missing in readings.missing:
            self._lists_changed = True
            if missing.gpu is None:
                self._listed.clear()
            else:
                self._listed.pop(missing.gpu.uuid, None)
        for reading in readings.gpus:
            if reading.claims is not None or reading.claims_fault is not None:
                before = self._listed.get(reading.gpu.uuid)
                listed = Listed(at, reading.claims or (), reading.claims_fault)
                self._listed[reading.gpu.uuid] = listed
                if before is None or before.claims is not listed.claims:
                    self._lists_changed = True

    def _meet(self, at: Instant) -> None:
        """Look up who stands behind every pid that is listed now."""
        if self._lists_changed:
            self._lists_changed = False
            pids = {claim.pid for listed in self._listed.values() for claim in listed.claims}
            if pids != self._pids:
                self._pids = pids
        facts = self._feed.people.facts(self._pids, at)
        if facts is not self._facts:
            self._facts = facts
            self._take_up({pid: self._tenant(each) for pid, each in facts.items()})
            self._lost = set()
        self._met_at = at.boottime
        self._forget(at.boottime)

    def _take_up(self, present: dict[int, Tenant]) -> None:
        """Let ``present`` be who is listed now; the books of before no longer hold."""
        for tenant in self._present.values():
            self._left[tenant.facts.key] = self._met_at
        for tenant in present.values():
            self._left.pop(tenant.facts.key, None)
        self._present = present
        self._books.clear()
        self._is_dying = any(will_be_ghost(tenant.facts) for tenant in present.values())
        has_mps = any(is_mps_server(tenant.facts) for tenant in present.values())
        self._surroundings = replace(self._surroundings, mps=has_mps)

    def _forget(self, now: float) -> None:
        """Drop who has not been listed for a while, so that restarts without end cost no memory."""
        while self._left and now - next(iter(self._left.values())) > REMEMBERED_FOR:
            gone = next(iter(self._left))
            del self._left[gone]
            for known in (self._tenants, self._owners):
                known.pop(gone, None)
            self._nameless.discard(gone)
            for key in [key for key in self._ooms if key[1] == gone]:
                del self._ooms[key]

    def _tenant(self, facts: ProcessFacts) -> Tenant:
        if facts.key in self._lost and facts.state in ENDED:
            self._nameless.add(facts.key)
        if facts.key in self._nameless:
            facts = ProcessFacts(facts.key, facts.state, facts.state_since)
        told, known = self._tenants.get(facts.key, (None, None))
        if known is None:
            engine = recognise(self._engines, facts)
            owner = self._owners.get(facts.key) or owner_of(facts, engine, self._rules)
            if facts.key.start_ticks:  # a pid that was never seen alive has no identity to keep
                self._owners[facts.key] = owner
            known = Tenant(self._shows(facts), owner, engine)
        elif told is not facts:  # a title that came late may name the engine; the Owner stays
            engine = recognise(self._engines, facts) or known.engine
            known = replace(known, facts=self._shows(facts), engine=engine)
        self._tenants[facts.key] = facts, known
        return known


def _with(reading: Reading, told: Mapping[tuple[int, str], Gauge]) -> Reading:
    if not told:
        return reading
    known = {(gauge.pid, gauge.quantity) for gauge in reading.gauges}
    more = tuple(gauge for key, gauge in told.items() if key not in known)
    return replace(reading, gauges=(*reading.gauges, *more))


def _out_of_memory(pid: int, gpu: str, times: float) -> Event:
    detail = f"origin={Origin.WORKER} pid={pid} ooms={times:.0f}"
    return Event(EventKind.OUT_OF_MEMORY, detail, gpu, pid=pid, numbers={"ooms": times}, origin=Origin.WORKER)
