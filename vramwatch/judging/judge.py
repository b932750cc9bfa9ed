"""Has every poll judged once and in its order, whatever restarts lie between; keeps the checkpoints.

At start the watch takes up the newest checkpoint, and the polls that were stored after it are judged again,
in slices between two polls. Polls that come meanwhile wait, and are judged when it is their turn. Of what
is found then, that which stands in the store already is passed over; the rest is stored with the poll at
which it was found. What a person dismissed at one of them is dismissed again. So a restart between any two
polls changes no transition, and none is told twice.
"""

import logging
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from vramwatch.core.errors import StoreError
from vramwatch.core.incidents import Incident, Transition
from vramwatch.core.model import Instant, ProcessKey
from vramwatch.core.poll import Poll
from vramwatch.core.units import Seconds
from vramwatch.judging.watch import Watch
from vramwatch.store import Stand, Store, stand_of

CHECKPOINT_EVERY, CHECKPOINT_AGAIN = 3600.0, 60.0
"""Seconds of boot time from one checkpoint to the next, and until one that failed is tried again."""

LONGEST_QUEUE = 1000
"""Polls that wait to be judged, about 35 KB each where 64 processes are; more are read from the store."""

_NEVER = Instant(0, 0.0, 0.0, "")

logger = logging.getLogger(__name__)


class Judge:
    """Stands between the polls and the watch. For one thread."""

    def __init__(self, watch: Watch, store: Store) -> None:
        self._watch = watch
        self._store = store
        self._checkpoint: tuple[Instant, dict[str, object]] | None = None  # to be taken up
        self._past: Iterator[Poll] | None = None  # stored polls that are judged again; None: caught up
        self._stands: set[Stand] = set()  # what stands in the store of those
        self._then_dismissed: Mapping[int, Sequence[Incident]] = {}  # seq of one of those -> at it
        self._queue: deque[Poll] = deque()
        self._is_cut = False  # the queue was too long: its polls are to be read from the store
        self._found: tuple[Transition, ...] = ()  # late, to be stored with the next poll
        self._dismissed: list[Incident] = []  # to be closed at the next poll, at a person's word
        self._newest = _NEVER  # the poll that was judged last
        self._again = 0  # polls that were judged again
        self._due: float | None = None  # boot time of the next checkpoint; None: an hour from the next poll
        self._begins_anew = False  # without a checkpoint, and the open incidents of the store were not read

    @property
    def is_behind(self) -> bool:
        """Whether polls wait to be judged: until ``catch_up`` has done so the store must not be tended."""
        return self._checkpoint is not None or self._past is not None

    def begin(self) -> None:
        """Find out where to go on. Without a checkpoint it begins anew, and says so to the next start.

        What is open in the store goes on then, though nothing else is known of it.
        """
        self._begins_anew = True
        try:
            kept = self._store.checkpoint()
            if kept is None:
                self._newest = self._store.newest() or _NEVER
                self._adopt()
                self._store.write_checkpoint(self._newest, self._watch.checkpoint(late=True))
                return
        except StoreError as error:
            logger.error("checkpoint not kept because=%r", str(error))
            self._due = 0.0
            return
        self._begins_anew = False
        self._checkpoint = kept[0], dict(kept[1])

    def turn(self, poll: Poll) -> Poll:
        """Return ``poll`` with the transitions that are to be stored with it."""
        if self.is_behind:
            self._queue.append(poll)
            if len(self._queue) > LONGEST_QUEUE:
                self._queue.clear()
                self._is_cut = True
            return poll
        moved = (*self._found, *self._watch.turn(poll), *self._dismiss(self._dismissed, poll))
        self._found, self._dismissed, self._newest = (), [], poll.at
        return replace(poll, transitions=moved) if moved else poll

    def catch_up(self, budget: Seconds) -> None:
        """Judge again for about ``budget`` seconds."""
        until = time.perf_counter() + budget
        try:
            if self._checkpoint is not None:
                self._take_up(*self._checkpoint)
            while self._past is not None and time.perf_counter() < until:
                self._past = self._judge_next(self._past)
        except StoreError as error:
            logger.error("stored polls not judged again after=%d because=%r", self._newest.seq, str(error))
            self._past = iter(()) if self._queue else None  # what waits is judged, after a gap

    def put_down(self, *, is_end: bool = False) -> None:
        """Write a checkpoint if one is due, or if ``is_end``. Every poll so far must have been stored."""
        at = self._newest
        if self._checkpoint is not None or self._found or (self.is_behind and not is_end):
            return
        if self._due is None:
            self._due = at.boottime + CHECKPOINT_EVERY
        if not (at.boottime >= self._due or is_end or self._store.lost_checkpoint):
            return
        try:
            self._adopt()
            self._store.write_checkpoint(at, self._watch.checkpoint(late=True))
        except StoreError as error:
            logger.error("checkpoint not kept because=%r", str(error))
            self._due = at.boottime + CHECKPOINT_AGAIN
        else:
            self._due = at.boottime + CHECKPOINT_EVERY

    def hurry(self) -> None:
        """Have a checkpoint written soon: polls before it were lost, and cannot be judged again."""
        self._due = 0.0

    def dismiss(self, incident: Incident) -> None:
        """Close ``incident`` with the next poll that is judged as it comes: a person says that it is over."""
        if all(each.id != incident.id for each in self._dismissed):
            self._dismissed.append(incident)

    def forget(self, owners: Collection[str], processes: Collection[ProcessKey]) -> None:
        """Let go of all of these Owners (by key) and processes, so that no checkpoint brings it back.

        Errors: StoreError.
        """
        if self._checkpoint is not None:
            self._take_up(*self._checkpoint)
        self._watch.forget(owners, processes)
        self._found = tuple(each for each in self._found if each.incident.subject.owner not in owners)

    def close(self) -> None:
        """Let go of the store."""
        if isinstance(self._past, Generator):
            self._past.close()

    def _dismiss(self, incidents: Iterable[Incident], poll: Poll) -> Iterator[Transition]:
        """Close what a person dismissed at ``poll``, once that has been judged."""
        for incident in incidents:
            yield from self._watch.dismiss(incident, poll)

    def _take_up(self, at: Instant, state: dict[str, object]) -> None:
        self._checkpoint, self._newest, self._due = None, at, 0.0
        self._past = iter(())
        try:
            self._watch.restore(state)
        except ValueError as error:
            logger.error("checkpoint not taken up seq=%d because=%r judging=anew", at.seq, str(error))
            self._begins_anew = True
            self._adopt()
            return
        self._stands = self._store.transitions_since(at.seq)
        self._then_dismissed = self._store.dismissed_since(at.seq)
        self._past = self._store.polls_since(at.seq)

    def _adopt(self) -> None:
        """Have the watch go on with what is open in the store, once, if it began anew. Errors: StoreError."""
        if self._begins_anew:
            self._found += self._watch.adopt(self._store.open_incidents(), self._newest)
            self._begins_anew = False

    def _judge_next(self, past: Iterator[Poll]) -> Iterator[Poll] | None:
        """Judge one poll; return where the next ones come from, None if there is none."""
        poll = next(past, None)
        if poll is None and self._is_cut:
            self._is_cut = False
            return self._store.polls_since(self._newest.seq)
        while poll is None and self._queue:
            waiting = self._queue.popleft()
            poll = waiting if waiting.at.seq > self._newest.seq else None
        if poll is None:
            logger.info("judged again polls=%d late=%d", self._again, len(self._found))
            self._stands, self._then_dismissed = set(), {}
            return None
        again = self._then_dismissed.get(poll.at.seq, ())
        moved = (*self._watch.turn(poll), *self._dismiss(again, poll))
        self._found += tuple(each for each in moved if stand_of(each) not in self._stands)
        self._newest = poll.at
        self._again += 1
        return past
