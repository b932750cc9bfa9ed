"""One request to clear: whether it is taken, when it is carried out, and what is said of it.

It is taken on the SDK's thread and carried out where the application says that it is safe, or while nothing
is in flight; never twice within the cooldown, never while a graph is captured, one at a time.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Optional

from .allocator import Allocator
from .load import Load
from .quietly import quietly
from .wire import CLEARS, Answer, Clear, Cleared, Device

REMEMBERED = 16
"""Answers that are given again when the same request comes again."""

ERROR_MOST = 100
"""Characters of what an exception says: an answer holds one for each step and must fit its datagram."""

log = logging.getLogger("vramwatch_sdk")


@dataclass(frozen=True)
class Manners:
    """What the application allows: seconds between two clearings, and by which one may hold requests up."""

    cooldown: float = 60.0
    max_pause: float = 0.2


@dataclass(frozen=True)
class _Asked:
    clear: Clear
    until: float  # of the clock: of no use any more


class Clearing:
    """What is asked of one process. ``actions``: what is done for each of CLEARS that the application offers.

    ``answered`` takes what is to be said later than at once; it must not wait. ``clock``: seconds, monotonic.
    """

    def __init__(
        self,
        actions: Mapping[str, Callable[[], object]],
        allocator: Allocator,
        load: Load,
        *,
        manners: Manners,
        answered: Callable[[Answer], None],
        clock: Callable[[], float],
    ) -> None:
        self._actions, self._allocator, self._load, self._manners = actions, allocator, load, manners
        self._answered, self._clock = answered, clock
        self._lock = threading.Lock()
        self._waiting: Optional[_Asked] = None
        self._under_way: Optional[_Asked] = None
        self._is_given_up = False  # nobody waits any more for what is under way
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._lasted: dict[str, float] = {}
        self._done_at: Optional[float] = None

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None

    def ask(self, clear: Clear) -> Answer:
        """Take ``clear``, or say why not: at once, whatever runs. The same one again gets the same answer."""
        with self._lock:
            known = self._answers.get(clear.id)
            if known is not None:
                return known
            reason = self._why_not(clear)
            if reason:
                return self._say(Answer(clear.id, "refused", reason))
            self._waiting = _Asked(clear, self._clock() + clear.within)
            return self._say(Answer(clear.id, "busy" if self._load.running else "accepted"))

    def forget(self) -> None:
        """Drop what waits, and say nothing of what runs: who asked for it is gone, and consent with it."""
        with self._lock:
            self._waiting, self._is_given_up = None, self._under_way is not None
            self._answers.clear()

    def tick(self) -> None:
        """Say what became too late: that no safe point came, or that a step does not return."""
        now = self._clock()
        with self._lock:
            late, hanging = self._waiting, self._under_way
            if late is not None and now > late.until:
                self._waiting = None
                reason = f"no safe point within {late.clear.within:g} s"
                self._tell(Answer(late.clear.id, "refused", reason))
            if hanging is not None and now > hanging.until and not self._is_given_up:
                self._is_given_up = True
                reason = f"has not returned within {hanging.clear.within:g} s"
                self._tell(Answer(hanging.clear.id, "failed", reason))

    def carry_out(self, *, is_idle: bool) -> bool:
        """Do what waits, on this thread. Returns whether anything was done.

        ``is_idle``: the application did not call; a request that begins meanwhile ends it.
        """
        if self._waiting is None or self._load.held or quietly(self._allocator.is_capturing, False):
            return False
        with self._lock:
            asked = self._waiting
            if asked is None or self._under_way is not None:
                return False
            self._waiting, self._under_way, self._is_given_up = None, asked, False
        answer = Answer(asked.clear.id, "failed", "was interrupted")
        try:
            answer = self._clear(asked.clear, is_idle)
        finally:
            with self._lock:
                self._under_way, self._done_at = None, self._clock()
                if not self._is_given_up:
                    self._tell(answer)
        return True

    def _why_not(self, clear: Clear) -> str:
        if self._under_way is not None:
            return "what was asked before has not returned" if self._is_given_up else "is clearing already"
        if self._waiting is not None:
            return "another request waits for a safe point"
        if not set(clear.clears) & set(self._actions):
            return "offers none of this"
        if self._done_at is not None:
            since = self._clock() - self._done_at
            if since < self._manners.cooldown:
                return f"cleared {since:.0f} s ago; cools down for {self._manners.cooldown:g} s"
        return ""

    def _clear(self, clear: Clear, is_idle: bool) -> Answer:
        began = self._clock()
        bound = min(clear.max_pause or self._manners.max_pause, self._manners.max_pause)
        wanted = [what for what in CLEARS if what in clear.clears and what in self._actions]
        cleared = []
        for what in wanted:
            # The callback is the application's own code: a request need not wait for it.
            gate = nullcontext() if what == "callback" else self._load.between()
            with gate:
                hindrance = self._hindrance(what, self._clock() - began, bound, is_idle)
                cleared.append(Cleared(what, error=hindrance) if hindrance else self._step(what))
        return _outcome(clear.id, tuple(cleared), self._clock() - began)

    def _hindrance(self, what: str, elapsed: float, bound: float, is_idle: bool) -> str:
        if self._load.held or quietly(self._allocator.is_capturing, False):
            return "withheld: a graph is captured, or memory is held"
        if not self._load.running:
            return ""
        if is_idle:
            return "withheld: a request began"
        pause = elapsed + self._lasted.get(what, 0.0)
        return (
            f"withheld: would hold requests up for {pause:.3f} s, {bound:g} s allowed"
            if pause > bound
            else ""
        )

    def _step(self, what: str) -> Cleared:
        allocated, reserved = self._figures()
        began, error = self._clock(), ""
        try:
            self._actions[what]()
        except Exception as fault:
            log.warning("clearing %s failed: %s", what, type(fault).__name__, exc_info=True)
            error = f"{type(fault).__name__}: {fault}"[:ERROR_MOST]
        seconds = self._lasted[what] = self._clock() - began
        allocated_now, reserved_now = self._figures()
        return Cleared(what, reserved - reserved_now, allocated - allocated_now, seconds, error)

    def _figures(self) -> "tuple[int, int]":
        devices: Sequence[Device] = quietly(self._allocator.devices, ())
        return sum(one.allocated or 0 for one in devices), sum(one.reserved or 0 for one in devices)

    def _tell(self, answer: Answer) -> None:
        log.info("clearing id=%s state=%s pause_seconds=%.3f", answer.id, answer.state, answer.pause)
        self._answered(self._say(answer))

    def _say(self, answer: Answer) -> Answer:
        self._answers[answer.id] = answer
        self._answers.move_to_end(answer.id)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return answer


def _outcome(id: str, cleared: "tuple[Cleared, ...]", pause: float) -> Answer:
    """Done if any step was; else failed if any was tried; else refused."""
    answer = Answer(id, "done", "", cleared, pause)
    if any(not step.error for step in cleared):
        return answer
    is_withheld = all(step.error.startswith("withheld") for step in cleared)
    return replace(answer, state="refused" if is_withheld else "failed", reason=cleared[0].error)
