"""Decides at every poll whom to tell of what: holds what the decision goes on from, and asks the policy.

Its steps are stored with the poll. After a restart it goes on from what stands in the store.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Reason, State, Transition
from vramwatch.core.ladder import GIVEN_UP, Action, WithheldApply
from vramwatch.core.model import Instant
from vramwatch.core.policy import (
    OBSERVE,
    Account,
    Acknowledgement,
    Case,
    Channel,
    Limits,
    Moment,
    Step,
    account_after,
    decide,
    openings_after,
)
from vramwatch.core.poll import Poll
from vramwatch.core.scenes import remembering
from vramwatch.core.silences import Silence
from vramwatch.core.troubles import Trouble, Troubles
from vramwatch.core.units import show_seconds
from vramwatch.store.desk import Desk, Told

LOOK_EVERY = 10.0
"""Seconds between two looks at all that is open: for repeats, and for what a silence has kept back."""

REMEMBERED = 86400.0
"""Seconds for which what is resolved can still be told: its channel may have been kept from it."""

ASKED_FOR = 60.0
"""Seconds for which nobody is told anything while it cannot be read what was told before."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Open:
    case: Case
    accounts: dict[str, Account] = field(default_factory=dict)  # by channel


class Alerting:
    """For the thread of the polls."""

    def __init__(self, desk: Desk, channels: Iterable[Channel], observe_for: float | None) -> None:
        """``observe_for``: seconds that a new service observes; None: it tells at once."""
        self._desk = desk
        self._channels = tuple(channels)
        self._observe_for = observe_for
        self._limits = Limits()
        self._open: dict[str, _Open] = {}
        self._silences: dict[str, Silence] = {}
        self._looked = float("-inf")  # boot time
        self._now = 0.0  # unix seconds, of the newest poll
        self._has_begun = False
        self._tried: float | None = None  # boot time at which it was first asked what was told
        self._troubles = Troubles()

    @property
    def silences(self) -> Mapping[str, Silence]:
        """Those that are not over, by id; that of observing too."""
        return self._silences

    @property
    def group_wait(self) -> float | None:
        """Seconds for which what is to be told waits for more, on the channel that waits longest; None: no
        channel is there."""
        return max((each.group_wait for each in self._channels), default=None)

    @property
    def firing(self) -> int:
        """How many incidents stand now."""
        return sum(each.case.incident.state is State.FIRING for each in self._open.values())

    @property
    def cases(self) -> Iterable[Case]:
        """The incidents that are open, or were until lately, as they stand."""
        return [each.case for each in self._open.values()]

    def reconfigure(self, channels: Iterable[Channel], observe_for: float | None) -> None:
        """Tell these from the next poll on; ``observe_for`` None: and observe no longer."""
        self._channels = tuple(channels)
        self._observe_for = observe_for
        if observe_for is None and self._has_begun:
            try:
                self.expire(OBSERVE, self._now)
            except StoreError as error:
                logger.error("observing goes on because=%r", str(error))
        self._look_soon()

    def begin_anew(self) -> None:
        """Go on from what stands in the store: something was deleted there."""
        self._open, self._has_begun, self._tried = {}, False, None

    def turn(self, poll: Poll, troubles: Iterable[Trouble] = ()) -> Poll:
        """Return ``poll`` with what is decided at it. ``troubles``: what is wrong with vramwatch itself.

        Its transitions keep the names that their incidents had while their processes lived.
        """
        now = self._now = poll.at.wall
        decides = self._has_begun or self._begin(poll.at)
        self._troubles.let_go(poll.transitions)
        if decides and (own := self._troubles.turn(troubles, poll.at, poll.at.boottime)):
            poll = replace(poll, transitions=(*poll.transitions, *own))
        steps: list[Step] = []
        moves: list[Transition] = []
        for moved in poll.transitions:
            known = self._take(moved)
            moves.append(known.case.newest)
            steps += self._decide(known, now) if decides else ()
        if moves:
            poll = replace(poll, transitions=tuple(moves))
        if decides and not 0 <= poll.at.boottime - self._looked < LOOK_EVERY:
            self._looked = poll.at.boottime
            self._let_go(now)
            for each in list(self._open.values()):
                steps += self._decide(each, now)
        return replace(poll, steps=(*poll.steps, *steps)) if steps else poll

    def silence(self, silence: Silence) -> None:
        """Keep ``silence``, in place of one of the same id. Errors: StoreError."""
        self._desk.write_silence(silence)
        self._silences[silence.id] = silence
        self._look_soon()

    def expire(self, id: str, now: float) -> Silence | None:
        """End a silence now and return it; None: there is none of that id that holds. Errors: StoreError."""
        silence = self._silences.get(id)
        if silence is None or silence.until <= now:
            return None
        self._desk.write_silence(replace(silence, until=now))
        del self._silences[id]
        self._look_soon()
        return silence

    def acknowledge(self, incident: str, told: Acknowledgement) -> None:
        """Take in that somebody has ``incident`` in hand."""
        if known := self._open.get(incident):
            known.case = replace(known.case, acknowledged=told)

    def heed(self, actions: Iterable[Action], now: float) -> None:
        """Have a person told at the next poll where remedies were given up at ``now`` (unix seconds)."""
        for each in actions:
            known = self._open.get(each.incident)
            if known and isinstance(each, WithheldApply) and each.hindrance in GIVEN_UP:
                known.case = replace(known.case, given_up=now)
                self._look_soon()

    def _begin(self, at: Instant) -> bool:
        """Go on from what stands in the store; a new one begins to observe. Return whether it is decided now.

        Where the store cannot be read it is not: whoever was told before would be told again. After a while
        it is all the same, and the store is asked on, until it answers.
        """
        now, is_known = at.wall, False
        try:
            told = self._desk.told(now - REMEMBERED, now)
            is_known = True
            self._take_up(told, at)
            if self._observe_for is None:
                self.expire(OBSERVE, now)
            elif not told.has_observed:
                begun = self._silences.setdefault(OBSERVE, observing(now, self._observe_for))
                self._desk.write_silence(begun)
        except StoreError as error:
            if self._tried is None:
                self._tried = at.boottime
                logger.error("what was told is not known because=%r asking=again", str(error))
            return is_known or at.boottime - self._tried >= ASKED_FOR
        self._has_begun = True
        if observing_now := self._silences.get(OBSERVE):
            left = show_seconds(observing_now.until - now)
            logger.info("observing for=%r end_it_with='vramwatch silence expire observe'", left)
        return True

    def _take_up(self, told: Told, at: Instant) -> None:
        """Take in what stands in the store, behind what has come since the start."""
        self._silences = {each.id: each for each in told.silences} | self._silences
        for case in told.cases:
            known = self._open.setdefault(case.incident.id, _Open(case))
            if known.case is not case:
                is_over = known.case.incident.state is State.RESOLVED
                acknowledged = None if is_over else known.case.acknowledged or case.acknowledged
                openings = tuple(sorted({*case.openings, *known.case.openings}))
                known.case = replace(known.case, openings=openings, acknowledged=acknowledged)
        self._troubles.take_up((case.newest for case in told.cases), at.boottime)
        for (channel, incident), account in told.accounts.items():
            self._open[incident].accounts.setdefault(channel, account)
        self._look_soon()

    def _look_soon(self) -> None:
        self._looked = float("-inf")

    def _take(self, moved: Transition) -> _Open:
        known = self._open.get(moved.incident.id)
        before = known.case if known else None
        moved = replace(moved, scene=remembering(moved.scene, before.newest.scene if before else None))
        openings = before.openings if before else ()
        if moved.reason is Reason.ESTABLISHED:
            openings = openings_after(openings, moved.at.wall)
        is_over = moved.incident.state is State.RESOLVED
        acknowledged = before.acknowledged if before and not is_over else None
        known = known or _Open(Case(moved))
        known.case = Case(moved, openings, acknowledged, before.given_up if before and not is_over else None)
        self._open[moved.incident.id] = known
        return known

    def _decide(self, known: _Open, now: float) -> Iterable[Step]:
        moment = Moment(now, tuple(self._silences.values()), self._limits)
        for channel in self._channels:
            account = known.accounts.get(channel.name, Account())
            step = decide(known.case, channel, account, moment)
            if step is not None:
                known.accounts[channel.name] = account_after(account, step, known.case, now)
                yield step

    def _let_go(self, now: float) -> None:
        """Forget what has been over for long, and silences that are."""
        for id, each in list(self._open.items()):
            newest = each.case.newest
            if newest.incident.state is State.RESOLVED and now - newest.at.wall > REMEMBERED:
                del self._open[id]
        self._silences = {id: each for id, each in self._silences.items() if each.until > now}


def observing(now: float, seconds: float) -> Silence:
    """Return the silence that a new service begins with at ``now`` (unix seconds)."""
    return Silence(OBSERVE, "vramwatch", "a new service observes first", now, now + seconds)
