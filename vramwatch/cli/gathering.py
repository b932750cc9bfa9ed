"""All that the store knows of one incident: what a report shows."""

from dataclasses import dataclass

from vramwatch.core.incidents import State, Subject, Transition
from vramwatch.core.model import Gpu, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.store import Chain, EventRow, GapRow, History, SeriesRow, Step

LEAST_BEFORE, LEAST_AFTER = 3600.0, 600.0
"""Seconds that are shown before an incident opened and after it ended, at least."""

BEFORE = 0.5
"""What is shown before it opened, as a share of how long it lasted."""

LONGEST = 14 * 86400.0
"""Seconds that are shown at most, up to the end."""

STEPS = 360
"""Points of a curve: as many as a report's width shows."""

OWNER = "owner"
"""The name of the curve of what an Owner's processes hold together."""

LAYERS = (
    "used_bytes",
    "torch_reserved_bytes",
    "torch_allocated_bytes",
    "engine_kv_bytes",
    "engine_pool_bytes",
    "engine_evictable_bytes",
)
"""Quantities of a process that are drawn together."""

LOAD = ("utilization_ratio", "requests_running", "requests_waiting")


@dataclass(frozen=True, slots=True)
class Curve:
    """What was read of one series: in equal steps, those without a reading absent."""

    name: str
    quantity: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One incident with what stood around it. Times are unix seconds.

    ``curves``: of the Gpu, then of the Subject, then of its processes; by name GPU, OWNER, "pid 7" and so on.
    ``before``, ``after``: the polls when it opened, and when it ended or now.
    """

    chain: Chain
    gpu: Gpu | None
    since: float
    until: float
    step: float
    curves: tuple[Curve, ...]
    events: tuple[EventRow, ...]
    gaps: tuple[GapRow, ...]
    before: Poll | None
    after: Poll | None

    @property
    def newest(self) -> Transition:
        return self.chain.transitions[-1]


def gather(history: History, chain: Chain) -> Case:
    """Return what the store knows of the incident of ``chain``, and of what stood around it."""
    course = chain.transitions
    incident = course[-1].incident
    ends = history.span() or (incident.opened, course[-1].at.wall)
    is_over = incident.state is State.RESOLVED
    end = course[-1].at.wall if is_over else ends[1]
    lasted = max(0.0, end - incident.opened)
    since = incident.opened - max(LEAST_BEFORE, BEFORE * lasted)
    until = min(ends[1], end + LEAST_AFTER)
    since = max(ends[0], since, until - LONGEST)
    step = max(1.0, (until - since) / STEPS)
    gpus = {gpu.uuid: gpu for gpu in history.gpus()}
    of_gpu = [each for each in history.gaps(since, until) if each.gpu in (None, incident.subject.gpu)]
    return Case(
        chain,
        gpus.get(incident.subject.gpu),
        since,
        until,
        step,
        tuple(_curves(history, incident.subject, (since, until), step)),
        tuple(history.events(since, until)),
        tuple(of_gpu),
        history.at(incident.opened),
        history.at(until),
    )


def _curves(history: History, subject: Subject, span: tuple[float, float], step: float) -> list[Curve]:
    rows = [each for each in history.series(gpu=subject.gpu) if _is_shown(each, subject)]
    found = history.steps(rows, *span, step)
    curves = [Curve(_name(row), row.key.quantity, tuple(found[row.id])) for row in rows if found.get(row.id)]
    return sorted(curves, key=lambda curve: (curve.name != "GPU", curve.quantity != "used_bytes"))


def _is_shown(row: SeriesRow, subject: Subject) -> bool:
    kind, quantity = row.key.kind, row.key.quantity
    if kind is SubjectKind.GPU:
        return quantity == "used_bytes" or quantity in LOAD
    if kind is SubjectKind.UNATTRIBUTED:
        return True
    if kind is SubjectKind.GHOST:
        return subject.kind is SubjectKind.UNATTRIBUTED
    if kind is SubjectKind.OWNER:
        return row.key.subject == subject.owner and quantity == "used_bytes"
    is_theirs = row.owner is not None and row.owner.key == subject.owner
    return is_theirs and kind is SubjectKind.PROCESS and quantity in (*LAYERS, *LOAD)


def _name(row: SeriesRow) -> str:
    if row.key.kind is SubjectKind.GPU:
        return "GPU"
    if row.key.kind is SubjectKind.OWNER:
        return OWNER
    if row.process is not None:
        return f"pid {row.process.key.pid}"
    return "ghosts" if row.key.kind is SubjectKind.GHOST else str(row.key.kind)
