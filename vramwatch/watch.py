"""Judges every Poll: folds it into windows, has them examined, and moves incidents.

The same for live polls, a replay and stored history; it owns no clock and reads nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vramwatch.core.diagnosis import Diagnosis, diagnose, seconds_left
from vramwatch.core.folding import GpuWindows, Watched
from vramwatch.core.forecast import Abstention, Exhaustion
from vramwatch.core.incidents import (
    Belief,
    Judgement,
    Reason,
    Severity,
    Standing,
    Subject,
    Terms,
    Transition,
    advance,
    close,
    severity,
)
from vramwatch.core.model import Event, Instant, Ledger, Poll, SubjectKind
from vramwatch.core.verdicts import INNOCENT, Found, Verdict
from vramwatch.core.windows import ANYWHERE, Accident, Window

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

    def reconfigure(self, detectors: Mapping[str, Detector], terms: Terms) -> None:
        """Judge by these from the next poll on; what is remembered stays."""
        self._detectors, self._terms = detectors, terms

    def turn(self, poll: Poll) -> tuple[Transition, ...]:
        """Return how incidents move at ``poll``, in the order in which they do; most often not at all."""
        now = self._clockwork.tick(poll.at)
        moved: list[Transition] = []
        for ledger in poll.ledgers:
            windows = self._gpus.get(ledger.gpu.uuid)
            if windows is None:
                windows = self._gpus[ledger.gpu.uuid] = GpuWindows()
            windows.fold(ledger, now)
            for event in poll.events:
                self._note(windows, ledger, event, now)
            if windows.changed:
                moved += self._close_ended(ledger.gpu.uuid, windows, poll.at, now)
            due = [each for each in windows.all() if each.is_due]
            if due:
                moved += self._judge(ledger.gpu.uuid, windows, due, poll.at, now)
        return tuple(moved)

    @staticmethod
    def _note(windows: GpuWindows, ledger: Ledger, event: Event, now: float) -> None:
        """Take in an out-of-memory that somebody tells of this Gpu, or of a process on it."""
        told = event.out_of_memory
        if told is None:
            return
        is_here = told.gpu == ledger.gpu.uuid if told.gpu else any(told.pid == h.pid for h in ledger.holdings)
        if is_here:
            windows.note(Accident(now, str(told.origin), told.numbers), told.pid)

    def _judge(
        self, gpu: str, windows: GpuWindows, due: Sequence[Watched], at: Instant, now: float
    ) -> Iterator[Transition]:
        beliefs: dict[Subject, Belief] = {}
        for each in due:
            each.mark_examined()
            each.diagnosis = self._examine(each.window)
            subject = subject_of(gpu, each)
            beliefs[subject] = self._stronger(beliefs.get(subject), self._belief(each, subject, now))
        for subject, belief in beliefs.items():
            if belief.judgement is None and self._is_found_elsewhere(gpu, windows, subject):
                continue
            standing, transitions = advance(
                self._standings.get(subject, Standing()), subject, belief, at, now, self._terms
            )
            if standing.incident is not None:
                self._standings[subject] = standing
            yield from transitions

    def _examine(self, window: Window) -> Diagnosis | None:
        found: dict[str, Found] = {}
        for name, detector in self._detectors.items():
            if window.kind in detector.SEES and (window.whole or detector.SEES is ANYWHERE):
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
        judgement = Judgement(
            diagnosis.pattern,
            diagnosis.cause,
            level,
            diagnosis.found.evidence,
            diagnosis.rate,
            _in_wall_time(diagnosis.forecast, window),
            diagnosis.ruled_out,
            watched.pid,
            diagnosis.others,
            diagnosis.alternatives,
        )
        explained = diagnosis.explained or diagnosis.cause in INNOCENT
        is_told = diagnosis.pattern in ALWAYS_TOLD or median <= self._terms.warn_horizon
        fires = is_told and not explained and not diagnosis.premature
        return Belief(judgement, fires, diagnosis.found.is_urgent, (early, median), explained)

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
        """Close the incidents on ``gpu`` of which nothing that grew is left."""
        left = {subject_of(gpu, each) for each in windows.all()}
        for subject, standing in list(self._standings.items()):
            if subject.gpu != gpu or not standing.is_open or standing.incident is None:
                continue
            pid = standing.incident.judgement.pid
            is_there = subject in left and (pid is None or any(each.pid == pid for each in windows.all()))
            if not is_there:
                self._standings[subject], transitions = close(standing, at, now, Reason.RESTARTED)
                yield from transitions

    def checkpoint(self) -> Mapping[str, Any]:
        """Return all that is remembered, as JSON has it; ``restore`` goes on from there to the bit."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. Errors: ValueError where it is of another version, or damaged."""


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
