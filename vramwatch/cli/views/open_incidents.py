"""The incidents that are open, a sentence each, the most urgent first."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from math import inf

from vramwatch.cli.views.text import Line, Tone, wrap
from vramwatch.cli.when import show_when
from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Incident, Severity, State, Transition
from vramwatch.core.model import Gpu, SubjectKind
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes
from vramwatch.core.wording import subject_words, what_words

HOUR = 3600.0

MOST = 6
"""Incidents that are told one by one: below them stands what a status is asked for."""


def incident_lines(
    told: Sequence[Transition],
    acknowledged: Mapping[str, str],
    gpus: Mapping[str, Gpu],
    now: float,
    *,
    width: int,
    zone: tzinfo | None,
) -> list[Line]:
    """Return what is open: severity, who, why, how fast, and when memory runs out. ``now``: unix seconds.

    ``told``: the newest transition of each incident. What has not fired is "pending". ``acknowledged``: id ->
    who has it in hand.
    """
    ordered = sorted((each.incident for each in told), key=_urgency)
    lines = []
    for incident in ordered[:MOST]:
        tone, words = _incident_words(incident, gpus, now, zone)
        by = acknowledged.get(incident.id)
        words += f", acknowledged by {clean(by)}" if by else ""
        lines += wrap(words, width, 0, tone)
    if len(ordered) > MOST:
        lines += wrap(f"and {len(ordered) - MOST} more open incidents", width, 0, Tone.FAINT)
    return lines


def _urgency(incident: Incident) -> tuple[bool, bool, float, str]:
    judgement = incident.judgement
    forecast = judgement.forecast
    end = forecast.at if isinstance(forecast, Exhaustion) else inf
    return incident.state is State.PENDING, judgement.severity is Severity.WARNING, end, incident.id


def _incident_words(
    incident: Incident, gpus: Mapping[str, Gpu], now: float, zone: tzinfo | None
) -> tuple[Tone, str]:
    judgement = incident.judgement
    is_firing = incident.state is State.FIRING
    grade = str(judgement.severity).upper() if is_firing else str(incident.state)
    rate = "" if judgement.rate is None else f"{_hourly(judgement.rate.median)} an hour"
    is_own = incident.subject.kind is SubjectKind.VRAMWATCH
    why = what_words(incident) if is_own else f"{what_words(incident)} ({judgement.pattern})"
    words = ", ".join(filter(None, (why, rate, _end_words(incident, now, zone))))
    tone = Tone.FAINT
    if is_firing:
        tone = Tone.GHOST if judgement.severity is Severity.CRITICAL else Tone.WARNING
    return tone, f"{grade}  {subject_words(incident.subject, gpus)}: {words}"


def _hourly(rate: float) -> str:
    return show_bytes(round(rate * HOUR), signed=True)


def _end_words(incident: Incident, now: float, zone: tzinfo | None) -> str:
    """Return when memory runs out, as it was said last; empty where nobody can say."""
    forecast = incident.judgement.forecast
    if not isinstance(forecast, Exhaustion):
        return ""
    low, high = (show_when(each, now, zone) for each in (forecast.low, forecast.high))
    verb = "was to run out" if forecast.at <= now else "runs out"
    return (
        f"memory {verb} at {low}" if low == high else f"memory {verb} between {low} and {high} (80% interval)"
    )
