"""Transitions of incidents as data: objects whose keys carry units, and rows of one table."""

from typing import Any

from vramwatch.cli.views.records import Json, moment
from vramwatch.core.episodes import Tally
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import Transition
from vramwatch.core.texts import clean
from vramwatch.core.verdicts import Evidence, RuledOut

HOUR = 3600.0

COLUMNS = (
    "file", "time", "time_iso", "gpu", "pid", "subject_kind", "owner", "incident", "pattern", "state",
    "severity", "cause", "rate_bytes_per_hour", "exhaustion_at", "exhaustion_low", "exhaustion_high",
    "abstention", "evidence", "reason",
)  # fmt: skip


TALLY_COLUMNS = (
    "file", "episodes", "warning", "critical", "gpu_weeks", "episodes_per_gpu_week",
    "episodes_per_gpu_week_low", "episodes_per_gpu_week_high",
)  # fmt: skip


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


def transition_row(transition: Transition, file: str) -> tuple[Any, ...]:
    """Return one row of COLUMNS; what is not known is empty."""
    record = transition_record(transition)
    exhaustion = record["exhaustion"] or {}
    fields = (
        *(file, record["time"], record["time_iso"], record["gpu"], record["pid"]),
        *(record["subject"]["kind"], clean(record["subject"]["owner"] or "")),
        *(record[name] for name in COLUMNS[7:13]),
        *(exhaustion.get(name) for name in ("at", "low", "high")),
        *(record["abstention"], clean(record["evidence"]["sentence"]), record["reason"]),
    )
    return tuple("" if each is None else each for each in fields)


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


def tally_record(name: str, tally: Tally) -> Json:
    """Return one object, its keys in the order of TALLY_COLUMNS; the interval holds the rate with 95 %."""
    interval = tally.interval
    figures = (name, tally.episodes, tally.warning, tally.critical, tally.weeks, tally.rate)
    bounds = (interval.low, interval.high) if interval else (None, None)
    return dict(zip(TALLY_COLUMNS, (*figures, *bounds), strict=True))
