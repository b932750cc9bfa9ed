"""Words for the values of incidents: causes, reasons, and why there is no forecast."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo

from vramwatch.core.attempts import NOTHING_DONE, Attempt, Result
from vramwatch.core.floors import WARM_UP
from vramwatch.core.forecast import Abstention
from vramwatch.core.forecast import Reason as NoForecast
from vramwatch.core.incidents import Incident, Judgement, Reason, Subject, Transition
from vramwatch.core.model import Gpu, SubjectKind
from vramwatch.core.owners import told_owner
from vramwatch.core.sufficiency import SETTLED_AFTER, Lack
from vramwatch.core.texts import clean
from vramwatch.core.units import show_bytes, show_seconds
from vramwatch.core.verdicts import OUT_OF_MEMORY, Cause, Evidence

HOUR = 3600.0

CAUSES = {
    Cause.LEAK: "a leak",
    Cause.KV_CACHE: "KV cache growth",
    Cause.FRAGMENTATION: "allocator fragmentation",
    Cause.AUTOGRAD: "retained autograd graphs",
    Cause.NON_TORCH: "memory outside PyTorch's allocator",
    Cause.GHOST: "memory held by an exited process",
    Cause.WARMUP: "warm-up",
    Cause.LOAD: "load",
    Cause.PROCESS_COUNT: "a growing number of processes",
    Cause.SPIKE: "a spike",
    Cause.UNKNOWN: "unknown cause",
}

BECAUSE = {
    Reason.SEEN: "seen, not established",
    Reason.ESTABLISHED: "established",
    Reason.RETURNED: "it came back",
    Reason.UPDATED: "an update",
    Reason.CLEARED: "the pattern is gone",
    Reason.RESTARTED: "the process that grew has ended",
    Reason.GONE: "its subject is gone",
    Reason.EXPLAINED: "a harmless cause explains it",
    Reason.DISMISSED: "a person resolved it",
    Reason.STALE: "its history was lost, and it was not found again",
    Reason.SWITCHED_OFF: "the detectors that found it were switched off",
}

MENDED = "it is no longer so"

CAPACITY = "the GPU's capacity"

NO_FORECAST = {
    NoForecast.THIN: "too little was seen to tell a line from a curve that levels off",
    NoForecast.NOT_GROWING: "it cannot be told from memory that stands still",
    NoForecast.FITS: f"it levels off below {CAPACITY}",
    NoForecast.MAY_FIT: f"it may level off below {CAPACITY}",
    NoForecast.SLOWING: "it slows down, and where it levels off cannot be told yet",
    NoForecast.FAR: "at this rate memory lasts for more than a year",
    NoForecast.NO_RATE: "it does not grow over time",
    NoForecast.NO_CAPACITY: "the size of its pool is not known",
}


LACKS = {
    Lack.BRIEF: (
        f"seen for less than {show_seconds(SETTLED_AFTER)} after a warm-up of {show_seconds(WARM_UP)}"
    ),
    Lack.LOAD: "neither utilisation nor running requests are told, and less than a day was seen",
}


def subject_words(subject: Subject, gpus: Mapping[str, Gpu]) -> str:
    """Return "chat on GPU 0"; ``gpus``: those that are known, by UUID."""
    gpu = gpus.get(subject.gpu)
    return subject_text(subject, gpu.ordinal if gpu else subject.gpu)


def subject_text(subject: Subject, gpu: str, owner: str | None = None) -> str:
    """Return "chat on GPU 0", "unattributed bytes on GPU 0", "GPU 0", "vramwatch".

    ``gpu``: what its Gpu is called. ``owner``: what its Owner is; None: as its key has it.
    """
    if subject.kind is SubjectKind.VRAMWATCH:
        return "vramwatch"
    where = f"GPU {clean(gpu)}"
    if subject.kind is SubjectKind.OWNER and subject.owner:
        known = told_owner(subject.owner)
        return f"{clean(owner or (known.name if known else subject.owner))} on {where}"
    return where if subject.kind is SubjectKind.GPU else f"{subject.kind} bytes on {where}"


def alternatives_words(alternatives: Sequence[Cause]) -> str:
    """Return which other causes the figures do not tell from the one that is named; empty: none."""
    *some, last = (CAUSES[each] for each in alternatives) if alternatives else ("",)
    named = f"{', '.join(some)} or {last}" if some else last
    return f"It could also be {named}: the worker's own figures would tell" if named else ""


def what_words(incident: Incident) -> str:
    """Return "a leak", "out of memory, a leak"; of vramwatch itself, what is wrong."""
    judgement = incident.judgement
    if incident.subject.kind is SubjectKind.VRAMWATCH:
        return clean(judgement.evidence.sentence)
    if judgement.pattern != OUT_OF_MEMORY:
        return CAUSES[judgement.cause]
    return "out of memory" + ("" if judgement.cause is Cause.UNKNOWN else f", {CAUSES[judgement.cause]}")


def because(moved: Transition) -> str:
    """Return why an incident moved: "established"; what is wrong with vramwatch itself has no pattern."""
    is_own = moved.incident.subject.kind is SubjectKind.VRAMWATCH
    return MENDED if is_own and moved.reason is Reason.CLEARED else BECAUSE[moved.reason]


BY_WORK = {
    "growth_bytes_per_1000_requests": "with every 1,000 requests",
    "growth_bytes_per_release_cycle": "with each release cycle",
    "growth_bytes_per_restart": "with each restart",
}
"""Growth for a unit of work: the name of the number, and how it is told."""


def rate_words(judgement: Judgement) -> str:
    """Return "+1.2 GiB an hour (80% interval: +1.0 GiB to +1.4 GiB), +30 MiB with each release cycle".

    The unit of work is left out where none is counted; empty where it is no growth over time.
    """
    rate = judgement.rate
    if rate is None:
        return ""
    low, median, high = (
        show_bytes(round(each * HOUR), signed=True) for each in (rate.low, rate.median, rate.high)
    )
    return ", ".join((f"{median} an hour (80% interval: {low} to {high})", *work_words(judgement.evidence)))


def work_words(evidence: Evidence) -> tuple[str, ...]:
    """Return "+30 MiB with each release cycle" for each unit of work that was counted; may be empty."""
    numbers = evidence.numbers
    return tuple(
        f"{show_bytes(round(numbers[name]), signed=True)} {words}"
        for name, words in BY_WORK.items()
        if name in numbers
    )


def forecast_words(judgement: Judgement, is_over: bool, zone: tzinfo | None, now: float) -> str:
    """Return when memory, or its owner's budget, is exhausted, or would have been, or why nobody can say.

    ``now``: unix seconds; what is past by then was to be.
    """
    forecast, budget = judgement.forecast, judgement.evidence.numbers.get("budget_bytes")
    if isinstance(forecast, Abstention):
        why = NO_FORECAST[forecast.reason]
        return f"No forecast: {why if budget is None else why.replace(CAPACITY, 'its budget')}"
    what = "Memory" if budget is None else f"The budget of {show_bytes(round(budget))}"
    to_come = "was to run out at" if forecast.at <= now else "runs out at"
    verb = "would have run out at" if is_over else to_come
    at, low, high = (clock(each, zone) for each in (forecast.at, forecast.low, forecast.high))
    return f"{what} {verb} {at} (80% interval: {low} to {high})"


def attempt_words(attempt: Attempt) -> str:
    """Return "ask pid 4104 to clear: gc: recovered (2.1 GiB came back within 1.2s)", without a full stop."""
    plan, outcome = clean(attempt.apply.plan), attempt.outcome
    if outcome is None:
        return f"{plan}: under way"
    if outcome.result is Result.DRY_RUN:
        return f"would {plan} (dry run)"
    result = outcome.result.value.replace("_", " ")
    if outcome.result in NOTHING_DONE:
        result = f"withheld, {result}"
    pause = "" if outcome.pause is None else f"; it was held up for {outcome.pause * 1000:.0f} ms"
    detail = f" ({clean(outcome.detail)}{pause})" if outcome.detail or pause else ""
    return f"{plan}: {result}{detail}"


def clock(wall: float, zone: tzinfo | None) -> str:
    """Return "2026-11-22 03:12"."""
    return datetime.fromtimestamp(wall, zone).strftime("%Y-%m-%d %H:%M")


def zone_name(wall: float, zone: tzinfo | None) -> str:
    """Return what the zone of ``clock`` is called then: "UTC", "CET", "+0545"."""
    return datetime.fromtimestamp(wall, zone).astimezone(zone).strftime("%Z")
