"""What the house knows as data for other programs: objects whose keys carry units, times in two forms."""

from datetime import UTC, datetime
from typing import Any

from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import Transition
from vramwatch.core.verdicts import Evidence, RuledOut

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
