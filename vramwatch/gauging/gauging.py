"""The thread that asks engines for their figures, and what it last heard."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from vramwatch.core.commandline import lineage
from vramwatch.core.errors import without_words
from vramwatch.core.metric_pages import Gauged, Loaded, Told
from vramwatch.core.model import Gauge, Instant, ProcessKey, Tenant
from vramwatch.core.ranks import data_parallel_rank
from vramwatch.core.units import Seconds
from vramwatch.gauging.hearing import Hearing, ask_service
from vramwatch.gauging.services import Door, Place, Service, doors, services
from vramwatch.procfs.listening import Ask

SERVICES_MOST = 256
"""Services asked on one machine; more are left out."""

LASTS = 3.0
"""Intervals for which an answer holds; after that it is not known."""

LASTS_LEAST = Seconds(15.0)
"""The same in seconds at least: three lists of processes."""

BACK_OFF_MOST = Seconds(300.0)
"""After failures a service is asked more and more rarely, but never more rarely than this."""

LISTED_WITHIN = 900.0
"""Seconds after which the processes of a GPU without a new list are asked for no more; lists are at most
10 minutes apart."""

INNERMOST = ("worker", "scheduler", "runner", "engine_core", "server")
"""Roles of the processes that hold an engine's memory, the likeliest first; a front end may hold a little."""

END_WAIT = 3.0
"""Seconds that the thread has to end: it may be in the middle of an exchange."""

logger = logging.getLogger("vramwatch.gauging")


@dataclass(frozen=True, slots=True)
class Terms:
    """How engines are asked. ``places``: the first that names an Owner counts for it."""

    interval: Seconds
    places: Sequence[Place] = ()


@dataclass(frozen=True, slots=True)
class _Heard:
    at: float  # boottime
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Models:
    at: float  # boottime
    loaded: tuple[Loaded, ...]


@dataclass(slots=True)
class _Standing:
    """How it went with one service so far."""

    due: float = 0.0  # boottime
    failures: int = 0
    door: Door | None = None  # where it answered last
    is_heard: bool | None = None  # None: it was not asked yet


class Gauging:
    """Knows what engines say of themselves. Implements core.ports.Insides."""

    def __init__(
        self,
        engines: Mapping[str, Gauged],
        terms: Terms,
        root: str = "/proc",
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        ask: Ask | None = None,
    ) -> None:
        """``engines``: those that tell figures, by name. ``clock``: boottime, as that of the polls.
        ``ask`` tells of sockets of other users' processes.

        Nothing is asked before ``start``, or by ``look`` for a caller who has time.
        """
        self._engines = engines
        self._terms = terms
        self._root = root
        self._clock = clock
        self._sockets = ask
        self._present: dict[
            str, tuple[float, Mapping[ProcessKey, Tenant]]
        ] = {}  # by UUID, of the newest list
        self._tenants: Mapping[ProcessKey, Tenant] = {}  # replaced as a whole, by the thread of the polls
        self._heard: Mapping[ProcessKey, _Heard] = {}  # replaced as a whole, by ours
        self._models: Mapping[tuple[str, str], _Models] = {}  # by service; replaced as a whole, by ours
        self._standings: dict[tuple[str, str], _Standing] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine gauges", daemon=True)

    @property
    def hearing(self) -> Hearing:
        """Who asks the same services once more, on a thread of the caller's."""
        return Hearing(self._engines, self._terms.places, self._root, lambda: self._tenants, self._sockets)

    def start(self) -> "Gauging":
        self._thread.start()
        return self

    def close(self) -> None:
        """Ask nobody any more; the thread is waited for, with a limit."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(END_WAIT)

    def gauges(
        self, present: Mapping[str, Mapping[int, Tenant]], at: Instant
    ) -> Mapping[str, tuple[Gauge, ...]]:
        """Return what engines told lately of their processes on each GPU, and remember who is present.

        Of several processes of one engine on one GPU it is told once, of the innermost.
        """
        self._meet(present, at.boottime)
        heard = {key: each for key, each in self._heard.items() if at.boottime - each.at <= self._lasts}
        return {
            uuid: tuple(
                Gauge(pid, quantity, value)
                for pid, figures in _once(tenants, heard).items()
                for quantity, value in figures.items()
            )
            for uuid, tenants in present.items()
        }

    def loaded(self) -> tuple[Loaded, ...]:
        """Return the models that engines lately said they have loaded, by name; on any thread.

        Of engines that hold several at once and tell each of them.
        """
        now = self._clock()
        fresh = (each for each in self._models.values() if now - each.at <= self._lasts)
        return tuple(one for each in fresh for one in each.loaded)

    @property
    def _lasts(self) -> float:
        return max(LASTS * self._terms.interval, LASTS_LEAST)

    def _meet(self, present: Mapping[str, Mapping[int, Tenant]], now: float) -> None:
        """Remember who belongs to an engine; not every GPU's list is read at every poll."""
        for uuid, tenants in present.items():
            known = tenants.values()
            engined = {
                t.facts.key: t for t in known if t.engine is not None and t.engine.engine in self._engines
            }
            self._present[uuid] = now, engined
        self._present = {
            uuid: listed for uuid, listed in self._present.items() if now - listed[0] <= LISTED_WITHIN
        }
        self._tenants = {key: t for _, engined in self._present.values() for key, t in engined.items()}

    def look(self) -> None:
        """Ask every service that is due, one after the other."""
        tenants = self._tenants
        found = services(tenants.values(), self._engines, self._terms.places)
        members = {key for service in found.values() for key in service.members}
        self._heard = {key: heard for key, heard in self._heard.items() if key in members}
        self._standings = {key: each for key, each in self._standings.items() if key in found}
        self._models = {key: each for key, each in self._models.items() if key in found}
        for name, service in list(found.items())[:SERVICES_MOST]:
            standing = self._standings.setdefault(name, _Standing())
            now = self._clock()
            if now < standing.due:
                continue
            if self._closed.is_set():
                return
            told, why = self._ask(service, standing)
            self._note(service, standing, why)
            if told:
                figures = _among(told, service.members, tenants)
                heard = {key: _Heard(self._clock(), each) for key, each in figures.items()}
                self._heard = {**self._heard, **heard}
                self._models = {**self._models, name: _Models(self._clock(), _loaded(told, service))}

    def _ask(self, service: Service, standing: _Standing) -> tuple[tuple[Told, ...], str | None]:
        """Return what a service tells; with nothing, why."""
        engine = self._engines[service.engine]
        known = standing.door
        standing.door = None
        candidates = (
            (known,) if known else doors(service, engine.asks(service.facts), self._root, self._sockets)
        )
        try:
            answered = ask_service(engine, service, candidates, self._root, self._sockets)
        except Exception as error:  # what one engine tells must not silence the others
            logger.exception("page not understood engine=%s", service.engine, exc_info=without_words(error))
            return (), f"what it tells is not understood ({type(error).__name__})"
        if isinstance(answered, str):
            return (), answered
        standing.door = answered.door
        return answered.told, None

    def _note(self, service: Service, standing: _Standing, why: str | None) -> None:
        """Say when a service is first heard and when it falls silent, and put the next asking off."""
        standing.failures = standing.failures + 1 if why else 0
        longest = max(BACK_OFF_MOST, self._terms.interval)
        standing.due = self._clock() + min(self._terms.interval * 2 ** min(standing.failures, 16), longest)
        if standing.is_heard == (why is None):
            return
        standing.is_heard = why is None
        subject = f"engine={service.engine} pid={service.facts.key.pid}"
        if why:
            logger.info("engine tells no figures %s because=%r", subject, why)
        else:
            logger.info("engine tells its figures %s", subject)

    def _run(self) -> None:
        """Look until closed; what nobody foresaw ends the asking, not the daemon."""
        try:
            while not self._closed.wait(1.0):
                self.look()
        except Exception as error:
            self._heard = {}
            kind = type(error).__name__
            logger.exception("asking engines has stopped because=%s", kind, exc_info=without_words(error))


def _once(
    tenants: Mapping[int, Tenant], heard: Mapping[ProcessKey, _Heard]
) -> dict[int, Mapping[str, float]]:
    """Return pid -> figures, the same ones for a single pid."""
    tellers: dict[int, tuple[int, int, Mapping[str, float]]] = {}
    for pid, tenant in tenants.items():
        if (told := heard.get(tenant.facts.key)) and tenant.engine:
            teller = _depth(tenant.engine.role), pid, told.figures
            known = tellers.get(id(told.figures), teller)
            tellers[id(told.figures)] = min(teller, known, key=itemgetter(0, 1))
    return {pid: figures for _, pid, figures in tellers.values()}


def _depth(role: str) -> int:
    return INNERMOST.index(role) if role in INNERMOST else len(INNERMOST)


def _loaded(told: Sequence[Told], service: Service) -> tuple[Loaded, ...]:
    pids = tuple(sorted(key.pid for key in service.members))
    return tuple(
        Loaded(
            service.engine,
            pids,
            each.model,
            each.figures.get("model_bytes"),
            each.figures.get("model_gpu_bytes"),
        )
        for each in told
        if each.model is not None and "model_bytes" in each.figures
    )


def _among(
    told: Sequence[Told], members: Sequence[ProcessKey], tenants: Mapping[ProcessKey, Tenant]
) -> dict[ProcessKey, Mapping[str, float]]:
    """Return the figures of each member, as far as they can be told to be its own: by rank or model."""
    is_only = len({each.rank for each in told if each.model is None}) == 1
    return {
        key: each.figures
        for key in members
        for each in told
        if key in tenants and _is_of(each, tenants[key], is_only)
    }


def _is_of(told: Told, tenant: Tenant, is_only: bool) -> bool:
    engine = tenant.engine
    if told.model is not None:
        return engine is not None and engine.model == told.model and told.rank in (None, engine.rank)
    rank = data_parallel_rank(each.title or each.name for each in lineage(tenant.facts))
    return told.rank in (None, rank) or (is_only and rank is None)
