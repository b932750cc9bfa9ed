"""JSON objects for other programs: keys carry units, times come in two forms."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vramwatch.core.attempts import Attempt
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import Transition
from vramwatch.core.model import Ledger
from vramwatch.core.verdicts import Evidence, RuledOut
from vramwatch.core.workers import Worker
from vramwatch.sdk.wire import Device

if TYPE_CHECKING:
    from vramwatch.core.metric_pages import Loaded

Json = dict[str, Any]

HOUR = 3600.0


def iso(moment: float) -> str:
    """Return ``moment`` (unix seconds) as ISO 8601 in UTC: "2026-11-23T04:00:00.000Z"."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(name: str, unix: float | None) -> Json:
    """Return ``name`` in unix seconds beside ``name_iso``; both None where not known."""
    return {name: unix, f"{name}_iso": None if unix is None else iso(unix)}


def transition_record(transition: Transition) -> Json:
    """Return one object: the incident as it stands after the transition, and why it moved."""
    incident, judgement = transition.incident, transition.incident.judgement
    return {
        **moment("time", transition.at.wall),
        "gpu": incident.subject.gpu,
        "pid": judgement.pid,
        "subject": {"kind": str(incident.subject.kind), "owner": incident.subject.owner},
        "incident": incident.id,
        "pattern": judgement.pattern,
        "state": str(incident.state),
        "severity": str(judgement.severity),
        "cause": str(judgement.cause),
        "rate_bytes_per_hour": judgement.rate.median * HOUR if judgement.rate else None,
        "exhaustion": _exhaustion_record(judgement.forecast),
        "abstention": str(judgement.forecast.reason) if isinstance(judgement.forecast, Abstention) else None,
        "evidence": _evidence_record(judgement.evidence),
        "reason": str(transition.reason),
        "ruled_out": [_ruled_out_record(each) for each in judgement.ruled_out],
        "others": list(judgement.others),
        "alternatives": [str(each) for each in judgement.alternatives],
    }


def _exhaustion_record(forecast: Exhaustion | Abstention) -> Json | None:
    if isinstance(forecast, Abstention):
        return None
    return {"at": forecast.at, "low": forecast.low, "high": forecast.high}


def _evidence_record(evidence: Evidence) -> Json:
    return {
        **evidence.numbers,
        "sentence": evidence.sentence,
        "since": evidence.since,
        "until": evidence.until,
        "count": evidence.count,
    }


def _ruled_out_record(ruled_out: RuledOut) -> Json:
    return {**ruled_out.numbers, "cause": str(ruled_out.cause), "sentence": ruled_out.sentence}


def attempt_record(attempt: Attempt) -> Json:
    """Return what was done, to whom, and what the driver says came of it; "result" null: not known yet."""
    apply, outcome = attempt.apply, attempt.outcome
    return {
        "id": apply.id,
        "incident": apply.incident,
        "gpu": apply.gpu,
        "owner": apply.owner,
        "remedy": apply.remedy,
        **moment("time", attempt.at),
        "plan": apply.plan,
        "pids": [key.pid for key in apply.targets],
        "dry_run": apply.dry_run,
        "before_bytes": apply.before,
        "wanted_bytes": apply.wanted,
        "result": outcome.result if outcome else None,
        "detail": outcome.detail if outcome else "",
        "freed_bytes": outcome.freed if outcome else None,
        "freed_within_seconds": outcome.seconds if outcome else None,
        "pause_seconds": outcome.pause if outcome else None,
        **moment("ended", attempt.ended),
    }


def free_record(ledger: Ledger) -> Json:
    """Return what is free on one GPU or MIG instance; ``parent``: the device that it is part of."""
    gpu, memory = ledger.gpu, ledger.memory
    return {
        "gpu": gpu.uuid,
        "ordinal": gpu.ordinal,
        "parent": gpu.parent,
        "free_bytes": memory.free,
        "total_bytes": memory.total,
    }


def worker_record(worker: Worker, ledgers: Iterable[Ledger], now: float) -> Json:
    """Return who has enrolled, what it consents to, and how it is by its own word at ``now`` (boot time).

    ``excess_bytes``: by how much more it says to hold than the driver does, by GPU; empty: it can be true.
    """
    hello, report = worker.hello, worker.report
    excesses = {
        ledger.gpu.uuid: worker.excess(ledger.gpu.uuid, holding.held)
        for ledger in ledgers
        for holding in ledger.holdings
        if holding.tenant.facts.key == worker.key
    }
    return {
        "pid": worker.key.pid,
        "namespace_pid": worker.namespace_pid,
        "uid": worker.uid,
        "name": hello.name,
        "model": hello.model,
        "sdk": hello.sdk,
        "remedies": list(hello.remedies),
        "clears": list(hello.clears),
        "group": hello.group,
        "rank": hello.rank,
        "world": hello.world,
        "enrolled_seconds": max(0.0, now - worker.since),
        "reported_seconds": None if worker.reported_at is None else max(0.0, now - worker.reported_at),
        "requests_running": report.requests_running if report else None,
        "requests_waiting": report.requests_waiting if report else None,
        "requests_total": report.requests_total if report else None,
        "training": report.training if report else None,
        "capturing": report.capturing if report else None,
        "gpus": {each.uuid: _device_record(each) for each in report.devices} if report else {},
        "excess_bytes": {gpu: excess for gpu, excess in excesses.items() if excess is not None},
    }


def loaded_record(loaded: "Loaded") -> Json:
    """Return a model that an engine has loaded, with its bytes; null: it does not tell them."""
    return {
        "engine": loaded.engine,
        "pids": list(loaded.pids),
        "model": loaded.model,
        "bytes": _whole(loaded.size),
        "gpu_bytes": _whole(loaded.on_gpu),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _device_record(device: Device) -> Json:
    return {
        "allocated_bytes": device.allocated,
        "reserved_bytes": device.reserved,
        "active_bytes": device.active,
        "inactive_split_bytes": device.inactive_split,
        "kv_logical_bytes": device.kv_logical,
        "kv_resident_bytes": device.kv_resident,
        "ooms": device.ooms,
    }
