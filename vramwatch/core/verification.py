"""Decides whether memory really came back, by the driver's figure alone. Pure.

Models: Ollama's scheduler polls every 250 ms for 5 s and takes 75 % of its estimate (server/sched.go);
earlyoom measures again before it climbs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vramwatch.core.attempts import Apply, Outcome, RemedyName, Result
from vramwatch.core.model import ProcessKey
from vramwatch.core.units import MIB, show_bytes, show_seconds
from vramwatch.sdk.wire import SIGNAL_ID, Answer

STEADY = 2 * MIB
"""A figure that fell by less falls no more: the driver hands out memory in steps of 2 MiB."""

WORDS = frozenset({"done", "refused", "failed"})
"""Answers after which none follows."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An attempt under way. Seconds of boot time, bytes.

    ``within``: for so long after it was done memory may take to fall; also the time to answer at all.
    ``patience``: for so long busy workers are waited for. ``done_at``: when whoever carried it out came
    back; None: not yet. ``fault``: why it could not be done. ``held``: the newest two figures, in order.
    """

    apply: Apply
    begun: float
    within: float
    patience: float
    done_at: float | None = None
    fault: str | None = None
    refused: bool = False
    held: tuple[int, ...] = ()
    held_at: float = 0.0
    answers: Mapping[ProcessKey, Answer] = field(default_factory=dict)
    answered_at: float = 0.0

    @property
    def pause(self) -> float | None:
        """The longest that a worker says it was held up; None: none has said."""
        said = [each.pause for each in self.answers.values() if each.state == "done"]
        return max(said, default=None)


def carried_out(trial: Trial, at: float, fault: str | None, *, refused: bool = False) -> Trial:
    """Return ``trial`` once whoever carries it out came back; ``fault`` None: it was done."""
    return replace(trial, done_at=at, fault=fault, refused=refused)


def answered(trial: Trial, key: ProcessKey, answer: Answer, at: float) -> Trial:
    """Return ``trial`` with what a worker says; an answer to another request changes nothing.

    A signal carries no id: its worker answers by one of its own.
    """
    is_signalled = trial.apply.remedy is RemedyName.SIGNAL and answer.id.startswith(SIGNAL_ID)
    if not (answer.id == trial.apply.id or is_signalled) or key not in trial.apply.targets:
        return trial
    before = trial.answers.get(key)
    if before is not None and before.state in WORDS:
        return trial
    return replace(trial, answers={**trial.answers, key: answer}, answered_at=at)


def read(trial: Trial, held: int | None, at: float) -> Trial:
    """Return ``trial`` with the driver's figure at ``at``; None: it was not read, or not told."""
    if held is None or trial.done_at is None:
        return trial
    return replace(trial, held=(*trial.held[-1:], held), held_at=at)


def verdict(trial: Trial, now: float) -> Outcome | None:
    """Return what ``trial`` came to; None: that is not known yet."""
    if trial.done_at is None:
        return None
    if trial.fault is not None:
        result = Result.REFUSED if trial.refused else Result.FAILED
        return Outcome(result, trial.fault, _fallen(trial), None, trial.pause)
    fallen = _fallen(trial)
    # One that grows on, as it did before, never comes to rest: what counts is that the fall is over.
    has_fallen = len(trial.held) == 2 and trial.held[0] - trial.held[1] < STEADY
    if fallen is not None and fallen >= trial.apply.wanted and has_fallen:
        seconds = max(0.0, trial.held_at - trial.begun)
        detail = f"{show_bytes(fallen)} came back within {show_seconds(seconds)}"
        return Outcome(Result.RECOVERED, detail, fallen, seconds, trial.pause)
    if now < _deadline(trial):
        return None
    result, why = _without(trial)
    return Outcome(result, why, fallen, None, trial.pause)


def afterwards(apply: Apply, outcome: Outcome, held: int) -> Outcome | None:
    """Return what a look minutes after a recovery says: returned; None: it is as it was."""
    if outcome.result is not Result.RECOVERED or held <= apply.before - apply.wanted // 2:
        return None
    came_back = held - (apply.before - (outcome.freed or 0))
    detail = f"{show_bytes(came_back)} of {show_bytes(outcome.freed)} came back into use: a working set"
    return replace(outcome, result=Result.RETURNED, detail=detail)


def _fallen(trial: Trial) -> int | None:
    return trial.apply.before - trial.held[-1] if trial.held else None


def _deadline(trial: Trial) -> float:
    """Return when nothing more is waited for: busy extends it, a last word counts from when it was said."""
    done_at = trial.begun if trial.done_at is None else trial.done_at
    if trial.apply.remedy not in (RemedyName.ASK, RemedyName.SIGNAL):
        return done_at + trial.within
    states = [each.state for each in trial.answers.values()]
    if not states:
        return done_at + trial.within
    if any(state not in WORDS for state in states):
        return done_at + max(trial.within, trial.patience)
    if len(states) < len(trial.apply.targets):
        return done_at + max(trial.within, trial.answered_at - done_at)
    return trial.answered_at + trial.within


def _without(trial: Trial) -> tuple[Result, str]:
    """Return why memory did not come back as wanted, by what was answered."""
    fallen = _fallen(trial)
    short = (
        "the driver did not say what was held"
        if fallen is None
        else f"the driver's figure fell by {show_bytes(fallen)}, wanted were {show_bytes(trial.apply.wanted)}"
    )
    if trial.apply.remedy not in (RemedyName.ASK, RemedyName.SIGNAL):
        return Result.INEFFECTIVE, f"it was done; {short}"
    said = list(trial.answers.values())
    if any(each.state == "done" for each in said):
        return Result.INEFFECTIVE, f"the worker says that it is done; {short}"
    if any(each.state not in WORDS for each in said):
        return Result.BUSY, f"requests ran for {show_seconds(trial.patience)}"
    for each in said:
        result = Result.REFUSED if each.state == "refused" else Result.FAILED
        return (
            result,
            f"the worker {each.state}: {each.reason}" if each.reason else f"the worker {each.state}",
        )
    if trial.apply.remedy is RemedyName.SIGNAL:
        return Result.INEFFECTIVE, f"the signal was sent; {short}"
    return Result.UNANSWERED, f"no answer within {show_seconds(trial.within)}"
