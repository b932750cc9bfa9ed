"""Which windows the ledgers of one Gpu feed, and when one of them is due to be examined."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vramwatch.core.diagnosis import Diagnosis
from vramwatch.core.model import Holding, Ledger, ProcessKey, SubjectKind
from vramwatch.core.windows import MINUTE, Lane, Layer, Load, Window

EMPTY = 0.02
"""Share of the capacity below which a Gpu without a process list holds no service: a life has ended."""

EXAMINED_EVERY = 900.0
"""Seconds after which a window is looked at though nothing came."""

RESIZED = 0.01
"""A change of the total by a larger share is another device, or another MIG instance."""

RUNNING_AWAY = 0.01
"""Share of the capacity gained within a minute or two from which the fast path looks at every ten seconds."""


@dataclass(slots=True)
class Watched:
    """A Window, whose it is, and when it was looked at. ``owner``: an Owner's key, None: nobody's."""

    window: Window
    pid: int | None = None
    owner: str | None = None
    examined: float = 0.0
    came: bool = False  # evidence since then
    moment: int = -1  # the ten seconds in which it was looked at last
    requests: float | None = None  # the counter's first value
    diagnosis: Diagnosis | None = None  # what it was found to be when it was looked at last

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
    changed: bool = False  # whether a window has ended with the ledger that was folded last

    def fold(self, ledger: Ledger, now: float) -> None:
        """Take in what ``ledger`` says at ``now``, the seconds of the windows."""
        memory = ledger.memory
        self.changed = False
        if abs(memory.total - self.total) > RESIZED * self.total:
            self.gpu = self.unattributed = None
            self.processes.clear()
            self.changed = True
            self.total = memory.total
        self.load.fold(now, ledger.reading.utilization)
        is_listed = ledger.listed is not None and bool(ledger.holdings)
        self._fold_gpu(ledger, now, is_whole=not is_listed)
        if ledger.is_fresh:
            self._fold_processes(ledger, now)
            if ledger.listed is not None and is_listed:
                self.unattributed = self._take(
                    self.unattributed, SubjectKind.UNATTRIBUTED, ledger, now, ledger.unattributed
                )

    def all(self) -> Iterator[Watched]:
        """Yield every window, the most specific ones first."""
        yield from self.processes.values()
        if self.unattributed:
            yield self.unattributed
        if self.gpu:
            yield self.gpu

    def _fold_gpu(self, ledger: Ledger, now: float, *, is_whole: bool) -> None:
        used = ledger.memory.used
        if is_whole and used < EMPTY * ledger.memory.total:
            self.changed |= self.gpu is not None
            self.gpu = None
            return
        self.gpu = self._take(self.gpu, SubjectKind.GPU, ledger, now, used)
        self.gpu.window.whole = is_whole

    def _take(
        self, watched: Watched | None, kind: SubjectKind, ledger: Ledger, now: float, value: float
    ) -> Watched:
        capacity = ledger.memory.total - ledger.memory.reserved
        if watched is None:
            lane = Lane(capacity)
            watched = Watched(Window(kind, lane, self.load, now, ledger.at.wall, capacity))
        window = watched.window
        window.now, window.wall, window.capacity = now, ledger.at.wall, capacity
        window.taken = max(0, ledger.memory.used - value)
        watched.came |= window.used.fold(now, value, self.load.busy, self.load.is_idle)
        return watched

    def _fold_processes(self, ledger: Ledger, now: float) -> None:
        told: dict[int, dict[str, float]] = {}
        for gauge in ledger.reading.gauges:
            told.setdefault(gauge.pid, {})[gauge.quantity] = gauge.value
        present = set()
        for holding in ledger.holdings:
            key = holding.tenant.facts.key
            present.add(key)
            if holding.held is not None:
                self._fold_process(ledger, now, holding, told.get(holding.pid, {}))
        for key in self.processes.keys() - present:
            del self.processes[key]
            self.changed = True

    def _fold_process(
        self, ledger: Ledger, now: float, holding: Holding, told: Mapping[str, float]
    ) -> None:
        held = float(holding.held or 0)
        key = holding.tenant.facts.key
        watched = self.processes.get(key)
        capacity = ledger.memory.total - ledger.memory.reserved
        if watched is None:
            started = holding.tenant.facts.started
            begun = None if started is None else now - max(0.0, ledger.at.wall - started)
            window = Window(
                SubjectKind.PROCESS, Lane(capacity), self.load, now, ledger.at.wall, capacity, started=begun
            )
            watched = self.processes[key] = Watched(window, holding.pid)
        watched.owner = holding.tenant.owner.key
        window = watched.window
        window.now, window.wall, window.capacity = now, ledger.at.wall, capacity
        window.taken = max(0.0, ledger.memory.used - held)
        window.running, window.waiting = told.get("requests_running"), told.get("requests_waiting")
        is_idle = self.load.is_idle
        if window.running is not None:
            is_idle = window.running == 0 and not window.waiting
        requests = told.get("requests_total")
        if requests is not None and watched.requests is None:
            watched.requests = requests
        work = self.load.busy if requests is None or watched.requests is None else requests - watched.requests
        watched.came |= window.used.fold(now, held, work, is_idle)
        for layer, value in layers(held, told):
            lane = window.layers.get(layer)
            if lane is None:
                lane = window.layers[layer] = Lane(capacity)
            watched.came |= lane.fold(now, value, work, is_idle)


def layers(held: float, told: Mapping[str, float]) -> Iterator[tuple[Layer, float]]:
    """Yield the layers of a process that holds ``held`` bytes, as far as they are ``told``; see Layer."""
    reserved, allocated = told.get("torch_reserved_bytes"), told.get("torch_allocated_bytes")
    kv = told.get("engine_kv_bytes")
    if reserved is not None:
        yield Layer.NON_TORCH, held - reserved
        if allocated is not None:
            yield Layer.CACHED, reserved - allocated
    if allocated is not None:
        yield Layer.LIVE, allocated - (kv or 0.0)
    if kv is not None:
        yield Layer.KV, kv
