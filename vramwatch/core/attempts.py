"""Remedies as data: instructions to free memory, attempts, and their outcomes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vramwatch.core.model import ProcessKey


class RemedyName(StrEnum):
    """The rungs of the ladder, in the order in which they are climbed; each is a file in ``remedies``."""

    ASK = "ask"
    SIGNAL = "signal"
    ENGINE = "engine"
    COMMAND = "command"


class Result(StrEnum):
    """What an attempt came to."""

    RECOVERED = "recovered"  # the driver's figure has fallen by what was wanted
    RETURNED = "returned"  # it had, and rose again within minutes: a working set
    INEFFECTIVE = "ineffective"  # it was done, and the driver's figure did not fall by what was wanted
    UNANSWERED = "unanswered"  # nobody answered in time
    BUSY = "busy"  # requests ran for as long as was waited
    REFUSED = "refused"  # the worker, or the engine, would not
    FAILED = "failed"  # it could not be done
    STOOD_DOWN = "stood_down"  # memory had recovered, or remedies were switched off, before anything was done
    NOT_PERMITTED = "not_permitted"  # the permit said no, before anything was done
    UNCERTAIN = "uncertain"  # the daemon ended while it was under way
    DRY_RUN = "dry_run"  # it was planned, and not done


WITHOUT_EFFECT = frozenset(
    {Result.INEFFECTIVE, Result.UNANSWERED, Result.REFUSED, Result.FAILED, Result.UNCERTAIN}
)
"""After these the ladder is climbed, and so many in a row open the circuit."""

NOTHING_DONE = frozenset({Result.STOOD_DOWN, Result.NOT_PERMITTED, Result.DRY_RUN})
"""These touched no process, and count for no budget."""


@dataclass(frozen=True, slots=True)
class Apply:
    """An instruction: ``remedy`` to ``targets``, because of ``incident``. Bytes.

    ``plan``: what is done, in words. ``before``: what ``owner`` held on ``gpu`` when it was decided, as the
    driver says; ``wanted``: by how much that must fall. ``gpus``: of all targets. ``dry_run``: planned alone.
    ``costs_service``: requests may be lost or delayed by it, so the permit is asked first. ``facts``: names
    of the owner that a command is told, as in {"UNIT": "chat.service"}.
    """

    id: str
    incident: str
    gpu: str  # UUID
    owner: str  # an Owner's key
    remedy: RemedyName
    targets: tuple[ProcessKey, ...]
    gpus: frozenset[str]
    plan: str
    before: int
    wanted: int
    dry_run: bool = False
    costs_service: bool = False
    facts: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What later readings say that an attempt freed, and after how long.

    ``freed``: bytes by which the driver's figure had fallen, negative: it rose; None: nobody could look.
    ``seconds``: from its beginning to that figure. ``pause``: the longest that a worker says it was held up.
    """

    result: Result
    detail: str = ""
    freed: int | None = None
    seconds: float | None = None
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome for the store; one attempt may have two: recovered, and later returned."""

    id: str
    at: float  # unix seconds
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Attempt:
    """An Apply, when it was decided (unix seconds), and what came of it; None: nothing yet."""

    apply: Apply
    at: float
    outcome: Outcome | None = None
    ended: float | None = None

    @property
    def is_under_way(self) -> bool:
        return self.outcome is None

    @property
    def result(self) -> Result | None:
        return self.outcome.result if self.outcome else None


def attempt_id(incident: str, remedy: RemedyName, now: float) -> str:
    """Return twelve hexadecimal digits that name the attempt at ``incident`` that is decided at ``now``."""
    return hashlib.sha256(f"{incident} {remedy} {now:.3f}".encode()).hexdigest()[:12]
