"""Which windows the ledgers of one Gpu feed, and when one of them is due to be examined."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import exp, inf

from vramwatch.core.diagnosis import Diagnosis
from vramwatch.core.floors import WARM_UP
from vramwatch.core.hindcasts import Hindcast
from vramwatch.core.lanes import DAY, HOUR, MINUTE, MOMENT, Lane
from vramwatch.core.layers import layers
from vramwatch.core.model import Holding, Ledger, Origin, ProcessKey, SubjectKind
from vramwatch.core.series import process_subject
from vramwatch.core.sufficiency import SETTLED_AFTER, Lack, has_moved, lack, lack_of_all
from vramwatch.core.traits import GROWING
from vramwatch.core.verdicts import Flight, flown_by, nameless, without_pids
from vramwatch.core.windows import (
    DEPARTURES_KEPT,
    LIVES_KEPT,
    PRESSED_OVER,
    Accident,
    Departure,
    Layer,
    Life,
    Load,
    Members,
    Window,
)

EMPTY = 0.02
"""Share of the capacity below which a Gpu without a process list holds no service: a life has ended."""

EXAMINED_EVERY = 900.0
"""Seconds after which a window is looked at though nothing came."""

RESIZED = 0.01
"""A change of the total by a larger share is another device, or another MIG instance."""

OWNER_KEPT = 7 * DAY
"""How long the lives of an owner without processes are remembered."""

FULL, FULL_MOMENTS = 0.98, 6
"""Share of the capacity from which memory was full, within the last minute, when a process ended."""

PRESSED = 0.97
"""Share of its pool from which it is full."""

WHOLE_POOL = 1.0
"""A pool whose bytes nobody tells is followed in shares of it."""

ACCIDENTS_KEPT = 16

SIBLINGS_OVER = HOUR
"""What the other processes of an owner have not gone below for so long is theirs of its budget: they may all
be at their least at one time, and more than that comes and goes."""

FLOWN = 8
"""Processes of which the minutes before an accident are frozen: the largest."""

RUNNING_AWAY = 0.01
"""Share of the capacity gained within a minute or two from which the fast path looks at every ten seconds."""


@dataclass(slots=True)
class Watched:
    """A Window, whose it is, and when it was looked at.

    ``owner``: an Owner's key, None: nobody's. ``version``: the image that its process runs; ``rank``: of its
    process among those of one service; None: not known. ``hindcasts``: forecasts whose outcome is awaited.
    """

    window: Window
    pid: int | None = None
    owner: str | None = None
    version: str | None = None
    rank: int | None = None
    subject: str = ""  # of a process, as series name it
    examined: float = 0.0
    came: bool = False  # evidence since then
    moment: int = -1  # the ten seconds in which it was looked at last
    requests: float | None = None  # the counter's first value
    diagnosis: Diagnosis | None = None  # what it was found to be when it was looked at last
    hindcasts: tuple[Hindcast, ...] = ()

    @property
    def is_due(self) -> bool:
        now = self.window.now
        since = now - self.examined
        if since < 0 or since >= EXAMINED_EVERY or (self.came and since >= MINUTE):
            return True
        lane = self.window.used
        if lane.moment == self.moment or len(lane.moments) < 6:
            return False
        return lane.last - lane.moments.low[-6] >= RUNNING_AWAY * self.window.capacity

    def mark_examined(self) -> None:
        self.examined, self.came, self.moment = self.window.now, False, self.window.used.moment


@dataclass(slots=True)
class GpuWindows:
    """The windows on one Gpu. Fold its ledgers in their order."""

    load: Load = field(default_factory=Load)
    total: int = 0
    gpu: Watched | None = None
    unattributed: Watched | None = None
    processes: dict[ProcessKey, Watched] = field(default_factory=dict)
    owners: dict[str, Watched] = field(default_factory=dict)
    was_listed: bool = False  # whether a process was ever listed here
    changed: bool = False  # whether a window has ended with the ledger that was folded last

    def fold(self, ledger: Ledger, now: float) -> None:
        """Take in what ``ledger`` says at ``now``, the seconds of the windows."""
        memory = ledger.memory
        self.changed = False
        if abs(memory.total - self.total) > RESIZED * self.total:
            self.gpu = self.unattributed = None
            self.processes.clear()
            self.owners.clear()
            self.changed = True
            self.total = memory.total
        self.load.fold(now, ledger.reading.utilization)
        self.was_listed |= bool(ledger.holdings)
        is_listed = ledger.listed is not None and self.was_listed
        self._fold_gpu(ledger, now, is_whole=not is_listed)
        if ledger.is_fresh and is_listed:
            left = self._fold_processes(ledger, now)
            self._fold_unattributed(ledger, now, left)
            self._fold_owners(ledger, now)

    def has(self, pid: int | None) -> bool:
        """Return whether a process ``pid`` is here."""
        return any(each.pid == pid for each in self.processes.values())

    def note(self, accident: Accident, pid: int | None = None, owner: str | None = None) -> None:
        """Take in an out-of-memory: of the process ``pid``, else of ``owner``, else of whoever is here."""
        accident = replace(accident, flight=self._flight())
        hit = [each for each in self.processes.values() if each.pid == pid]
        if not hit:
            hit = [each for each in (self.owners.get(owner or ""), self.gpu) if each is not None][:1]
        for each in hit:
            if any(
                (known.time, known.origin) == (accident.time, accident.origin)
                for known in each.window.accidents
            ):
                continue  # told twice of one poll: by the process's count of them, and as an event
            each.window.now = accident.time
            told = replace(accident, numbers={**_work_at(each.window), **accident.numbers})
            each.window.accidents = [*each.window.accidents, told][-ACCIDENTS_KEPT:]
            each.came, each.examined = True, -inf

    def _flight(self) -> dict[str, Flight]:
        """Return the last minutes of the Gpu, of nobody's bytes and of its largest processes, by layers."""
        lanes: dict[str, Watched] = {}
        if self.gpu:
            lanes["gpu"] = self.gpu
        if self.unattributed:
            lanes["unattributed"] = self.unattributed
        largest = sorted(self.processes.values(), key=lambda each: -each.window.used.last)[:FLOWN]
        lanes |= {flown_by(each.pid): each for each in largest}
        flight = {}
        for name, each in lanes.items():
            flight[name] = _flown(each.window, each.window.used)
            for layer, lane in each.window.layers.items():
                flight[f"{name} {layer}"] = _flown(each.window, lane)
        return flight

    def forget(self, owners: Collection[str], processes: Collection[ProcessKey]) -> None:
        """Let go of the windows of Owners (by key) with all of their processes, and of single processes.

        What was before an accident is kept of the others alone.
        """
        for owner in owners:
            self.owners.pop(owner, None)
        gone = {k for k, each in self.processes.items() if k in processes or each.owner in owners}
        for key in gone:
            del self.processes[key]
        pids = {key.pid for key in gone | set(processes)}
        for each in self.all():
            each.window.accidents = [
                replace(accident, flight=without_pids(accident.flight, pids))
                for accident in each.window.accidents
            ]
            if each.diagnosis:
                found = each.diagnosis.found
                found = replace(found, evidence=nameless(found.evidence, pids))
                each.diagnosis = replace(each.diagnosis, found=found)

    def link(self) -> None:
        """Have every window share the load again, after each was taken up by itself."""
        for each in self.all():
            each.window.load = self.load

    def all(self) -> Iterator[Watched]:
        """Yield every window, the most specific ones first."""
        yield from self.processes.values()
        yield from self.owners.values()
        if self.unattributed:
            yield self.unattributed
        if self.gpu:
            yield self.gpu

    def lacking(self) -> Iterator[tuple[SubjectKind, str | None, Lack]]:
        """Yield of whom there is too little to judge: kind, Owner's key and what is missing.

        An Owner lacks nothing if one of its processes does not, or one that is over has lasted.
        """
        for key, watched in self.owners.items():
            members = watched.window.members
            lacks = [lack(each.window) for each in self.processes.values() if each.owner == key]
            lacks += [None for _ in members.lives] if members else []
            missing = lack_of_all(lacks)
            if missing is not None:
                yield SubjectKind.OWNER, key, missing
        for rest in (self.unattributed, self.gpu):
            if rest is None or not (rest.window.whole if rest is self.gpu else has_moved(rest.window)):
                continue
            missing = lack(rest.window)
            if missing is not None:
                yield rest.window.kind, None, missing

    def _fold_gpu(self, ledger: Ledger, now: float, *, is_whole: bool) -> None:
        used = ledger.memory.used
        if is_whole and used < EMPTY * ledger.memory.total:
            self.changed |= self.gpu is not None
            self.gpu = None
            return
        self.gpu = self._take(self.gpu, SubjectKind.GPU, ledger, now, used, is_idle=self.load.is_idle)
        self.gpu.window.whole = self.gpu.window.used.returns.votes = is_whole

    def _take(
        self,
        watched: Watched | None,
        kind: SubjectKind,
        ledger: Ledger,
        now: float,
        value: float,
        *,
        is_idle: bool | None,
    ) -> Watched:
        memory = ledger.memory
        capacity = memory.total - memory.reserved
        if watched is None:
            lane = Lane(capacity, votes=kind in GROWING)
            watched = Watched(Window(kind, lane, self.load, now, ledger.at.wall, capacity))
        window = watched.window
        window.now, window.wall, window.capacity, window.budget = now, ledger.at.wall, capacity, None
        window.taken = max(0, memory.used - value)
        watched.came |= window.used.fold(now, value, self.load.busy, is_idle)
        return watched

    def _fold_unattributed(self, ledger: Ledger, now: float, left: int) -> None:
        before = self.unattributed.window.used.last if self.unattributed else float(ledger.unattributed)
        is_withheld = any(holding.held is None for holding in ledger.holdings)
        is_idle = self.load.is_idle if is_withheld else None  # others' work is not seen
        watched = self.unattributed = self._take(
            self.unattributed, SubjectKind.UNATTRIBUTED, ledger, now, ledger.unattributed, is_idle=is_idle
        )
        window = watched.window
        window.withheld = is_withheld
        window.departures += [Departure(now, before)] * left
        del window.departures[:-DEPARTURES_KEPT]
        ghosts = ledger.ghost_bytes
        window.ghosts_since = min(window.ghosts_since, now) if ghosts else inf
        window.ghosts = ghosts

    def _fold_owners(self, ledger: Ledger, now: float) -> None:
        """Follow how many processes an owner has, and at what each life settles."""
        held: dict[str, dict[str, float]] = {}
        for each in self.processes.values():
            if each.owner is not None:
                held.setdefault(each.owner, {})[each.subject] = each.window.used.last
        budgets = {holding.tenant.owner.key: holding.tenant.owner.budget for holding in ledger.holdings}
        for owner, parts in held.items():
            watched = self.owners[owner] = self._take(
                self.owners.get(owner), SubjectKind.OWNER, ledger, now, sum(parts.values()), is_idle=None
            )
            watched.owner = owner
            if (budget := budgets.get(owner)) is not None:
                watched.window.bind(budget, 0.0)
            members = watched.window.members or Members()
            watched.window.members = members
            if members.began.keys() != parts.keys():
                if members.began.keys() - parts.keys():
                    members.ended = now
                members.began = {key: members.began.get(key, now) for key in parts}
            members.held = parts
        for owner in self.owners.keys() - held.keys() if len(self.owners) > len(held) else ():
            gone = self.owners[owner].window.members
            if gone is not None and gone.began:
                gone.began, gone.held, gone.ended = {}, {}, now
            if gone is None or now - gone.ended > OWNER_KEPT:
                del self.owners[owner]

    def _fold_processes(self, ledger: Ledger, now: float) -> int:
        """Fold every process; return how many have left."""
        told: dict[int, dict[str, float]] = {}
        for gauge in ledger.reading.gauges:
            told.setdefault(gauge.pid, {})[gauge.quantity] = gauge.value
        present = set()
        floors = self._floors(ledger, now)
        for holding in ledger.holdings:
            key, owner = holding.tenant.facts.key, holding.tenant.owner
            present.add(key)
            if holding.held is not None:
                self._fold_process(ledger, now, key, holding, told.get(holding.pid, {}))
                if owner.budget is not None:
                    own = floors[owner.key]
                    self.processes[key].window.bind(owner.budget, sum(own.values()) - own[key])
        if len(present) == len(self.processes) and present >= self.processes.keys():
            return 0
        left = {key: self.processes[key] for key in self.processes.keys() - present}
        for watched in left.values():
            self._keep_life(watched)
            self._suspect(watched, now)
        for key in left:
            del self.processes[key]
        self.changed |= bool(left)
        return len(left)

    def _floors(self, ledger: Ledger, now: float) -> dict[str, dict[ProcessKey, float]]:
        """Return what each process of an owner with a budget has not gone below lately, by the key."""
        floors: dict[str, dict[ProcessKey, float]] = {}
        for holding in ledger.holdings:
            key, owner = holding.tenant.facts.key, holding.tenant.owner
            if owner.budget is None or holding.held is None:
                continue
            watched, least = self.processes.get(key), float(holding.held)
            if watched is not None:
                known = watched.window.used.floor(now - SIBLINGS_OVER, now)
                least = least if known is None else min(least, known)
            floors.setdefault(owner.key, {})[key] = least
        return floors

    def _keep_life(self, watched: Watched) -> None:
        """Remember a life that was long enough to settle."""
        window = watched.window
        owner = self.owners.get(watched.owner or "")
        if owner is None or owner.window.members is None or window.age < SETTLED_AFTER + WARM_UP:
            return
        base = window.used.floor(window.used.time - window.age + WARM_UP, window.used.time)
        if base is not None:
            members = owner.window.members
            rate = watched.diagnosis.rate if watched.diagnosis else None
            life = Life(window.used.began, base, watched.version, rate.median if rate else 0.0)
            members.lives = [*members.lives, life][-LIVES_KEPT:]

    def _suspect(self, watched: Watched, now: float) -> None:
        """Infer an out-of-memory where a process ended right after the memory was full."""
        if self.gpu is None or watched.window.is_flat:
            return
        lane = self.gpu.window.used
        peak = max((*lane.moments.high[-FULL_MOMENTS:], lane.high))
        if peak >= FULL * self.gpu.window.capacity:
            self.note(Accident(now, str(Origin.INFERRED), {"peak_bytes": peak}), owner=watched.owner)

    def _fold_process(
        self, ledger: Ledger, now: float, key: ProcessKey, holding: Holding, told: Mapping[str, float]
    ) -> None:
        held = float(holding.held or 0)
        watched = self.processes.get(key)
        memory = ledger.memory
        capacity = memory.total - memory.reserved
        if watched is None:
            started = holding.tenant.facts.started
            begun = None if started is None else now - max(0.0, ledger.at.wall - started)
            window = Window(
                SubjectKind.PROCESS, Lane(capacity), self.load, now, ledger.at.wall, capacity, started=begun
            )
            watched = self.processes[key] = Watched(window, holding.pid, subject=process_subject(key))
        tenant = holding.tenant
        watched.owner = tenant.owner.key
        watched.version = tenant.facts.container.image if tenant.facts.container else None
        watched.rank = tenant.engine.rank if tenant.engine else None
        window = watched.window
        window.now, window.wall, window.capacity, window.budget = now, ledger.at.wall, capacity, None
        window.taken = max(0.0, memory.used - held)
        window.ran, window.running = window.running, told.get("requests_running")
        window.waiting = told.get("requests_waiting")
        self._hear(window, told, now, holding.pid)
        is_idle = self.load.is_idle
        if window.running is not None:
            is_idle = window.running == 0 and not window.waiting
        requests = told.get("requests_total")
        if requests is not None and watched.requests is None:
            watched.requests = requests
        window.counts_requests = requests is not None
        work = self.load.busy if requests is None or watched.requests is None else requests - watched.requests
        watched.came |= window.used.fold(now, held, work, is_idle)
        if told:
            self._fold_layers(watched, told, now, work, is_idle)

    def _fold_layers(
        self, watched: Watched, told: Mapping[str, float], now: float, work: float, is_idle: bool | None
    ) -> None:
        window = watched.window
        for layer, value in layers(window.used.last, told):
            lane = window.layers.get(layer)
            if lane is None:
                lane = window.layers[layer] = Lane(window.capacity, votes=False)
            watched.came |= lane.fold(now, value, work, is_idle)
        fullness = told.get("engine_kv_ratio")
        if fullness is not None and Layer.KV not in window.layers:
            if window.fullness is None:
                window.fullness = Lane(WHOLE_POOL, votes=False)
            watched.came |= window.fullness.fold(now, fullness, work, is_idle)

    def _hear(self, window: Window, told: Mapping[str, float], now: float, pid: int) -> None:
        """Take in what a process says of accidents and of requests that wait."""
        before = window.told
        window.told = told
        more = told.get("ooms_total", 0.0) - before.get("ooms_total", told.get("ooms_total", 0.0))
        if more > 0:
            self.note(Accident(now, str(Origin.WORKER), {"ooms": more}), pid)
        waiting = window.waiting
        if waiting is None or not {"engine_kv_bytes", "engine_kv_ratio"} & told.keys():
            return
        presses = told.get("preemptions_total", 0.0) > before.get("preemptions_total", inf)
        if waiting > 0 and not presses:
            presses = _is_full(told, window.layers.get(Layer.KV))
        elapsed = min(now - window.used.time, PRESSED_OVER) if window.used.time > 0 else 0.0
        share = 1 - exp(-elapsed / (PRESSED_OVER / 3))
        window.pressed += share * (presses - window.pressed)


def _is_full(told: Mapping[str, float], lane: Lane | None) -> bool:
    """Return whether a KV pool is as good as full: by its own share, by its size, else by its most so far."""
    if (share := told.get("engine_kv_ratio")) is not None:
        return share >= PRESSED
    kv = told["engine_kv_bytes"]
    size = told.get("engine_pool_bytes") or (max(kv, lane.peak(12 * HOUR)) if lane else kv)
    return kv >= PRESSED * size


def _flown(window: Window, lane: Lane) -> Flight:
    moments = lane.moments
    points = zip(moments.index, moments.low, moments.high, strict=True)
    past = tuple((window.at(index * MOMENT), low, high) for index, low, high in points)
    return (*past, (window.at(lane.time), lane.low, lane.high))


def _work_at(window: Window) -> dict[str, float]:
    """Return how much was worked at when an accident came, which may have ended some of it already."""
    known = [each for each in (window.ran, window.running) if each is not None]
    return {"requests_running": max(known)} if known else {}
