"""Judges every Poll: folds it into windows, has them examined, and moves incidents.

The same for live polls, a replay and stored history; it owns no clock and reads nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

from vramwatch.core.checkpoint import VERSION, put_down, take_up
from vramwatch.core.comparing import Peer, beside_ranks, beside_versions
from vramwatch.core.diagnosis import Diagnosis, diagnose, seconds_left
from vramwatch.core.folding import GpuWindows, Watched
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import (
    Belief,
    Incident,
    Judgement,
    Reason,
    Severity,
    Standing,
    State,
    Subject,
    Terms,
    Transition,
    advance,
    close,
    severity,
)
from vramwatch.core.model import EventKind, Instant, OutOfMemory, Poll, SubjectKind
from vramwatch.core.scenes import scene_of
from vramwatch.core.sufficiency import Lack
from vramwatch.core.verdicts import INNOCENT, Cause, Evidence, Found, Verdict
from vramwatch.core.windows import ANYWHERE, Accident, Window

PRUNED_EVERY = 3600.0

ALWAYS_TOLD = frozenset({"out_of_memory", "spike", "pool_leak", "pool_pressure", "spilled", "unattributed"})
"""Patterns that fire whether or not anybody can say when the memory ends."""


class Detector(Protocol):
    """One growth pattern. Its name is that of its file."""

    SEES: frozenset[SubjectKind]

    def examine(self, window: Window) -> Verdict: ...


@dataclass(slots=True)
class Clockwork:
    """Seconds that never step back: by boot time within a boot, by the wall clock between two."""

    seconds: float = 0.0
    before: Instant | None = None

    def tick(self, at: Instant) -> float:
        before = self.before
        if before is None:
            self.seconds = at.wall
        elif before.boot_id == at.boot_id:
            self.seconds += max(0.0, at.boottime - before.boottime)
        else:
            self.seconds += max(0.0, at.wall - before.wall)
        self.before = at
        return self.seconds


class Watch:
    """Told every Poll in its order. What it remembers is bounded, and can be put down and taken up."""

    def __init__(self, detectors: Mapping[str, Detector], terms: Terms) -> None:
        self._detectors = detectors
        self._terms = terms
        self._clockwork = Clockwork()
        self._gpus: dict[str, GpuWindows] = {}
        self._standings: dict[Subject, Standing] = {}
        self._pruned = 0.0

    def reconfigure(self, detectors: Mapping[str, Detector], terms: Terms) -> None:
        """Judge by these from the next poll on; what is remembered stays."""
        self._detectors, self._terms = detectors, terms

    def turn(self, poll: Poll) -> tuple[Transition, ...]:
        """Return how incidents move at ``poll``, in the order in which they do; most often not at all."""
        now = self._clockwork.tick(poll.at)
        moved: list[Transition] = []
        for event in poll.events:
            if event.kind is EventKind.GPU_VANISHED and event.gpu is not None:
                moved += self._close_gone(event.gpu, poll.at, now)
        for ledger in poll.ledgers:
            uuid = ledger.gpu.uuid
            windows = self._gpus.setdefault(uuid, GpuWindows())
            windows.fold(ledger, now)
            if windows.changed:
                moved += self._close_ended(uuid, windows, poll.at, now)
        for told in filter(None, (event.out_of_memory for event in poll.events)):
            self._note(told, now)
        for uuid, windows in self._gpus.items():
            if due := [each for each in windows.all() if each.is_due]:
                moved += self._judge(uuid, windows, due, poll.at, now)
        if now - self._pruned >= PRUNED_EVERY:
            self._prune(now)
            self._pruned = now
        return tuple(_with_scene(each, poll) for each in moved)

    def _note(self, told: OutOfMemory, now: float) -> None:
        """Take in an out-of-memory that somebody tells of a Gpu, or of a process wherever it is."""
        accident = Accident(now, str(told.origin), told.numbers)
        for uuid, windows in self._gpus.items():
            if told.gpu == uuid or (told.gpu is None and windows.has(told.pid)):
                windows.note(accident, told.pid)

    def _judge(
        self, gpu: str, windows: GpuWindows, due: Sequence[Watched], at: Instant, now: float
    ) -> Iterator[Transition]:
        beliefs: dict[Subject, Belief] = {}
        for each in due:
            each.mark_examined()
            each.diagnosis = self._examine(each.window)
            subject = self._blamed(subject_of(gpu, each), each.diagnosis)
            beliefs[subject] = self._stronger(beliefs.get(subject), self._belief(each, subject, now))
        for subject, belief in beliefs.items():
            if belief.judgement is None and self._is_found_elsewhere(gpu, windows, subject):
                continue
            standing, transitions = advance(
                self._standings.get(subject, Standing()), subject, belief, at, now, terms=self._terms
            )
            if standing.incident is not None:
                self._standings[subject] = standing
            yield from transitions

    def _blamed(self, subject: Subject, diagnosis: Diagnosis | None) -> Subject:
        """Return whom an accident of a whole Gpu is put down to: whose growth there was to end in it."""
        if diagnosis is None or diagnosis.pattern != "out_of_memory" or subject.kind is not SubjectKind.GPU:
            return subject
        growing = [
            each
            for each, standing in self._standings.items()
            if each.gpu == subject.gpu and standing.is_firing and standing.told_left < inf
        ]
        return min(growing, key=lambda each: self._standings[each].told_left, default=subject)

    def _examine(self, window: Window) -> Diagnosis | None:
        found: dict[str, Found] = {}
        for name, detector in self._detectors.items():
            if window.kind not in detector.SEES or not (window.whole or detector.SEES is ANYWHERE):
                continue
            verdict = detector.examine(window)
            if isinstance(verdict, Found):
                found[name] = verdict
        return diagnose(window, found) if found else None

    def _belief(self, watched: Watched, subject: Subject, now: float) -> Belief:
        diagnosis = watched.diagnosis
        if diagnosis is None:
            return Belief(None)
        window = watched.window
        early, median = seconds_left(diagnosis.forecast, now)
        standing = self._standings.get(subject)
        before = None
        if standing is not None and standing.is_open and standing.incident is not None:
            before = standing.incident.judgement.severity
        level = severity((early, median), before, self._terms)
        if diagnosis.found.is_urgent:
            level = Severity.CRITICAL
        cause = diagnosis.cause
        if cause is Cause.UNKNOWN and standing is not None and standing.is_firing and standing.incident:
            cause = standing.incident.judgement.cause  # of the growth that has led to this
        judgement = Judgement(
            diagnosis.pattern,
            cause,
            level,
            self._compared(watched, diagnosis),
            diagnosis.rate,
            _in_wall_time(diagnosis.forecast, window),
            diagnosis.ruled_out,
            watched.pid,
            diagnosis.others,
            diagnosis.alternatives,
        )
        explained = diagnosis.explained or cause in INNOCENT
        names = (diagnosis.pattern, *diagnosis.others)
        is_told = not ALWAYS_TOLD.isdisjoint(names) or median <= self._terms.warn_horizon
        fires = is_told and not explained and not diagnosis.premature
        return Belief(judgement, fires, diagnosis.found.is_urgent, (early, median), explained)

    def _compared(self, watched: Watched, diagnosis: Diagnosis) -> Evidence:
        """Return the evidence, beside earlier versions of the same owner and the other ranks of a service."""
        owners = (windows.owners.get(watched.owner or "") for windows in self._gpus.values())
        members = [each.window.members for each in owners if each is not None]
        lives = [life for each in members if each is not None for life in each.lives]
        peers = (
            Peer(each.rank, each.diagnosis.rate.median if each.diagnosis and each.diagnosis.rate else None)
            for windows in self._gpus.values()
            for each in windows.processes.values()
            if each.rank is not None and each.owner == watched.owner
        )
        evidence = beside_versions(diagnosis.found.evidence, diagnosis.rate, watched.version, lives)
        return beside_ranks(evidence, watched.rank, peers)

    @staticmethod
    def _stronger(one: Belief | None, other: Belief) -> Belief:
        """Of two beliefs about one subject, the one whose end is nearer; one that found something."""
        if one is None or one.judgement is None:
            return other
        if other.judgement is None:
            return one
        return max(one, other, key=lambda belief: (belief.fires, -belief.left[1]))

    def _is_found_elsewhere(self, gpu: str, windows: GpuWindows, subject: Subject) -> bool:
        """Whether another window of ``subject``, which is not due, still has its pattern."""
        return any(each.diagnosis is not None and subject_of(gpu, each) == subject for each in windows.all())

    def _close_ended(self, gpu: str, windows: GpuWindows, at: Instant, now: float) -> Iterator[Transition]:
        """Close the incidents on ``gpu`` of which nothing that grew is left; what began just now did not."""
        old = [each for each in windows.all() if each.window.used.began < now]
        left = {subject_of(gpu, each) for each in old}
        for subject, standing in list(self._standings.items()):
            if subject.gpu != gpu or not standing.is_open or standing.incident is None:
                continue
            pid = standing.incident.judgement.pid
            is_there = subject in left and (pid is None or any(each.pid == pid for each in old))
            if not is_there:
                self._standings[subject], transitions = close(standing, at, now, Reason.RESTARTED)
                yield from transitions

    def _close_gone(self, gpu: str, at: Instant, now: float) -> Iterator[Transition]:
        """Close what was said of a Gpu that is no longer there, and let go of its windows."""
        self._gpus.pop(gpu, None)
        for subject in [each for each in self._standings if each.gpu == gpu]:
            _, transitions = close(self._standings.pop(subject), at, now, Reason.GONE)
            yield from transitions

    def _prune(self, now: float) -> None:
        """Let go of incidents that are closed for so long that none of them is opened again."""
        for subject, standing in list(self._standings.items()):
            if not standing.is_open and now - standing.closed_at > self._terms.reopen_within:
                del self._standings[subject]

    def lacking(self) -> tuple[tuple[Subject, Lack], ...]:
        """Return of whom there is too little to judge, and what is missing; who has an incident is judged."""
        found = (
            (Subject(gpu, kind, owner), missing)
            for gpu, windows in self._gpus.items()
            for kind, owner, missing in windows.lacking()
        )
        return tuple(each for each in found if each[0] not in self._standings)

    def dismiss(self, incident: Incident, poll: Poll) -> tuple[Transition, ...]:
        """Close ``incident`` at a person's word, at ``poll``, which has been judged.

        Also one that stands in the store alone. Nothing is told of one that has closed meanwhile.
        """
        standing = self._standings.get(incident.subject)
        if standing is None or standing.incident is None or standing.incident.id != incident.id:
            closed = replace(incident, state=State.RESOLVED)
            return (_with_scene(Transition(poll.at, closed, Reason.DISMISSED), poll),)
        now = self._clockwork.seconds
        self._standings[incident.subject], moved = close(standing, poll.at, now, Reason.DISMISSED)
        return tuple(_with_scene(each, poll) for each in moved)

    def forget(self, owner: str) -> None:
        """Let go of all that is remembered of an Owner (its key)."""
        for windows in self._gpus.values():
            windows.owners.pop(owner, None)
            for key in [key for key, each in windows.processes.items() if each.owner == owner]:
                del windows.processes[key]
        for subject in [each for each in self._standings if each.owner == owner]:
            del self._standings[subject]

    def checkpoint(self) -> Mapping[str, Any]:
        """Return all that is remembered, as JSON has it; ``restore`` goes on from there to the bit."""
        return {
            "version": VERSION,
            "seconds": self._clockwork.seconds,
            "before": put_down(self._clockwork.before),
            "gpus": put_down(self._gpus),
            "standings": put_down(self._standings),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Errors: ValueError where it is of another version, or damaged.

        Then nothing has changed.
        """
        if state.get("version") != VERSION:
            raise ValueError(f"a checkpoint of version {state.get('version')!r}; this is version {VERSION}")
        told = {name: take_up(state.get(name)) for name in ("seconds", "before", "gpus", "standings")}
        for windows in told["gpus"].values():
            windows.link()
        self._clockwork = Clockwork(told["seconds"], told["before"])
        self._gpus, self._standings = told["gpus"], told["standings"]


def _with_scene(moved: Transition, poll: Poll) -> Transition:
    incident = moved.incident
    return replace(moved, scene=scene_of(poll.ledgers, incident.subject, incident.judgement.pid))


def subject_of(gpu: str, watched: Watched) -> Subject:
    """Return what an incident found in a window of ``gpu`` is about."""
    if watched.owner is not None:
        return Subject(gpu, SubjectKind.OWNER, watched.owner)
    return Subject(gpu, watched.window.kind)


def _in_wall_time(forecast: Exhaustion | Abstention, window: Window) -> Exhaustion | Abstention:
    if isinstance(forecast, Abstention):
        return forecast
    return replace(
        forecast,
        at=window.at(forecast.at),
        low=window.at(forecast.low),
        high=window.at(forecast.high),
    )
