"""The simulated server at a moment: the readings of its GPUs and the facts of its processes.

Everything here follows from the scenario, the seed and the time alone, so runs at any speed and with
any polling rate agree on every moment that they share.
"""

from dataclasses import dataclass, replace
from random import Random
from uuid import UUID

from vramwatch.core.model import (
    Ancestor,
    Ask,
    Claim,
    ClaimKind,
    Container,
    Gauge,
    GhostKind,
    Gpu,
    Memory,
    Pod,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    Reading,
    Readings,
)
from vramwatch.core.units import Bytes, Seconds
from vramwatch.scenario.lives import QUANTUM, Inside, Span, inside, span_at, span_of
from vramwatch.scenario.schema import ProcessPlan, Scenario

UPTIME = Seconds(3 * 86400.0)  # the server had been up for three days when the scenario began
CLOCK_TICKS = 100  # start ticks a second: USER_HZ of Linux, proc(5)
FIRST_PID = 4000  # above what a server starts at boot
COMM_LENGTH = 15  # bytes of comm: TASK_COMM_LEN of Linux less its terminating zero
IDLE_TEMPERATURE, HEAT = 34.0, 38.0  # degrees Celsius at rest, and more at full utilisation
IDLE_POWER, DRAW = 70.0, 430.0  # watts at rest, and more at full utilisation
_GHOST_STATES = {
    GhostKind.GONE: ProcessState.GONE,
    GhostKind.ZOMBIE: ProcessState.ZOMBIE,
    GhostKind.STUCK: ProcessState.STUCK,
}


@dataclass(frozen=True, slots=True)
class _Presence:
    """A process that holds memory at a moment, alive or as a ghost."""

    pid: int
    plan: ProcessPlan
    inside: Inside
    is_ghost: bool = False


class Server:
    """A scenario under a seed. ``boot_id`` names this life of the server, ``booted`` is unix seconds."""

    def __init__(self, scenario: Scenario, seed: int, boot_id: str, booted: float) -> None:
        self._plans = scenario.processes
        self._positions = {plan.name: position for position, plan in enumerate(self._plans)}
        self._seed = seed
        self._boot_id = boot_id
        self._booted = booted
        draw = Random(seed)  # noqa: S311 - identities of simulated devices, no secret
        self._gpus = tuple(
            (plan, Gpu(f"GPU-{UUID(int=draw.getrandbits(128))}", str(ordinal), plan.name, _bus_id(ordinal)))
            for ordinal, plan in enumerate(scenario.gpus)
        )

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs in the order of the scenario."""
        return tuple(gpu for _, gpu in self._gpus)

    def readings(self, time: Seconds, ask: Ask) -> Readings:
        """Return what a driver would say at ``time``, in seconds since the scenario began."""
        present = self._presences(time)
        return Readings(
            gpus=tuple(self._reading(ordinal, present, ask) for ordinal in range(len(self._gpus)))
        )

    def facts(self, pid: int, time: Seconds) -> ProcessFacts:
        """Return what is known of ``pid`` at ``time``; a pid that does not live then is GONE."""
        unknown = ProcessFacts(ProcessKey(self._boot_id, pid, 0), ProcessState.GONE, UPTIME + time)
        if not self._plans:
            return unknown
        number, position = divmod(pid - FIRST_PID, len(self._plans))
        plan = self._plans[position]
        span = span_of(plan, number, self._seed)
        if span is None or span.begin > time:
            return unknown
        facts = self._living(pid, plan, span, time)
        if span.covers(time) or span.end is None:
            return facts
        state = _GHOST_STATES[plan.life.ghost or GhostKind.GONE]
        return replace(facts, state=state, state_since=UPTIME + span.end)

    def _presences(self, time: Seconds) -> list[_Presence]:
        found = []
        for position, plan in enumerate(self._plans):
            span = span_at(plan, time, self._seed) if plan.gpu is not None else None
            if span is None:
                continue
            if span.covers(time):
                found.append(_Presence(self._pid(position, span), plan, inside(plan, span, time, self._seed)))
            elif plan.life.ghost and span.end is not None:
                left = inside(plan, span, span.end, self._seed)
                found.append(_Presence(self._pid(position, span), plan, left, is_ghost=True))
        return found

    def _pid(self, position: int, span: Span) -> int:
        return FIRST_PID + span.number * len(self._plans) + position

    def _reading(self, ordinal: int, present: list[_Presence], ask: Ask) -> Reading:
        plan, gpu = self._gpus[ordinal]
        here = [presence for presence in present if presence.plan.gpu == ordinal]
        room = plan.total - plan.reserved - plan.overhead
        claims = []
        for presence in here:
            granted = min(presence.inside.claim, room // QUANTUM * QUANTUM)
            room -= granted
            claims.append(Claim(presence.pid, Bytes(granted), frozenset({ClaimKind.COMPUTE})))
        listed = ask.lists is None or gpu.uuid in ask.lists
        utilization = _utilization(here)
        return Reading(
            gpu=gpu,
            memory=Memory(plan.total, Bytes(plan.total - plan.reserved - room), Bytes(room), plan.reserved),
            claims=tuple(claim for claim in claims if claim.used) if listed else None,
            utilization=utilization if listed else None,
            temperature=round(IDLE_TEMPERATURE + HEAT * utilization) if ask.slow else None,
            power=round(IDLE_POWER + DRAW * utilization, 1) if ask.slow else None,
            gauges=tuple(gauge for p in here if not p.is_ghost for gauge in _gauges(p)) if listed else (),
        )

    def _living(self, pid: int, plan: ProcessPlan, span: Span, time: Seconds) -> ProcessFacts:
        ancestors = self._ancestors(plan, time)
        return ProcessFacts(
            key=ProcessKey(self._boot_id, pid, round((UPTIME + span.begin) * CLOCK_TICKS)),
            state_since=UPTIME + span.begin,
            name=_comm(plan),
            argv=plan.argv,
            title=_title(plan),
            uid=plan.uid,
            user=plan.user,
            parent_pid=ancestors[0].pid,
            ancestors=ancestors,
            container=_container(plan),
            pod=_pod(plan),
            unit=plan.unit,
            started=self._booted + UPTIME + span.begin,
        )

    def _ancestors(self, plan: ProcessPlan, time: Seconds) -> tuple[Ancestor, ...]:
        """Return the living ancestors, parent first; a process whose parent has exited belongs to init."""
        found: list[Ancestor] = []
        while plan.parent is not None:
            position = self._positions[plan.parent]
            plan = self._plans[position]
            span = span_at(plan, time, self._seed)
            if span is None or not span.covers(time):
                break
            found.append(Ancestor(self._pid(position, span), _comm(plan), plan.argv, _title(plan)))
        return (*found, Ancestor(1, "systemd", ("/sbin/init",), "/sbin/init"))


def _bus_id(ordinal: int) -> str:
    return f"00000000:{ordinal + 1:02X}:00.0"


def _comm(plan: ProcessPlan) -> str:
    return plan.argv[0].rsplit("/", 1)[-1][:COMM_LENGTH]


def _title(plan: ProcessPlan) -> str:
    return plan.title or " ".join(plan.argv)


def _container(plan: ProcessPlan) -> Container | None:
    if plan.container is None:
        return None
    digest = f"{Random(plan.container.name).getrandbits(256):064x}"  # noqa: S311 - looks like an id, no secret
    return Container(id=digest, runtime="docker", **plan.container.model_dump())


def _pod(plan: ProcessPlan) -> Pod | None:
    if plan.pod is None:
        return None
    uid = UUID(int=Random(plan.pod.name).getrandbits(128))  # noqa: S311 - looks like an id, no secret
    return Pod(uid=str(uid), **plan.pod.model_dump())


def _utilization(here: list[_Presence]) -> float:
    """Return the share of busy slots of the process that is busiest: 0..1."""
    busy = [p.inside.running / p.plan.load.slots for p in here if p.plan.load and not p.is_ghost]
    return max(busy, default=0.0)


def _gauges(presence: _Presence) -> list[Gauge]:
    told: dict[str, float] = {}
    if presence.plan.torch:
        told["torch_reserved_bytes"] = presence.inside.reserved
        told["torch_allocated_bytes"] = presence.inside.allocated
    if presence.plan.memory.kv:
        told["engine_kv_bytes"] = presence.inside.kv
    if presence.plan.load:
        told["requests_total"] = presence.inside.requests_total
        told["requests_running"] = presence.inside.running
        told["requests_waiting"] = presence.inside.waiting
    return [Gauge(presence.pid, quantity, float(value)) for quantity, value in told.items()]
