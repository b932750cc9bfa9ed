"""Turns out-of-memory lines of logs into events: counts repetitions and looks up the Gpu. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vramwatch.core.model import Event, EventKind, Holding, Ledger, Origin, Tenant
from vramwatch.core.oom_lines import OomKind, OomReport

TELL_EVERY = 60.0
"""Seconds within which the same process that says the same again is only counted: one failure is logged
by several layers, and a server that fails in a loop must not fill the store."""

KEYS_MOST = 256
"""Processes that are told apart at a time; the one that was silent longest is forgotten first."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One report and where it came from: a unit, or a container by its id or name.

    ``container_name`` of a pod's container is NAMESPACE/POD/CONTAINER, and its id is not known then.
    """

    report: OomReport
    unit: str | None = None
    container: str | None = None
    container_name: str | None = None
    pid: int | None = None  # as the host sees it; None: the log does not say


_Key = tuple[str | None, str | None, int | None, OomKind, str | None, int | None]


@dataclass(slots=True)
class _Known:
    told: float  # when it was told last
    repeated: int = 0
    newest: Sighting | None = None


class Digest:
    """Keeps what was told in the last minute. ``now`` is boottime seconds, and is always handed in."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Known] = {}

    def take(self, sightings: Iterable[Sighting], now: float) -> list[tuple[Sighting, int]]:
        """Return what is to be told now, each with how often it was repeated since it was told last.

        New ones are told at once, in their order; a repeated one once its minute is over. Empty: none.
        """
        due: list[tuple[Sighting, int]] = []
        for sighting in sightings:
            known = self._known.pop(_key(sighting), None)
            if known is None:
                known = _Known(now)
                due.append((sighting, 0))
            else:
                known.repeated += 1
                known.newest = sighting
            self._known[_key(sighting)] = known
        for key, known in list(self._known.items()):
            if now - known.told < TELL_EVERY:
                continue
            del self._known[key]
            if known.newest is not None:
                due.append((known.newest, known.repeated - 1))
                self._known[key] = _Known(now)
        while len(self._known) > KEYS_MOST:
            del self._known[next(iter(self._known))]
        return due


def _key(sighting: Sighting) -> _Key:
    report = sighting.report
    return sighting.unit, sighting.container, sighting.pid, report.kind, report.engine, report.device


def event(sighting: Sighting, repeated: int, ledgers: Sequence[Ledger], *, is_whole: bool = False) -> Event:
    """Return the event of ``sighting``; its detail is key=value pairs without a word of the log.

    ``ledgers``, the newest there are, say which Gpu it happened on and, where the log does not say it,
    which pid; both stay None unless there is exactly one that it can be. ``is_whole``: they are of every
    Gpu there is.
    """
    report = sighting.report
    pid, gpu = locate(sighting, ledgers, is_whole=is_whole)
    words = {
        "origin": Origin.LOG.value,
        "kind": report.kind.value,
        "engine": report.engine,
        "unit": sighting.unit,
        "container": sighting.container_name or (sighting.container or "")[:12] or None,
        "pid": pid,
        **{name: f"{value:.0f}" for name, value in report.numbers().items()},
        "repeated": repeated or None,
    }
    return Event(
        EventKind.KV_CACHE_FULL if report.kind is OomKind.PREEMPTION else EventKind.OUT_OF_MEMORY,
        " ".join(f"{name}={value}" for name, value in words.items() if value is not None),
        gpu,
        pid=pid,
        numbers=report.numbers(),
        origin=Origin.LOG,
    )


def locate(
    sighting: Sighting, ledgers: Sequence[Ledger], *, is_whole: bool = False
) -> tuple[int | None, str | None]:
    """Return pid and Gpu of ``sighting``: of its pid where that holds memory, else of its whole service.

    Where neither holds any, as at a start that fails, it is the only Gpu if there is only one.

    A service on several Gpus: the device that the line names is looked up among those that its process
    was given by UUID. A bare number there says nothing sure, for CUDA may count in another order.
    """
    holdings = [(ledger.gpu.uuid, holding) for ledger in ledgers for holding in ledger.holdings]
    its = [(gpu, held) for gpu, held in holdings if held.pid == sighting.pid]
    its = its or [(gpu, held) for gpu, held in holdings if _is_of(sighting, held)]
    gpus = {gpu for gpu, _ in its}
    if not its and is_whole:
        gpus = {ledger.gpu.uuid for ledger in ledgers}
    gpu = gpus.pop() if len(gpus) == 1 else _given(sighting.report.device, its)
    pids = {held.pid for on, held in its if gpu in (None, on)}
    pid = sighting.pid if sighting.pid is not None or len(pids) != 1 else pids.pop()
    return pid, gpu


def _is_of(sighting: Sighting, holding: Holding) -> bool:
    facts = holding.tenant.facts
    if sighting.container is not None:
        return facts.container is not None and facts.container.id == sighting.container
    if sighting.container_name is not None:
        pod = facts.pod
        return pod is not None and f"{pod.namespace}/{pod.name}/{pod.container}" == sighting.container_name
    return sighting.unit is not None and facts.unit == sighting.unit and facts.unit_owner is None


def _given(device: int | None, its: Sequence[tuple[str, Holding]]) -> str | None:
    if device is None:
        return None
    given = {_visible(holding.tenant, device) for _, holding in its}
    wanted = given.pop() if len(given) == 1 else None
    if wanted is None or not wanted.startswith(("GPU-", "MIG-")):
        return None
    named = {gpu for gpu, _ in its if gpu.startswith(wanted)}  # CUDA takes an abbreviated UUID too
    return named.pop() if len(named) == 1 else None


def _visible(tenant: Tenant, device: int) -> str | None:
    names = tenant.facts.environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return names[device].strip() if device < len(names) else None
