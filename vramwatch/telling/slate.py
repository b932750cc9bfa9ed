"""What the outbox goes on from while the store cannot be written, and what is copied into it afterwards.

As long as polls can be stored all is asked of the ``Desk``. Once one could not be, the steps of those that
wait leave from here, and what becomes of messages is kept here, bounded; what the store has can still be
read, as a rule. The first poll that is stored takes all of it along in its transaction, and each step comes
with the message in which it left: so nothing is told twice afterwards. What ends with the process is told
again under the same key, where the same notices leave together.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

from vramwatch.core.attempts import Attempt
from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import State, Transition
from vramwatch.core.messages import Heard, MessageKind
from vramwatch.core.outgoing import Carried, Course, Delivered, Delivery, Retry, Waiting
from vramwatch.core.policy import TOOK_ITS_PLACE, Notice, Notify, Step, Withheld, Withholding
from vramwatch.core.poll import Poll
from vramwatch.store.desk import Changes, Desk, Ended

COURSES_KEPT = 10_000
"""Messages of which it is kept what became of them, about 6 MiB; of older ones the store will not know."""

Found = TypeVar("Found")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a channel's receiver has taken of an incident since the slate was opened.

    ``is_anew``: it took before that the incident was over, so what it has by the store counts no more.
    """

    notice: Notice
    heard: Heard
    reference: str | None
    is_anew: bool

    @property
    def is_over(self) -> bool:
        return self.notice is Notice.RESOLVED


class Slate:
    """Stands before the Desk, with the same words. For the thread of the polls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.is_open = False
        """Whether a poll waits to be stored, and messages leave from here."""
        self.closings = 0
        """How often it was closed: what is under way on a channel is to be read again then."""
        self._numbers: Iterator[int] = count(1)
        self._newest: dict[str, Transition] = {}  # by incident: how it stands, as far as it was not stored
        self._waiting: dict[str, dict[int, Waiting]] = defaultdict(dict)  # by channel, by step
        self._left: dict[int, int | None] = {}  # step -> the delivery in which it left; None: superseded
        self._superseded: list[int] = []  # steps, not carried yet
        self._courses: dict[int, Course] = {}  # by delivery, not carried yet
        self._told: dict[tuple[str, str], _Told] = {}  # by channel and incident
        self._standing: dict[str, Mapping[str, Heard]] = {}  # by channel, as it was read last

    # --- for the backlog --------------------------------------------------------------------------

    def take(self, poll: Poll) -> Poll:
        """Have the steps of ``poll``, which could not be stored, leave from here; return it with ids."""
        if not self.is_open:
            self._open(poll.at.wall)
        self._newest |= {moved.incident.id: moved for moved in poll.transitions}
        steps = tuple(replace(each, id=next(self._numbers)) for each in poll.steps)
        for each in steps:
            moved = self._newest.get(each.incident) or self._read(self._moved, each.incident)
            if moved and isinstance(each, Notify):
                words = each.id, each.channel, each.notice, poll.at.wall, each.due, moved
                self._waiting[each.channel][each.id] = Waiting(*words, is_stored=False)
        return replace(poll, steps=steps)

    def settled(self, poll: Poll) -> Poll:
        """Return ``poll`` with what became of its steps meanwhile."""
        if not self._left:
            return poll
        return replace(poll, steps=tuple(map(self._settled, poll.steps)))

    def carried(self) -> Carried:
        """Return what the store has to keep before any step that ``settled`` returns."""
        return Carried(tuple(self._courses.values()), tuple(self._superseded))

    def has_carried(self) -> None:
        """Let go of what ``carried`` returned last: it is stored."""
        self._courses.clear()
        self._superseded.clear()

    def close(self) -> None:
        """Ask the store from now on: it has every poll, and all that was carried."""
        self.is_open = False
        self.closings += 1
        for each in (self._newest, self._waiting, self._left, self._told, self._standing):
            each.clear()

    def _open(self, now: float) -> None:
        """Number what comes from behind all that stands in the store."""
        self.is_open = True
        newest = self._read(self._desk.newest_id)
        # where the store cannot even be read, milliseconds: no store has had so many steps
        self._numbers = count((round(now * 1000) if newest is None else newest) + 1)

    def _moved(self, incident: str) -> Transition:
        return self._desk.case(incident).newest

    def _settled(self, step: Step) -> Step:
        if step.id not in self._left or isinstance(step, Withheld):
            return step
        delivery = self._left[step.id]
        if delivery is not None:
            return replace(step, delivery=delivery)
        reason = Withholding.SUPERSEDED
        return Withheld(step.channel, step.incident, step.notice, reason, TOOK_ITS_PLACE, step.id)

    # --- for the outbox ---------------------------------------------------------------------------

    def newest_id(self) -> int:
        """See ``Desk``; 0 where the store cannot be read."""
        return self._read(self._desk.newest_id) or 0

    def waiting(self, channel: str, most: int, besides: Collection[str] = ()) -> list[Waiting]:
        """See ``Desk``."""
        if not self.is_open:
            return self._desk.waiting(channel, most, besides)
        here = {id: each for id, each in self._waiting[channel].items() if each.incident not in besides}
        stored = self._read(self._desk.waiting, channel, most + len(self._left), besides) or []
        others = (each for each in stored if each.step not in self._left and each.step not in here)
        return sorted((*others, *here.values()), key=lambda each: each.step)[:most]

    def under_way(self, channel: str) -> tuple[list[tuple[Delivery, float]], float | None]:
        """See ``Desk``."""
        if not self.is_open:
            return self._desk.under_way(channel)
        stored, left = self._read(self._desk.under_way, channel) or ([], None)
        ours = [each for each in self._courses.values() if each.delivery.channel == channel]
        found = [each for each in stored if each[0].id not in self._courses]
        for each in ours:
            is_uncertain = each.delivery.is_uncertain or each.outcome is None
            if each.due is not None:
                found.append((replace(each.delivery, is_uncertain=is_uncertain), each.due))
        made = [each.delivery.made for each in ours if each.delivery.kind is MessageKind.INCIDENTS]
        return found, max((*made, *(() if left is None else (left,))), default=None)

    def keep(self, changes: Changes, now: float) -> tuple[int, ...]:
        """See ``Desk``."""
        if not self.is_open:
            return self._desk.keep(changes, now)
        for ended in changes.ended:
            self._end(ended, now)
        for dissolved in changes.dissolved:
            self._enter(Course(replace(dissolved, notices=()), (), None, None, now))
            for notice in dissolved.notices:
                self._left.pop(notice.step, None)
                self._waiting[notice.channel][notice.step] = notice
        for notice in changes.superseded:
            self._leave(notice, None)
            self._superseded.append(notice.step)
        return tuple(self._begin(each, due) for each, due in changes.begun)

    def references(self, channel: str, ids: Collection[str]) -> Mapping[str, tuple[str, int]]:
        """See ``Desk``."""
        if not self.is_open:
            return self._desk.references(channel, ids)
        found = dict(self._read(self._desk.references, channel, ids) or {})
        for id in ids:
            told = self._told.get((channel, id))
            if told and told.reference:
                together = self._told_under(channel, told.reference)
                others = [each for each, there in together.items() if each != id and not there.is_over]
                found[id] = told.reference, len(others)
        return found

    def attempts(self, ids: Collection[str]) -> Mapping[str, tuple[Attempt, ...]]:
        """See ``Desk``; where the store cannot be read, none."""
        if not self.is_open:
            return self._desk.attempts_at(ids)
        return self._read(self._desk.attempts_at, ids) or {}

    def heard(self, channel: str, ids: Collection[str]) -> Mapping[str, Heard]:
        """See ``Desk``."""
        if not self.is_open:
            return self._desk.heard(channel, ids)
        return self._with_told(channel, self._read(self._desk.heard, channel, ids) or {}, ids)

    def standing(self, channel: str) -> Mapping[str, Heard]:
        """See ``Desk``; where the store cannot even be read, as it was read last."""
        if not self.is_open:
            self._standing[channel] = self._desk.standing(channel)
            return self._standing[channel]
        stored = self._read(self._desk.standing, channel)
        if stored is not None:
            self._standing[channel] = stored
        ids = {id for told_in, id in self._told if told_in == channel}
        found = self._with_told(channel, self._standing.get(channel, {}), ids)
        return {id: each for id, each in found.items() if self._fires(id)}

    def told_in(self, channel: str, reference: str) -> list[Transition]:
        """See ``Desk``."""
        if not self.is_open:
            return self._desk.told_in(channel, reference)
        stored = self._read(self._desk.told_in, channel, reference) or []
        found = {each.incident.id: each for each in stored}
        found |= {id: each.heard.newest for id, each in self._told_under(channel, reference).items()}
        return [self._newest.get(id, each) for id, each in found.items()]

    # --- what becomes of messages -----------------------------------------------------------------

    def _begin(self, delivery: Delivery, due: float) -> int:
        begun = replace(delivery, id=delivery.id or next(self._numbers), attempts=delivery.attempts + 1)
        for notice in begun.notices:
            self._leave(notice, begun.id)
        self._enter(Course(begun, _steps(begun), due))
        return begun.id

    def _end(self, ended: Ended, now: float) -> None:
        delivery, outcome = ended.delivery, ended.outcome
        if outcome is None:
            outcome = Retry("one before it failed")
        else:
            delivery = replace(delivery, attempts=delivery.attempts + 1)
        if isinstance(outcome, Retry) and outcome.is_uncertain:
            delivery = replace(delivery, is_uncertain=True)
        for notice in delivery.notices:  # of one that was begun before the slate was opened too
            self._leave(notice, delivery.id)
        over = None if ended.due is not None else now
        kept = delivery if over is None else replace(delivery, notices=())
        self._enter(Course(kept, _steps(delivery), ended.due, outcome, over))
        if isinstance(outcome, Delivered):
            for notice in delivery.notices:
                self._hear(notice, outcome, now)

    def _enter(self, course: Course) -> None:
        self._courses.pop(course.delivery.id, None)  # the newest word comes last
        self._courses[course.delivery.id] = course
        if len(self._courses) > COURSES_KEPT:
            oldest = next((id for id, each in self._courses.items() if each.due is None), None)
            if oldest is not None:
                del self._courses[oldest]

    def _leave(self, notice: Waiting, delivery: int | None) -> None:
        self._left[notice.step] = delivery
        self._waiting[notice.channel].pop(notice.step, None)

    # --- what receivers have heard ----------------------------------------------------------------

    def _hear(self, notice: Waiting, outcome: Delivered, now: float) -> None:
        key = notice.channel, notice.incident
        before, moved = self._told.get(key), notice.transition
        is_anew = before is not None and (before.is_over or before.is_anew)
        heard = Heard(moved, moved, now)
        if before is not None and not before.is_over:
            heard = replace(before.heard, newest=moved)
        self._told[key] = _Told(notice.notice, heard, outcome.reference, is_anew)

    def _with_told(
        self, channel: str, stored: Mapping[str, Heard], ids: Iterable[str]
    ) -> Mapping[str, Heard]:
        """Return what receivers have heard of ``stored`` and of ``ids``, told from here too."""
        found = dict(stored)
        for id in ids:
            told = self._told.get((channel, id))
            if told is None:
                continue
            before = None if told.is_anew else found.pop(id, None)
            if not told.is_over:
                found[id] = replace(before, newest=told.heard.newest) if before else told.heard
        return found

    def _told_under(self, channel: str, reference: str) -> Mapping[str, _Told]:
        return {
            id: each
            for (told_in, id), each in self._told.items()
            if (told_in, each.reference) == (channel, reference)
        }

    def _fires(self, incident: str) -> bool:
        moved = self._newest.get(incident)
        return moved is None or moved.incident.state is State.FIRING

    def _read(self, read: Callable[..., Found], *asked: object) -> Found | None:
        """Return what the store has, as far as it can be read; None: it cannot."""
        try:
            return read(*asked)
        except StoreError as error:
            logger.debug("store not read because=%r", str(error))
            return None


def _steps(delivery: Delivery) -> tuple[int, ...]:
    return tuple(each.step for each in delivery.notices)
