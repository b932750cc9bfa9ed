"""Judges every Poll: folds it into windows, has them examined, and moves incidents.

The same for live polls, a replay and stored history; it owns no clock and reads nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, ClassVar, Protocol

from vramwatch.core.beliefs import belief, belief_afterwards, stronger
from vramwatch.core.checkpoint import READABLE, VERSION, put_down, take_up
from vramwatch.core.clockwork import Clockwork
from vramwatch.core.comparing import Peer, beside_ranks, beside_versions
from vramwatch.core.diagnosis import Diagnosis, diagnose
from vramwatch.core.folding import GpuWindows, Watched
from vramwatch.core.hindcasts import KEPT, followed, width
from vramwatch.core.incidents import (
    Belief,
    Incident,
    Reason,
    Standing,
    State,
    Subject,
    Terms,
    Transition,
    adopt,
    advance,
    close,
    is_stale,
)
from vramwatch.core.model import EventKind, Instant, Ledger, OutOfMemory, ProcessKey, SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.core.scenes import scene_of
from vramwatch.core.sufficiency import Lack
from vramwatch.core.traits import Traits
from vramwatch.core.verdicts import Evidence, Found, Verdict, nameless
from vramwatch.core.windows import Accident, Window

PRUNED_EVERY = 3600.0

SWITCHED_OFF = Traits(0, frozenset())


class Detector(Protocol):
    """One growth pattern. Its name is that of its file."""

    TRAITS: ClassVar[Traits]

    def examine(self, window: Window) -> Verdict: ...


class Watch:
    """Told every Poll in its order. What it remembers is bounded, and can be put down and taken up."""

    def __init__(self, detectors: Mapping[str, Detector], terms: Terms) -> None:
        self._detectors = detectors
        self._terms = terms
        self._clockwork = Clockwork()
        self._gpus: dict[str, GpuWindows] = {}
        self._standings: dict[Subject, Standing] = {}
        self._pruned = 0.0
        self._is_new = False  # whether what is remembered may come of other detectors, or of history
        self._has_unseen = False  # whether an incident may be known from history alone
        self._scores: list[float] = []  # of past forecasts, newest last

    def reconfigure(self, detectors: Mapping[str, Detector], terms: Terms) -> None:
        """Judge by these from the next poll on; windows and open incidents stay.

        An incident that was found by none of these any more is resolved at that poll.
        """
        self._detectors, self._terms = detectors, terms
        self._is_new = True

    def turn(self, poll: Poll) -> tuple[Transition, ...]:
        """Return how incidents move at ``poll``, in the order in which they do; most often not at all."""
        now = self._clockwork.tick(poll.at)
        moved: list[Transition] = []
        if self._is_new:
            moved += self._withdraw(poll.at, now)
            self._date_unseen(now)
            self._is_new = False
        for event in poll.events:
            if event.kind is EventKind.GPU_VANISHED and event.gpu is not None:
                moved += self._close_gone(event.gpu, poll.at, now)
        for ledger in poll.ledgers:
            uuid = ledger.gpu.uuid
            windows = self._gpus.setdefault(uuid, GpuWindows())
            windows.fold(ledger, now)
            if windows.changed:
                moved += self._close_ended(uuid, windows, poll.at, now)
            if self._has_unseen:
                moved += self._close_over(ledger, windows, poll.at, now)
        for told in filter(None, (event.out_of_memory for event in poll.events)):
            self._note(told, now)
        for uuid, windows in self._gpus.items():
            if due := [each for each in windows.all() if each.is_due]:
                moved += self._judge(uuid, windows, due, poll.at, now)
        if now - self._pruned >= PRUNED_EVERY:
            moved += self._prune(poll.at, now)
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
            self._follow(each, self._standings.get(subject))
            beliefs[subject] = stronger(beliefs.get(subject), self._belief(each, subject, now))
        for subject, believed in beliefs.items():
            known = self._standings.get(subject)
            if believed.judgement is None and (
                known is None or self._is_found_elsewhere(gpu, windows, subject)
            ):
                continue
            standing, transitions = advance(
                known or Standing(), subject, believed, at, now, terms=self._terms
            )
            if standing.incident is not None:
                self._standings[subject] = standing
            yield from transitions

    def _blamed(self, subject: Subject, diagnosis: Diagnosis | None) -> Subject:
        """Return whom an accident of a whole Gpu is put down to: whose growth there was to end in it."""
        if diagnosis is None or subject.kind is not SubjectKind.GPU:
            return subject
        if not self._traits(diagnosis.pattern).is_accident:
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
            traits = detector.TRAITS
            if window.kind not in traits.sees or not (window.whole or traits.is_accident):
                continue
            verdict = detector.examine(window)
            if isinstance(verdict, Found):
                found[name] = verdict
        if not found:
            return None
        return diagnose(window, found, {name: self._traits(name) for name in found}, width(self._scores))

    def _follow(self, watched: Watched, standing: Standing | None) -> None:
        """See how far earlier forecasts of ``watched`` were off, and make others while it fires."""
        is_firing = standing is not None and standing.is_firing
        growing = watched.diagnosis.straight if watched.diagnosis and is_firing else None
        if watched.hindcasts or growing is not None:
            watched.hindcasts, scores = followed(watched.hindcasts, watched.window, growing)
            self._scores = [*self._scores, *scores][-KEPT:]

    def _belief(self, watched: Watched, subject: Subject, now: float) -> Belief:
        diagnosis, standing = watched.diagnosis, self._standings.get(subject)
        if diagnosis is None:
            return belief_afterwards(watched, standing, self._traits)
        evidence = self._compared(watched, diagnosis)
        return belief(watched, diagnosis, evidence, standing, now, traits=self._traits, terms=self._terms)

    def _traits(self, name: str) -> Traits:
        """Return what the detector ``name`` says of itself; one that is switched off claims nothing."""
        detector = self._detectors.get(name)
        return SWITCHED_OFF if detector is None else detector.TRAITS

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
            if standing.unseen_since is not None:
                continue  # see _close_over
            pid = standing.incident.judgement.pid
            is_there = subject in left and (pid is None or any(each.pid == pid for each in old))
            if not is_there:
                self._standings[subject], transitions = close(standing, at, now, Reason.RESTARTED)
                yield from transitions

    def _close_over(
        self, ledger: Ledger, windows: GpuWindows, at: Instant, now: float
    ) -> Iterator[Transition]:
        """Close incidents of history of which ``ledger`` says that what grew is over."""
        unseen = [subject for subject, each in self._standings.items() if each.unseen_since is not None]
        self._has_unseen = bool(unseen)
        for subject in unseen:
            is_told = ledger.is_fresh or subject.kind is SubjectKind.GPU
            standing = self._standings[subject]
            if subject.gpu != ledger.gpu.uuid or not is_told or standing.incident is None:
                continue
            pid, known = standing.incident.judgement.pid, standing.last_found
            is_there = any(
                subject_of(subject.gpu, each) == subject
                and (pid is None or each.pid == pid)
                and (each.window.started is None or each.window.started <= known)
                for each in windows.all()
            )
            if not is_there:
                self._standings[subject], transitions = close(standing, at, now, Reason.RESTARTED)
                yield from transitions

    def _close_gone(self, gpu: str, at: Instant, now: float) -> Iterator[Transition]:
        """Close what was said of a Gpu that is no longer there, and let go of its windows."""
        self._gpus.pop(gpu, None)
        for subject in [each for each in self._standings if each.gpu == gpu]:
            _, transitions = close(self._standings.pop(subject), at, now, Reason.GONE)
            yield from transitions

    def _withdraw(self, at: Instant, now: float) -> Iterator[Transition]:
        """Take back what was found by nothing but detectors that are switched off."""
        on = self._detectors.keys()
        for windows in self._gpus.values():
            for each in windows.all():
                said = each.diagnosis
                if said is not None and on.isdisjoint((said.pattern, *said.others)):
                    each.diagnosis = None
        for subject, standing in list(self._standings.items()):
            if not standing.is_open or standing.incident is None:
                continue
            judged = standing.incident.judgement
            if on.isdisjoint((judged.pattern, *judged.others)):
                self._standings[subject], transitions = close(standing, at, now, Reason.SWITCHED_OFF)
                yield from transitions

    def _date_unseen(self, now: float) -> None:
        """Count from ``now`` for how long incidents of history have not been found again."""
        for subject, standing in self._standings.items():
            if standing.unseen_since is not None:
                since = min(standing.unseen_since, now)
                self._standings[subject] = replace(standing, unseen_since=since)
                self._has_unseen = True

    def _prune(self, at: Instant, now: float) -> Iterator[Transition]:
        """Close incidents that have gone stale; let go of those that are never opened again."""
        for subject, standing in list(self._standings.items()):
            if is_stale(standing, now, self._terms):
                self._standings[subject], transitions = close(standing, at, now, Reason.STALE)
                yield from transitions
            elif not standing.is_open and now - standing.closed_at > self._terms.reopen_within:
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

    def forget(self, owners: Collection[str], processes: Collection[ProcessKey] = ()) -> None:
        """Let go of all that is remembered of Owners (by key), and of single processes."""
        for windows in self._gpus.values():
            windows.forget(owners, processes)
        for subject in [each for each in self._standings if each.owner in owners]:
            del self._standings[subject]
        pids = {key.pid for key in processes}
        for subject, standing in self._standings.items():
            if standing.incident:
                self._standings[subject] = replace(standing, incident=_nameless(standing.incident, pids))

    def adopt(self, told: Iterable[Transition], at: Instant) -> tuple[Transition, ...]:
        """Go on with incidents that are open in history; ``told``: the newest Transition of each.

        Each is found again, ends with what grew, or goes stale after ``clear_latest``. Of several on one
        Subject the newest goes on; the others are closed as of ``at``, the newest poll of that history.
        """
        closed: list[Transition] = []
        for each in sorted(told, key=lambda transition: transition.at.seq, reverse=True):
            subject = each.incident.subject
            standing = self._standings.get(subject)
            if standing is None or not standing.is_open or standing.incident is None:
                self._standings[subject] = adopt(each, self._clockwork.seconds_at(each.at))
                self._is_new = True
            elif standing.incident.id != each.incident.id:
                _, transitions = close(adopt(each, 0.0), at, 0.0, Reason.STALE)
                closed += transitions
        return tuple(closed)

    def checkpoint(self, *, late: bool = False) -> Mapping[str, Any]:
        """Return all that is remembered, as JSON has it; ``restore`` goes on from there to the bit.

        ``late``: what is watched is left for ``put_down`` to follow, one by one.
        """
        return {
            "version": VERSION,
            "seconds": self._clockwork.seconds,
            "before": put_down(self._clockwork.before),
            "gpus": put_down(self._gpus, late=late),
            "standings": put_down(self._standings),
            "scores": put_down(self._scores),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Errors: ValueError where it is of another version, or damaged.

        Then nothing has changed.
        """
        if state.get("version") not in READABLE:
            raise ValueError(f"a checkpoint of version {state.get('version')!r}; this is version {VERSION}")
        told = {
            name: take_up(state.get(name)) for name in ("seconds", "before", "gpus", "standings", "scores")
        }
        for windows in told["gpus"].values():
            windows.link()
        self._clockwork = Clockwork(told["seconds"], told["before"])
        self._gpus, self._standings, self._scores = told["gpus"], told["standings"], told["scores"]
        self._is_new = True


def _with_scene(moved: Transition, poll: Poll) -> Transition:
    subject, pid = moved.incident.subject, moved.incident.judgement.pid
    return replace(moved, scene=scene_of(poll.ledgers, subject.gpu, subject.kind, subject.owner, pid))


def subject_of(gpu: str, watched: Watched) -> Subject:
    """Return what an incident found in a window of ``gpu`` is about."""
    if watched.owner is not None:
        return Subject(gpu, SubjectKind.OWNER, watched.owner)
    return Subject(gpu, watched.window.kind)


def _nameless(incident: Incident, pids: Collection[int]) -> Incident:
    """Return ``incident`` as it is once the processes ``pids`` are forgotten."""
    judged = incident.judgement
    pid = None if judged.pid in pids else judged.pid
    return replace(incident, judgement=replace(judged, evidence=nameless(judged.evidence, pids), pid=pid))
