"""What is believed of a Subject after a look at one of its windows. Pure."""

from collections.abc import Callable
from dataclasses import replace

from vramwatch.core.diagnosis import Diagnosis
from vramwatch.core.folding import Watched
from vramwatch.core.forecast import Abstention, Exhaustion, seconds_left
from vramwatch.core.incidents import Belief, Judgement, Severity, Standing, Terms, severity
from vramwatch.core.load import gone_with_load
from vramwatch.core.traits import Traits
from vramwatch.core.verdicts import INNOCENT, Cause, Evidence
from vramwatch.core.windows import Window

AFTERMATH = 60.0
"""Seconds after the end of a growth in which an accident of unknown cause is put down to it."""

TraitsOf = Callable[[str], Traits]
"""Returns what the detector of that name says of itself."""


def belief(
    watched: Watched,
    diagnosis: Diagnosis,
    evidence: Evidence,
    standing: Standing | None,
    now: float,
    *,
    traits: TraitsOf,
    terms: Terms,
) -> Belief:
    """Return what ``diagnosis`` of a window says of its Subject.

    ``evidence``: that of the diagnosis, beside whatever it was compared with. ``standing``: how the Subject
    stands, None: nothing was ever found. ``now``: seconds that do not step.
    """
    left = seconds_left(diagnosis.forecast, now)
    cause = _cause(diagnosis, standing, now)
    judgement = Judgement(
        diagnosis.pattern,
        cause,
        Severity.CRITICAL if diagnosis.found.is_urgent else severity(left, _severity_before(standing), terms),
        evidence,
        diagnosis.rate,
        _in_wall_time(diagnosis.forecast, watched.window),
        diagnosis.ruled_out,
        watched.pid,
        diagnosis.others,
        diagnosis.alternatives,
    )
    explained = diagnosis.explained or cause in INNOCENT
    names = (diagnosis.pattern, *diagnosis.others)
    is_told = any(traits(name).always_told for name in names) or left[1] <= terms.warn_horizon
    fires = is_told and not explained and not diagnosis.premature
    return Belief(judgement, fires, diagnosis.found.is_urgent, left, explained)


def belief_afterwards(watched: Watched, standing: Standing | None, traits: TraitsOf) -> Belief:
    """Return what a window in which nothing is found says of what was found: nothing, or it was load."""
    if standing is None or not standing.is_open or standing.incident is None:
        return Belief(None)
    judged = standing.incident.judgement
    looked_under_load = all(traits(name).under_load for name in (judged.pattern, *judged.others))
    if judged.pid != watched.pid or not looked_under_load:
        return Belief(None)
    gone = gone_with_load(watched.window, judged.evidence)
    if gone is None:
        return Belief(None)
    load = replace(judged, cause=Cause.LOAD, evidence=gone, alternatives=())
    return Belief(load, explained=True, is_over=True)


def stronger(one: Belief | None, other: Belief) -> Belief:
    """Return of two beliefs about one Subject the one whose end is nearer; one that found something."""
    if one is None or one.judgement is None:
        return other
    if other.judgement is None:
        return one
    return max(one, other, key=lambda belief: (belief.fires, -belief.left[1]))


def _cause(diagnosis: Diagnosis, standing: Standing | None, now: float) -> Cause:
    """Return the cause; an accident of unknown cause is put down to the growth that has led to it."""
    if diagnosis.cause is not Cause.UNKNOWN or standing is None or standing.incident is None:
        return diagnosis.cause
    ended_here = not standing.is_open and now - standing.closed_at <= AFTERMATH
    return standing.incident.judgement.cause if standing.is_firing or ended_here else diagnosis.cause


def _severity_before(standing: Standing | None) -> Severity | None:
    if standing is None or not standing.is_open or standing.incident is None:
        return None
    return standing.incident.judgement.severity


def _in_wall_time(forecast: Exhaustion | Abstention, window: Window) -> Exhaustion | Abstention:
    if isinstance(forecast, Abstention):
        return forecast
    return replace(
        forecast,
        at=window.at(forecast.at),
        low=window.at(forecast.low),
        high=window.at(forecast.high),
    )
