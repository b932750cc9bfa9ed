"""Decides what to do about an incident's memory: ``decide`` is the whole decision, for one incident.

It compares how the incident stands with what was tried, so it can be called again at any poll and after any
restart. It returns an instruction, or a withheld one with the reason. Pure.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Protocol

from vramwatch.core.attempts import (
    NOTHING_DONE,
    WITHOUT_EFFECT,
    Apply,
    Attempt,
    RemedyName,
    Result,
    attempt_id,
)
from vramwatch.core.incidents import State
from vramwatch.core.model import SubjectKind
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.policy import Case
from vramwatch.core.units import MIB, show_bytes, show_seconds
from vramwatch.core.verdicts import Cause

HOUR = 3600.0

AGAIN = 600.0
"""Seconds after which a permit is asked again that was not given: nothing was done, so no cooldown counts."""

TABLE: Mapping[Cause, tuple[RemedyName, ...]] = {
    Cause.FRAGMENTATION: (RemedyName.ASK, RemedyName.SIGNAL, RemedyName.ENGINE),
    Cause.KV_CACHE: (RemedyName.ASK, RemedyName.SIGNAL),
    Cause.LEAK: (RemedyName.COMMAND,),
    Cause.AUTOGRAD: (RemedyName.COMMAND,),
    Cause.NON_TORCH: (RemedyName.COMMAND,),
    Cause.PROCESS_COUNT: (),
    Cause.GHOST: (),
    Cause.UNKNOWN: (),
}
"""Cause -> what may be tried, in this order; then, and for an empty row at once, it is a person's."""

NEVER: Mapping[Cause, str] = {
    Cause.LOAD: "load is what the memory is for",
    Cause.WARMUP: "warm-up ends by itself",
    Cause.SPIKE: "a spike is over when it is seen",
}
"""Causes that are never acted on, by any remedy, and why."""

ONLY_RETAINED = frozenset({Cause.KV_CACHE})
"""Acted on only where the worker itself says that it keeps the cache while no request runs."""


class Hindrance(StrEnum):
    """Why nothing is done. What holds for long comes before what passes, in the order of asking."""

    NEVER = "never"  # its cause is none that is acted on
    PERSON = "person"  # no rung is left: it is a person's
    FORBIDDEN = "forbidden"  # the operator says: never this owner
    TRAINING = "training"  # a worker says that it trains
    SWITCHED_OFF = "switched_off"
    WORKING_SET = "working_set"  # what was freed came back
    CIRCUIT_OPEN = "circuit_open"  # so many attempts had no effect
    UNREADABLE = "unreadable"  # the driver does not say what is held
    RECOVERED = "recovered"  # memory has fallen by itself
    IN_FLIGHT = "in_flight"  # something is under way on that GPU
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    PAUSE = "pause"  # it holds its requests up for too long, and requests run
    SPREAD = "spread"  # so that a fleet does not restart at once


GIVEN_UP = frozenset({Hindrance.WORKING_SET, Hindrance.CIRCUIT_OPEN})
"""After these nothing more is tried, and a person is told so."""


class Rung(Protocol):
    """A configured remedy, as far as the decision goes. Seconds."""

    @property
    def remedy(self) -> RemedyName: ...
    @property
    def is_dry(self) -> bool: ...
    @property
    def cooldown(self) -> float: ...

    def offer(self, case: Case, party: Party) -> Offer | Unfit:
        """Return what it can do now. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the operator allows. Seconds and bytes.

    ``forbidden``: globs of owners, by name or key. ``share`` of the growth, and ``least``, must come back.
    ``per_owner`` and ``per_host``: attempts an hour. ``give_up_after``: so many in a row without effect open
    the circuit for ``closed_again``. ``max_pause``: who was held up for longer is not asked while requests
    run. ``spread``: over so long what costs service is spread.
    """

    rungs: tuple[Rung, ...] = ()
    forbidden: tuple[str, ...] = ()
    share: float = 0.5
    least: int = 64 * MIB
    per_owner: int = 4
    per_host: int = 12
    give_up_after: int = 3
    closed_again: float = 24 * HOUR
    max_pause: float = 0.2
    spread: float = 600.0


@dataclass(frozen=True, slots=True)
class WithheldApply:
    """Not done; ``remedy`` None: none was chosen. ``detail``: until when, by whom, what was measured."""

    incident: str
    remedy: RemedyName | None
    hindrance: Hindrance
    detail: str


Action = Apply | WithheldApply


@dataclass(frozen=True, slots=True)
class Occasion:
    """What holds for every decision of this poll. ``off``: who switched remedies off; None: they are on."""

    now: float  # unix seconds
    off: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What was tried on this host, oldest first, for as long as any rule looks back; and the newest Apply
    that was withheld for this incident."""

    attempts: Sequence[Attempt] = ()
    withheld: WithheldApply | None = None

    def of(self, case: Case) -> list[Attempt]:
        """Return the attempts at this incident since it was last established, oldest first."""
        since = case.openings[-1] if case.openings else 0.0
        id = case.incident.id
        return [each for each in self.attempts if each.apply.incident == id and each.at >= since]


def decide(case: Case, party: Party, ladder: Ladder, record: Record, occasion: Occasion) -> Action | None:
    """Return what is to be done about an incident; None: nothing that has not been decided before."""
    incident = case.incident
    if (
        not ladder.rungs
        or incident.state is not State.FIRING
        or incident.subject.kind is SubjectKind.VRAMWATCH
    ):
        return None
    if any(each.is_under_way for each in record.of(case)):
        return None
    decided = _decided(case, party, ladder, record, occasion)
    if isinstance(decided, WithheldApply) and record.withheld is not None:
        same = (decided.remedy, decided.hindrance) == (record.withheld.remedy, record.withheld.hindrance)
        return None if same else decided
    if isinstance(decided, WithheldApply) and decided.hindrance is Hindrance.RECOVERED:
        is_ours = any(each.result is Result.RECOVERED for each in record.of(case))
        return None if is_ours else decided  # the attempt itself says so
    return decided


def _decided(case: Case, party: Party, ladder: Ladder, record: Record, occasion: Occasion) -> Action | None:
    lasting = _cause_hindrance(case, party, ladder) or _lasting(case, party, ladder, record, occasion)
    if lasting is not None:
        return _withheld(case, None, *lasting)
    chosen = _chosen(case, party, ladder, record)
    if isinstance(chosen, Unfit):
        return _withheld(case, None, Hindrance.PERSON, chosen.why)
    rung, offer = chosen
    wanted = wanted_of(case, ladder)
    planned = [each for each in record.of(case) if each.result is Result.DRY_RUN]
    if rung.is_dry and any(each.apply.remedy is rung.remedy for each in planned):
        return None
    hindered = _unseen(case, party, wanted, record)
    gpus = frozenset(gpu for key in offer.targets for gpu in party.gpus.get(key, ())) | {
        case.incident.subject.gpu
    }
    hindered = hindered or _passing(
        rung, gpus, case.incident.subject.owner, ladder=ladder, record=record, now=occasion.now
    )
    hindered = hindered or _pausing(offer, party, ladder, record)
    hindered = hindered or (_spread(case, ladder, record, occasion) if offer.costs_service else None)
    if hindered is not None or party.held is None:
        return _withheld(case, rung.remedy, *(hindered or (Hindrance.UNREADABLE, "")))
    return Apply(
        attempt_id(case.incident.id, rung.remedy, occasion.now),
        case.incident.id,
        case.incident.subject.gpu,
        case.incident.subject.owner or "",
        rung.remedy,
        offer.targets,
        gpus,
        offer.plan,
        party.held,
        wanted,
        rung.is_dry,
        offer.costs_service,
        _facts(case),
    )


def _facts(case: Case) -> Mapping[str, str]:
    """Return what a command is told of an incident and of whom it is about; what is not known is left out."""
    incident, scene = case.incident, case.newest.scene
    known = {
        "INCIDENT": incident.id,
        "CAUSE": incident.judgement.cause.value,
        "GPU": incident.subject.gpu,
        "OWNER": incident.subject.owner,
    }
    known["OWNER_NAME"] = scene.owner if scene else None
    names = ("unit", "container", "pod", "namespace", "job", "user", "engine", "model")
    known |= {name.upper(): getattr(scene, name) for name in names} if scene else {}
    return {name: text for name, text in known.items() if text}


def wanted_of(case: Case, ladder: Ladder) -> int:
    """Return by how many bytes the driver's figure must fall: a share of the growth, and not too few."""
    growth = case.incident.judgement.evidence.numbers.get("growth_bytes", 0.0)
    return max(ladder.least, round(ladder.share * growth))


def is_recovered(held: int, level: int, wanted: int) -> bool:
    """Return whether what was held at ``level`` has fallen by what is wanted."""
    return level - held >= wanted


# --- what keeps it back ---------------------------------------------------------------------------

Hindered = tuple[Hindrance, str]


def _withheld(case: Case, remedy: RemedyName | None, hindrance: Hindrance, detail: str) -> WithheldApply:
    return WithheldApply(case.incident.id, remedy, hindrance, detail)


def _cause_hindrance(case: Case, party: Party, ladder: Ladder) -> Hindered | None:
    incident = case.incident
    cause = incident.judgement.cause
    if cause in NEVER:
        return Hindrance.NEVER, NEVER[cause]
    if incident.subject.kind is not SubjectKind.OWNER:
        return Hindrance.PERSON, "no process is known whose memory it is"
    if not TABLE[cause]:
        return Hindrance.PERSON, f"nothing is tried for {cause}"
    if cause in ONLY_RETAINED and not _retains(party, wanted_of(case, ladder)):
        return Hindrance.NEVER, "its worker does not say that it keeps a cache while no request runs"
    return None


def _retains(party: Party, wanted: int) -> bool:
    """Whether workers keep so many bytes of KV cache by their own word while none of their requests runs."""
    kept = 0
    for worker in party.enrolled:
        report = worker.report
        if report is not None and report.requests_running == 0:
            kept += sum(device.kv_resident or 0 for device in report.devices)
    return kept >= wanted


def _lasting(case: Case, party: Party, ladder: Ladder, record: Record, occasion: Occasion) -> Hindered | None:
    subject, scene = case.incident.subject, case.newest.scene
    names = (subject.owner or "", (scene.owner if scene else None) or "")
    if glob := next(
        (each for each in ladder.forbidden if any(fnmatchcase(name, each) for name in names)), None
    ):
        return Hindrance.FORBIDDEN, f"the configuration says: never {glob}"
    if training := [each for each in party.enrolled if each.report and each.report.training]:
        return Hindrance.TRAINING, f"pid {training[0].key.pid} says that it trains"
    if occasion.off is not None:
        return Hindrance.SWITCHED_OFF, occasion.off
    if any(each.result is Result.RETURNED for each in record.of(case)):
        return Hindrance.WORKING_SET, "what was freed came back within minutes: it is a working set"
    lost = _without_effect(case, ladder, record, occasion.now)
    if lost >= ladder.give_up_after:
        return Hindrance.CIRCUIT_OPEN, f"{lost} attempts in a row had no effect; a person is needed"
    return None


def _without_effect(case: Case, ladder: Ladder, record: Record, now: float) -> int:
    """Return how many attempts at this owner on this GPU had no effect since one had."""
    subject = case.incident.subject
    count = 0
    for each in reversed(record.attempts):
        if (each.apply.gpu, each.apply.owner) != (subject.gpu, subject.owner):
            continue
        if each.result is Result.RECOVERED or now - each.at > ladder.closed_again:
            break
        count += each.result in WITHOUT_EFFECT
    return count


def _chosen(case: Case, party: Party, ladder: Ladder, record: Record) -> tuple[Rung, Offer] | Unfit:
    """Return the lowest rung that can do anything and has not failed, else the lowest that has.

    What failed is tried again until the circuit opens. Unfit: why none can.
    """
    failed = {each.apply.remedy: each.result for each in record.of(case) if each.result in WITHOUT_EFFECT}
    by_remedy = {rung.remedy: rung for rung in ladder.rungs}
    said, again = [], []
    for remedy in TABLE[case.incident.judgement.cause]:
        rung = by_remedy.get(remedy)
        if rung is None:
            said.append(f"{remedy} is not configured")
        elif (
            remedy is RemedyName.SIGNAL
            and failed.get(RemedyName.ASK, Result.UNANSWERED) is not Result.UNANSWERED
        ):
            said.append("who has answered is not signalled")
        elif isinstance(offer := rung.offer(case, party), Unfit):
            said.append(f"{remedy}: {offer.why}")
        elif remedy in failed:
            again.append((rung, offer))
        else:
            return rung, offer
    return again[0] if again else Unfit("; ".join(said))


def _unseen(case: Case, party: Party, wanted: int, record: Record) -> Hindered | None:
    if party.held is None:
        return Hindrance.UNREADABLE, "the driver does not say what its processes hold"
    level = _level(case, record)
    if level is not None and is_recovered(party.held, level, wanted):
        return Hindrance.RECOVERED, f"it held {show_bytes(level)}, and holds {show_bytes(party.held)} now"
    return None


def _level(case: Case, record: Record) -> int | None:
    """Return what a fall counts from: what was held before an attempt that freed it, what an attempt without
    effect has left, else what was held when the incident last moved.
    """
    for each in reversed(record.of(case)):
        if each.result is Result.RECOVERED:
            return each.apply.before
        if each.result in WITHOUT_EFFECT and each.outcome is not None and each.outcome.freed is not None:
            return each.apply.before - each.outcome.freed
    return case.newest.scene.held_bytes if case.newest.scene else None


def _passing(
    rung: Rung, gpus: frozenset[str], owner: str | None, *, ladder: Ladder, record: Record, now: float
) -> Hindered | None:
    """Return what passes: something under way, a cooldown, a budget. What is only planned is held by none."""
    if rung.is_dry:
        return None
    done = [each for each in record.attempts if each.result not in NOTHING_DONE]
    if busy := next(
        (each for each in done if each.is_under_way and not each.apply.gpus.isdisjoint(gpus)), None
    ):
        return Hindrance.IN_FLIGHT, f"attempt {busy.apply.id} is under way there"
    theirs = [
        each for each in record.attempts if each.apply.owner == owner and each.apply.remedy is rung.remedy
    ]
    until = max(((each.ended or each.at) + _peace(each, rung) for each in theirs), default=now)
    if now < until:
        return Hindrance.COOLDOWN, f"{show_seconds(until - now)} more"
    hour = [each for each in done if now - each.at < HOUR]
    of_owner = sum(each.apply.owner == owner for each in hour)
    if of_owner >= ladder.per_owner:
        return Hindrance.BUDGET, f"{of_owner} attempts at this owner within the hour"
    if len(hour) >= ladder.per_host:
        return Hindrance.BUDGET, f"{len(hour)} attempts on this host within the hour"
    return None


def _peace(attempt: Attempt, rung: Rung) -> float:
    """Return for how many seconds after ``attempt`` its owner is left in peace; a plan disturbs nobody."""
    if attempt.result is Result.DRY_RUN:
        return 0.0
    return min(AGAIN, rung.cooldown) if attempt.result in NOTHING_DONE else rung.cooldown


def _pausing(offer: Offer, party: Party, ladder: Ladder, record: Record) -> Hindered | None:
    """Return whether a target was held up too long before, and requests run in it now."""
    for attempt in reversed(record.attempts):
        pause = attempt.outcome.pause if attempt.outcome else None
        shared = set(attempt.apply.targets) & set(offer.targets)
        if pause is None or not shared:
            continue
        running = [key for key in shared if key in party.workers and party.workers[key].requests_running != 0]
        if pause > ladder.max_pause and running:
            return Hindrance.PAUSE, f"it held its requests up for {pause:.3f} s, and requests run"
        return None
    return None


def _spread(case: Case, ladder: Ladder, record: Record, occasion: Occasion) -> Hindered | None:
    """Return whether its time has not come yet; when that is follows from the incident, hence its host."""
    tried = record.of(case)
    ends = [each.ended or each.at for each in tried if each.result not in NOTHING_DONE]
    since = max([*ends, case.openings[-1] if case.openings else case.incident.opened])
    due = since + ladder.spread * share_of(case.incident.id)
    if occasion.now < due:
        return (
            Hindrance.SPREAD,
            f"{show_seconds(due - occasion.now)} more, so that a fleet does not act at once",
        )
    return None


def share_of(text: str) -> float:
    """Return a number of [0, 1) that follows from ``text`` and nothing else."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
