"""A Poll as data: JSON objects whose keys carry units, and rows of one long table."""

from collections.abc import Iterator

from vramwatch.cli.views.gpu import ghost_since
from vramwatch.cli.views.silences import silence_record
from vramwatch.cli.views.status import Status, age, in_order
from vramwatch.cli.views.words import because, explain
from vramwatch.core.model import Gpu, Holding, Ledger, Missing, SeriesKey, SubjectKind, Tenant
from vramwatch.core.poll import Pace
from vramwatch.core.records import Json, iso, moment
from vramwatch.core.series import USED_BYTES
from vramwatch.core.texts import clean

COLUMNS = ("time", "time_iso", "gpu", "ordinal", "subject_kind", "owner", "pid", "quantity", "value")
"""Of every CSV that vramwatch prints; one value a row. Empty: does not apply, or is not known."""


def status_record(status: Status) -> Json:
    """Return the whole view as one object: time, pace, and what stands in gpu_records."""
    poll = status.poll
    return {
        **moment("time", poll.at.wall),
        "age_seconds": age(poll.at, status.now),
        "pace": _pace_record(poll.pace),
        "gpus": gpu_records(status),
        "silences": [silence_record(each) for each in status.silences if each.holds(status.now.wall)],
    }


def gpu_records(status: Status) -> list[Json]:
    """Return one object a Gpu, as people count them; one that could not be read has a "missing" object.

    ``gpu`` None: none could be read.
    """
    return [
        _ledger_record(entry, status) if isinstance(entry, Ledger) else _missing_record(entry, status)
        for entry, _ in in_order((*status.poll.ledgers, *status.poll.missing))
    ]


def _pace_record(pace: Pace | None) -> Json | None:
    if pace is None:
        return None
    return {
        "interval_seconds": pace.interval,
        "list_interval_seconds": pace.list_interval,
        "driver_share_ratio": pace.driver_share,
        "lowered_because": pace.lowered_because,
    }


def _gpu_record(gpu: Gpu | None) -> Json:
    if gpu is None:
        return {"gpu": None}
    return {"gpu": gpu.uuid, "ordinal": gpu.ordinal, "name": gpu.name, "pci": gpu.pci, "parent": gpu.parent}


def _missing_record(missing: Missing, status: Status) -> Json:
    fault = missing.fault
    start = status.since.get(missing.gpu.uuid if missing.gpu else None)
    return {
        **_gpu_record(missing.gpu),
        **moment("time", status.poll.at.wall),
        "missing": {
            "reason": str(fault.kind),
            "because": because(fault.kind),
            "detail": fault.detail,
            "call": fault.call,
            "code": fault.code,
            **moment("since", start),
        },
    }


def _ledger_record(ledger: Ledger, status: Status) -> Json:
    memory, reading = ledger.memory, ledger.reading
    key = SeriesKey(ledger.gpu.uuid, SubjectKind.GPU, "", USED_BYTES)
    return {
        **_gpu_record(ledger.gpu),
        **moment("time", ledger.at.wall),
        "age_seconds": age(ledger.at, status.now),
        "memory_basis": str(memory.basis),
        "total_bytes": memory.total,
        "used_bytes": memory.used,
        "reserved_bytes": memory.reserved,
        "free_bytes": memory.free,
        "unattributed_bytes": ledger.unattributed,
        "ghost_bytes": ledger.ghost_bytes,
        "explanations": [{"kind": str(e), "text": explain(e, ledger)} for e in ledger.explanations],
        "change_bytes": status.changes.get(key),
        "change_span_seconds": status.span,
        **moment("listed", ledger.listed.wall if ledger.listed else None),
        "utilization_ratio": reading.utilization,
        "temperature_celsius": reading.temperature,
        "power_watts": reading.power,
        "holdings": [_holding_record(holding, ledger) for holding in ledger.holdings],
        "missing": None,
    }


def _holding_record(holding: Holding, ledger: Ledger) -> Json:
    return {
        "pid": holding.pid,
        "used_bytes": holding.held,
        "peak_bytes": holding.peak,
        "kinds": sorted(str(kind) for kind in holding.kinds),
        "ghost": _ghost_record(holding, ledger),
        "figures": {g.quantity: g.value for g in ledger.reading.gauges if g.pid == holding.pid},
        **tenant_record(holding.tenant),
    }


def _ghost_record(holding: Holding, ledger: Ledger) -> Json | None:
    if holding.ghost is None:
        return None
    return {"state": str(holding.ghost), **moment("since", ghost_since(holding, ledger))}


def tenant_record(tenant: Tenant) -> Json:
    """Return who stands behind a process: owner, user, command, container, pod, unit, job, engine."""
    facts, owner, engine = tenant.facts, tenant.owner, tenant.engine
    return {
        "owner": {"key": owner.key, "name": owner.name, "kind": str(owner.kind), "team": owner.team},
        "user": facts.user,
        "process_name": facts.name,
        "command": facts.title,
        "started": facts.started,
        "container": (facts.container.name or facts.container.id) if facts.container else None,
        "pod": facts.pod.name if facts.pod else None,
        "namespace": facts.pod.namespace if facts.pod else None,
        "unit": facts.unit,
        "job": facts.slurm.job if facts.slurm else None,
        "engine": engine.engine if engine else None,
        "model": engine.model if engine else None,
    }


def status_rows(status: Status) -> Iterator[tuple[object, ...]]:
    """Yield the rows of COLUMNS for every figure of the Poll; a withheld claim has an empty value."""
    for ledger in status.poll.ledgers:
        memory = ledger.memory
        figures = {
            "total_bytes": memory.total,
            "used_bytes": memory.used,
            "reserved_bytes": memory.reserved,
            "free_bytes": memory.free,
        }
        for quantity, value in figures.items():
            yield row(ledger.at.wall, ledger.gpu, SubjectKind.GPU, quantity, value)
        yield row(ledger.at.wall, ledger.gpu, SubjectKind.UNATTRIBUTED, USED_BYTES, ledger.unattributed)
        for holding in ledger.holdings:
            kind = SubjectKind.GHOST if holding.ghost else SubjectKind.PROCESS
            owner = holding.tenant.owner.key
            yield row(
                ledger.at.wall, ledger.gpu, kind, USED_BYTES, holding.held, owner=owner, pid=holding.pid
            )


def row(
    wall: float,
    gpu: Gpu,
    kind: SubjectKind,
    quantity: str,
    value: float | None,
    *,
    owner: str = "",
    pid: int | None = None,
) -> tuple[object, ...]:
    """Return one row of COLUMNS; what is None becomes the empty field."""
    fields = (wall, iso(wall), gpu.uuid, gpu.ordinal, str(kind), clean(owner), pid, quantity, value)
    return tuple("" if each is None else each for each in fields)
