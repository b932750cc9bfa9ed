"""Decides at every poll what is to be done about memory, begins it, and sees whether memory came back.

Holds what the decision goes on from. What it decides, and what came of it, is stored with the poll; an
attempt is begun once it stands in the store. After a restart it goes on from there: what was under way is
uncertain, and is never repeated blindly.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vramwatch.control.control import ControlError, Request
from vramwatch.control.errands import Reply
from vramwatch.core import verification
from vramwatch.core.attempts import Apply, Attempt, Ended, Outcome, Result
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import State, Subject
from vramwatch.core.ladder import (
    Action,
    Ladder,
    Occasion,
    Record,
    WithheldApply,
    decide,
    is_recovered,
)
from vramwatch.core.model import Ledger, ProcessKey, SubjectKind
from vramwatch.core.parties import party_of
from vramwatch.core.policy import Case
from vramwatch.core.poll import Poll
from vramwatch.core.ports import Workers
from vramwatch.core.texts import clean
from vramwatch.core.units import Seconds
from vramwatch.core.verification import Trial
from vramwatch.core.workers import Worker
from vramwatch.remedying import Remedy
from vramwatch.sdk.wire import Answer, Clear
from vramwatch.store.desk import Desk
from vramwatch.treating.applying import Applier, Permit, Said

OFF_FILE = "remedies.off"
"""In the runtime directory: while it is there nothing is done to any process."""

FAST = Seconds(0.25)
"""Between two polls while it is seen whether memory comes back (Ollama's server/sched.go waits as long)."""

LOOKS_BACK = 7 * 86400.0
"""Seconds for which attempts are remembered: as long as an incident may be opened again."""

NOBODY = "nobody can enrol"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows. ``look_again``: seconds after which memory that came back is read again."""

    ladder: Ladder
    remedies: tuple[Remedy, ...] = ()
    look_again: float = 300.0

    @property
    def looks_back(self) -> float:
        """Seconds for which attempts are remembered: no rule counts for longer."""
        return max(LOOKS_BACK, *(each.cooldown for each in self.remedies), self.ladder.closed_again)


@dataclass(slots=True)
class _Known:
    """All that is remembered of attempts."""

    attempts: dict[str, Attempt] = field(default_factory=dict)  # by id, oldest first
    withheld: dict[str, WithheldApply] = field(default_factory=dict)  # by incident, the newest
    trials: dict[str, Trial] = field(default_factory=dict)  # by attempt
    decided: list[Apply] = field(default_factory=list)  # to be begun once they are stored
    asked: dict[str, Apply] = field(default_factory=dict)  # by id, their permit is asked
    unkept: list[Apply] = field(default_factory=list)  # the store did not take them: they are not begun
    permitted: dict[str, Apply] = field(default_factory=dict)  # by id, to be begun once memory is read again
    freed: list[str] = field(default_factory=list)  # attempts to be looked at again


class NoWorkers:
    """Nobody can enrol. Implements core.ports.Workers."""

    def enrolled(self) -> Mapping[ProcessKey, Worker]:
        return {}

    def ask(self, key: ProcessKey, clear: Clear) -> str | None:
        return NOBODY

    def signal(self, key: ProcessKey, name: str) -> str | None:
        return NOBODY

    def answers(self) -> Sequence[tuple[ProcessKey, Answer]]:
        return ()


class Treatment:
    """For the thread of the polls."""

    def __init__(self, desk: Desk, rules: Rules, workers: Workers, applier: Applier, off_file: Path) -> None:
        self._desk = desk
        self._rules = rules
        self._workers = workers
        self._applier = applier
        self._off_file = off_file
        self._known = _Known()
        self._has_begun = False
        self._enrolled: Mapping[ProcessKey, Worker] = {}
        self._now = 0.0  # boot time, of the newest poll

    @property
    def enrolled(self) -> Mapping[ProcessKey, Worker]:
        """Who had enrolled at the newest poll."""
        return self._enrolled

    @property
    def watched(self) -> frozenset[str]:
        """The GPUs whose process list is read at every poll now."""
        falling = (trial.apply.gpu for trial in self._known.trials.values() if _is_fast(trial, self._now))
        return frozenset((*falling, *(apply.gpu for apply in self._known.permitted.values())))

    @property
    def interval(self) -> Seconds | None:
        """Seconds to the next poll at most; None: nothing here asks for any."""
        return FAST if self.watched else None

    def reconfigure(self, rules: Rules, permit: Permit | None) -> None:
        """Decide by these from the next poll on; what is under way goes on."""
        self._rules = rules
        self._applier.permit = permit

    def forget(self, owners: Collection[str]) -> None:
        """Let go of what was tried on ``owners`` (keys); what is under way comes to its end."""
        over = [
            id
            for id, each in self._known.attempts.items()
            if each.apply.owner in owners and not each.is_under_way
        ]
        for id in over:
            del self._known.attempts[id]

    def off(self) -> str | None:
        """Return who switched remedies off, by the file in the runtime directory; None: they are on."""
        try:
            said = self._off_file.read_bytes()[:200].decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self._off_file} cannot be read ({error.strerror}), which counts as off"
        return f"switched off by {clean(said) or f'the file {self._off_file}'}"

    def set(self, request: Request) -> Reply:
        """Switch remedies "off" or "on", as ``request`` says, and return how they are; without it they stay.

        What waits for its permit stands down; a program that runs is not ended. With it come the
        modes that hold now, which those of the file may not be. Errors: ControlError.
        """
        wanted = request.arguments.get("set")
        try:
            if wanted == "off":
                self._off_file.write_text(f"{request.author}\n", encoding="utf-8")
            elif wanted == "on":
                self._off_file.unlink(missing_ok=True)
            elif wanted is not None:
                raise ControlError("remedies are set on or off")
        except OSError as error:
            raise ControlError(f"{self._off_file}: {error.strerror}") from error
        if wanted is not None:
            logger.info("remedies=%s author=%r", wanted, request.author)
        modes = {each.remedy.value: each.mode for each in self._rules.remedies}
        return {"off": self.off(), "file": str(self._off_file), "modes": modes}

    def turn(self, poll: Poll, cases: Iterable[Case], *, is_kept: bool) -> Poll:
        """Return ``poll`` with what is decided at it, and with what came of earlier attempts.

        ``is_kept``: whether the store takes polls now; while it does not, nothing is begun.
        """
        self._now = poll.at.boottime
        if not self._has_begun:
            if not is_kept:
                return poll
            ended = self._begin(poll)
        else:
            ended = []
        unkept, self._known.unkept = self._known.unkept, []
        lost = Outcome(Result.STOOD_DOWN, "the store could not be written")
        ended += [self._end(apply, lost, poll.at.wall) for apply in unkept]
        self._enrolled = self._workers.enrolled()
        is_idle = not (self._rules.ladder.rungs or self._known.asked or self._known.permitted)
        off = None if is_idle else self.off()
        ended += self._follow(poll, off)
        cases = list(cases)
        actions = list(self._decide(poll, cases, off)) if is_kept and self._rules.ladder.rungs else []
        there = {case.incident.id for case in cases}
        self._known.withheld = {id: each for id, each in self._known.withheld.items() if id in there}
        self._let_go(poll.at.wall)
        if not actions and not ended:
            return poll
        return replace(poll, actions=tuple(actions), endings=tuple(ended))

    def begin(self, poll: Poll, *, is_kept: bool) -> None:
        """Begin what was decided at ``poll``, if it stands in the store."""
        decided, self._known.decided = self._known.decided, []
        for apply in decided:
            if not is_kept:
                self._known.unkept.append(apply)
            elif apply.costs_service and self._applier.permit is not None:
                self._known.asked[apply.id] = apply
                self._applier.ask_permit(apply, self._applier.permit)
            else:
                self._carry_out(apply, poll)

    def close(self) -> None:
        self._applier.close()

    # --- deciding ---------------------------------------------------------------------------------

    def _begin(self, poll: Poll) -> list[Ended]:
        """Go on from what stands in the store; return the end of what was under way there."""
        now = poll.at.wall
        try:
            attempts, withheld = self._desk.attempts(now - self._rules.looks_back)
        except StoreError as error:
            logger.error("nothing is tried because=%r", str(error))
            return []
        self._has_begun = True
        self._known.attempts = {each.apply.id: each for each in attempts}
        self._known.withheld = dict(withheld)
        self._known.freed = [
            each.apply.id
            for each in attempts
            if each.result is Result.RECOVERED and now - (each.ended or now) <= 2 * self._rules.look_again
        ]
        lost = Outcome(Result.UNCERTAIN, "vramwatch ended while it was under way")
        return [self._end(each.apply, lost, now) for each in attempts if each.is_under_way]

    def _decide(self, poll: Poll, cases: Iterable[Case], off: str | None) -> Iterable[Action]:
        fresh = {ledger.gpu.uuid for ledger in poll.ledgers if ledger.is_fresh}
        for case in cases:
            incident = case.incident
            if incident.state is not State.FIRING or incident.subject.gpu not in fresh:
                continue
            party = party_of(incident.subject, poll.ledgers, self._enrolled)
            if party is None:
                continue
            record = Record(tuple(self._known.attempts.values()), self._known.withheld.get(incident.id))
            action = decide(case, party, self._rules.ladder, record, Occasion(poll.at.wall, off))
            if action is not None:
                self._take(action, poll)
                yield action

    def _take(self, action: Action, poll: Poll) -> None:
        known = self._known
        if isinstance(action, WithheldApply):
            known.withheld[action.incident] = action
            logger.info(
                "withheld incident=%s remedy=%s because=%s detail=%r",
                *(action.incident, action.remedy or "none", action.hindrance, action.detail),
            )
            return
        known.withheld.pop(action.incident, None)
        attempt = Attempt(action, poll.at.wall)
        if action.dry_run:
            attempt = replace(attempt, outcome=Outcome(Result.DRY_RUN), ended=poll.at.wall)
        else:
            known.decided.append(action)
        known.attempts[action.id] = attempt
        logger.info(
            "attempt=%s incident=%s remedy=%s dry_run=%s plan=%r held_bytes=%d wanted_bytes=%d",
            *(action.id, action.incident, action.remedy, action.dry_run, action.plan),
            *(action.before, action.wanted),
        )

    # --- following --------------------------------------------------------------------------------

    def _carry_out(self, apply: Apply, poll: Poll) -> None:
        remedy = next((each for each in self._rules.remedies if each.remedy is apply.remedy), None)
        if remedy is None:  # a reload has taken it away while its permit was asked
            trial = Trial(apply, poll.at.boottime, 0.0, 0.0)
            gone = verification.carried_out(trial, poll.at.boottime, "it is not configured any more")
            self._known.trials[apply.id] = gone
            return
        self._known.trials[apply.id] = Trial(apply, poll.at.boottime, remedy.within, remedy.patience)
        self._applier.carry_out(apply, remedy)

    def _follow(self, poll: Poll, off: str | None) -> list[Ended]:
        """Take in what was said and what the driver shows; return what has come to an end by it."""
        now, known = poll.at.boottime, self._known
        ended = [each for said in self._said() if (each := self._hear(said, poll))]
        ended += self._go_on(poll, off)
        for key, answer in self._workers.answers():
            for id, trial in list(known.trials.items()):
                known.trials[id] = verification.answered(trial, key, answer, now)
        for id, before in list(known.trials.items()):
            trial = verification.read(before, _held(before.apply, poll.ledgers), now)
            known.trials[id] = trial
            outcome = verification.verdict(trial, now)
            if outcome is not None:
                del known.trials[id]
                ended.append(self._end(trial.apply, outcome, poll.at.wall))
        return ended + self._look_again(poll)

    def _said(self) -> Iterable[Said]:
        while not self._applier.said.empty():
            yield self._applier.said.get_nowait()

    def _hear(self, said: Said, poll: Poll) -> Ended | None:
        """Take in what came back of an attempt; return its end, if that is one."""
        trial, now = self._known.trials.get(said.id), poll.at
        if trial is not None and not said.is_permit:
            self._known.trials[said.id] = verification.carried_out(
                trial, now.boottime, said.report.fault, refused=said.report.refused
            )
        apply = self._known.asked.pop(said.id, None) if said.is_permit else None
        if apply is None:
            return None
        if said.report.fault is not None:
            return self._end(apply, Outcome(Result.NOT_PERMITTED, said.report.fault), now.wall)
        self._known.permitted[apply.id] = apply
        return None

    def _go_on(self, poll: Poll, off: str | None) -> Iterable[Ended]:
        """Begin what is permitted, once memory was read again; yield the end of what need not be done."""
        fresh = {ledger.gpu.uuid for ledger in poll.ledgers if ledger.is_fresh}
        for apply in [each for each in self._known.permitted.values() if off or each.gpu in fresh]:
            del self._known.permitted[apply.id]
            held = _held(apply, poll.ledgers)
            if off is not None:
                yield self._end(apply, Outcome(Result.STOOD_DOWN, off), poll.at.wall)
            elif held is None:
                unread = Outcome(Result.STOOD_DOWN, "the driver does not say what its processes hold")
                yield self._end(apply, unread, poll.at.wall)
            elif is_recovered(held, apply.before, apply.wanted):
                recovered = Outcome(Result.STOOD_DOWN, "memory had recovered by itself", apply.before - held)
                yield self._end(apply, recovered, poll.at.wall)
            else:
                self._carry_out(apply, poll)

    def _look_again(self, poll: Poll) -> list[Ended]:
        """Return what of the memory that came back is in use again."""
        ended = []
        for id in list(self._known.freed):
            attempt = self._known.attempts.get(id)
            if attempt is None or attempt.outcome is None:
                self._known.freed.remove(id)
                continue
            held = _held(attempt.apply, poll.ledgers)
            if held is None or poll.at.wall - (attempt.ended or 0.0) < self._rules.look_again:
                continue
            self._known.freed.remove(id)
            returned = verification.afterwards(attempt.apply, attempt.outcome, held)
            if returned is not None:
                ended.append(self._end(attempt.apply, returned, poll.at.wall))
        return ended

    def _end(self, apply: Apply, outcome: Outcome, wall: float) -> Ended:
        known = self._known.attempts.get(apply.id) or Attempt(apply, wall)
        self._known.attempts[apply.id] = replace(known, outcome=outcome, ended=wall)
        if outcome.result is Result.RECOVERED:
            self._known.freed.append(apply.id)
        logger.log(
            logging.INFO if outcome.result is Result.RECOVERED else logging.WARNING,
            "attempt=%s incident=%s remedy=%s result=%s freed_bytes=%s pause_seconds=%s detail=%r",
            *(apply.id, apply.incident, apply.remedy, outcome.result),
            *(outcome.freed, outcome.pause, outcome.detail),
        )
        return Ended(apply.id, wall, outcome)

    def _let_go(self, now: float) -> None:
        """Forget what no rule counts any more."""
        old = [
            id
            for id, each in self._known.attempts.items()
            if not each.is_under_way and now - each.at > self._rules.looks_back
        ]
        for id in old:
            del self._known.attempts[id]


def _held(apply: Apply, ledgers: Sequence[Ledger]) -> int | None:
    """Return what the owner holds by the driver's figure of this very poll; None: it was not read or told."""
    party = party_of(Subject(apply.gpu, SubjectKind.OWNER, apply.owner), ledgers, {})
    return party.held if party else None


def _is_fast(trial: Trial, now: float) -> bool:
    """Whether memory may come back at any moment: it was done, or will be at once; a busy worker says so."""
    is_busy = any(each.state == "busy" for each in trial.answers.values())
    if trial.done_at is None or is_busy:
        return False
    return now - max(trial.done_at, trial.answered_at) <= trial.within
