"""One poll through the house: read, ask who, divide. What comes out is ready to be stored.

Owns no clock and writes nothing; ``run``, ``replay`` and a single ``status`` use it alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vramwatch.core import cadence
from vramwatch.core.attribution import Listed, Surroundings, attribute
from vramwatch.core.cadence import Cadence, Rates
from vramwatch.core.instants import kept_instant
from vramwatch.core.model import (
    Instant,
    Ledger,
    Owner,
    Poll,
    ProcessFacts,
    ProcessKey,
    Reading,
    Readings,
    Tenant,
)
from vramwatch.core.owners import OwnerRule, owner_of
from vramwatch.core.ports import Feed
from vramwatch.core.recognition import Engine, recognise
from vramwatch.core.units import Bytes, Seconds
from vramwatch.procfs import is_mps_server

REMEMBERED_FOR = Seconds(600.0)
"""How long a process that is on no GPU any more keeps its name here; the store keeps it for good."""


ReadGroups = Callable[[], Mapping[str, Mapping[str, Bytes]]]
"""Returns PCI address -> path of a control group -> bytes; called when process lists are read."""


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
    ) -> None:
        """``shows`` says what of a process may be remembered, once its engine and Owner are known."""
        self.rules = rules
        self.rates = rates
        self._feed = feed
        self._engines = engines
        self._owners = dict(owners)
        self._surroundings = surroundings
        self._read_groups = read_groups
        self._shows = shows
        self._cadence = Cadence()
        self._listed: dict[str, Listed] = {}
        self._tenants: dict[ProcessKey, tuple[ProcessFacts, Tenant]] = {}  # as told, and as remembered
        self._met: dict[ProcessKey, float] = {}  # boottime of the newest list with it, oldest first
        self._present: dict[int, Tenant] = {}

    def turn(self, at: Instant) -> Poll:
        """Return what the poll at ``at`` saw: a balanced Ledger for every Gpu that could be read.

        Its instant is as the store keeps it: judged again, it must be the same to the bit.
        """
        at = kept_instant(at)
        asked = cadence.ask(self._cadence, self.rates, at.boottime)
        readings = self._feed.source.read(at, asked)
        self._cadence = cadence.after(self._cadence, self.rates, at.boottime, asked, readings)
        self._keep_lists(at, readings)
        if any(reading.claims is not None for reading in readings.gpus):
            self._meet(at)
            readings = self._with_groups(readings)
        return Poll(
            at=at,
            ledgers=tuple(self._ledger(at, reading) for reading in readings.gpus),
            missing=readings.missing,
            events=readings.events,
            pace=cadence.pace(self._cadence, self.rates),
        )

    def _ledger(self, at: Instant, reading: Reading) -> Ledger:
        return attribute(at, reading, self._listed.get(reading.gpu.uuid), self._present, self._surroundings)

    def _with_groups(self, readings: Readings) -> Readings:
        """Add what the kernel counts by control group, where it does."""
        if self._read_groups is None:
            return readings
        by_gpu = self._read_groups()
        gpus = tuple(
            replace(reading, groups=by_gpu.get(reading.gpu.pci or "", {})) for reading in readings.gpus
        )
        return replace(readings, gpus=gpus)

    def _keep_lists(self, at: Instant, readings: Readings) -> None:
        """Keep the newest process list of every Gpu, but not of one that could not be read."""
        for missing in readings.missing:
            if missing.gpu is None:
                self._listed.clear()
            else:
                self._listed.pop(missing.gpu.uuid, None)
        for reading in readings.gpus:
            if reading.claims is not None or reading.claims_fault is not None:
                self._listed[reading.gpu.uuid] = Listed(at, reading.claims or (), reading.claims_fault)

    def _meet(self, at: Instant) -> None:
        """Look up who stands behind every pid that is listed now."""
        pids = {claim.pid for listed in self._listed.values() for claim in listed.claims}
        self._present = {pid: self._tenant(facts) for pid, facts in self._feed.people.facts(pids, at).items()}
        self._forget(at.boottime)
        has_mps = any(is_mps_server(tenant.facts) for tenant in self._present.values())
        self._surroundings = replace(self._surroundings, mps=has_mps)

    def _forget(self, now: float) -> None:
        """Drop who has not been listed for a while, so that restarts without end cost no memory."""
        for tenant in self._present.values():
            self._met.pop(tenant.facts.key, None)
            self._met[tenant.facts.key] = now
        while self._met and now - next(iter(self._met.values())) > REMEMBERED_FOR:
            gone = next(iter(self._met))
            for known in (self._met, self._tenants, self._owners):
                known.pop(gone, None)

    def _tenant(self, facts: ProcessFacts) -> Tenant:
        told, known = self._tenants.get(facts.key, (None, None))
        if known is None:
            engine = recognise(self._engines, facts)
            owner = self._owners.get(facts.key) or owner_of(facts, engine, self.rules)
            if facts.key.start_ticks:  # a pid that was never seen alive has no identity to keep
                self._owners[facts.key] = owner
            known = Tenant(self._shows(facts), owner, engine)
        elif told is not facts:  # a title that came late may name the engine; the Owner stays
            engine = recognise(self._engines, facts) or known.engine
            known = replace(known, facts=self._shows(facts), engine=engine)
        self._tenants[facts.key] = facts, known
        return known
