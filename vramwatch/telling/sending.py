"""One channel and its thread: what is under way on it, what failed, what is tried again and when."""

import contextlib
import logging
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from vramwatch.core.couriers import Courier, Reach
from vramwatch.core.errors import without_words
from vramwatch.core.messages import DETAILED, Item, Message, MessageKind
from vramwatch.core.outgoing import (
    LONGEST_ASKED,
    Delivered,
    Delivery,
    Outcome,
    Retry,
    Waiting,
    may_leave,
    next_attempt,
    settled,
)
from vramwatch.core.policy import Channel
from vramwatch.notifying import Notifier
from vramwatch.store.desk import Ended
from vramwatch.telling.reaching import unreachable

LOOK_EVERY = 5.0
"""Seconds between two looks at what is due and held back by the group interval."""

REACHED_EVERY = 60.0
"""Seconds between two attempts to connect to a receiver that could not be reached."""

FOLLOWED = 16
"""Messages that wait for what may follow them; older ones go without."""

logger = logging.getLogger("vramwatch.telling.outbox")


@dataclass(slots=True)
class Batch:
    """Messages that a channel's thread has in hand, in their order.

    ``is_recalled``: what tells of incidents, and was not tried yet, is tried no more: something of it may be
    forgotten.
    """

    messages: Sequence[tuple[Delivery, Message]]
    is_recalled: bool = False

    def may_be_tried(self, delivery: Delivery) -> bool:
        return not (self.is_recalled and delivery.notices)


@dataclass(frozen=True, slots=True)
class Line:
    """A channel and what carries its messages. ``open_courier`` is called on the channel's thread."""

    channel: Channel
    notifier: Notifier
    open_courier: Callable[[Reach, Iterable[str]], Courier]


Sketch = Callable[[Item], Item]
"""Returns the item with its course, as history has it; called on a channel's thread."""


class Pending:
    """A message that somebody waits for: ``wait`` from another thread."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._outcome: Outcome | None = None

    def end(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._done.set()

    def wait(self, seconds: float) -> Outcome | None:
        """Return what came of the first attempt; None: nothing within so many seconds."""
        self._done.wait(seconds)
        return self._outcome


class Route:
    """What is under way on one channel."""

    def __init__(self, line: Line, sketch: Sketch) -> None:
        self.line = line
        self.name = line.channel.name
        self.again: list[Delivery] = []  # failed, or cut off by the end of a daemon; in their order
        self.extra: list[tuple[Delivery, Pending]] = []  # tests and digests, to leave first
        self.ended: list[Ended] = []  # what came of attempts, and is not kept yet
        self.is_known = False  # whether ``again`` is what stands in the store
        self.resume_at = 0.0  # unix seconds before which nothing is tried
        self.look_at = 0.0  # unix seconds at which something may leave
        self.last_left: float | None = None
        self._failing: str | None = None
        self._has_sent = False
        self.sender = Sender(line, sketch)
        self._flush = 0  # steps up to this one leave together, in several messages if they must
        self._handed: dict[int, Delivery] = {}
        self._batch = Batch(())
        self._doubtful: set[int] = set()  # handed out before something was forgotten
        self._pending: dict[str, Pending] = {}  # key -> who waits for it
        self._beaten = -inf  # unix seconds
        self._pause = 0.0  # seconds from then on without a beat

    @property
    def is_free(self) -> bool:
        return not self._handed

    @property
    def under_way(self) -> int:
        """How many messages are being sent, or are to be tried again."""
        return len(self._handed) + len(self.again) + len(self.extra)

    @property
    def failing(self) -> str | None:
        """Why its newest attempt failed; before the first one, why its receiver cannot be reached."""
        return self._failing if self._has_sent else self.sender.unreachable

    def take_up(self, under_way: Sequence[tuple[Delivery, float]], last_left: float | None) -> None:
        """Go on from what stands in the store: deliveries with when they are due, and what left last."""
        self.is_known, self.last_left, self.look_at = True, last_left, 0.0
        taken = [each for each in under_way if each[0].id not in self._handed]
        self.again = [delivery for delivery, _ in taken]
        self.resume_at = max((due for _, due in taken), default=0.0)

    def read_again(self) -> None:
        """Have what is under way be read from the store anew: something was deleted there."""
        self.is_known = False
        self._batch.is_recalled = True
        self._doubtful |= self._handed.keys()

    def replaced(self, line: Line) -> "Route":
        """Return this route over a new line; what its old thread still sends is told of by nobody."""
        self.sender.stop()
        route = Route(line, self.sender.sketch)
        route.extra, route._pending, route.ended = self.extra, self._pending, self.ended
        return route

    def begin_extra(self, count: int) -> None:
        self._pending |= {delivery.key: pending for delivery, pending in self.extra[:count]}
        self.extra = self.extra[count:]

    @property
    def fixed(self) -> list[Delivery]:
        """Those that failed and are tried again as they are."""
        return [each for each in self.again if each.is_fixed]

    def leave_again(self, most: int) -> list[Delivery]:
        """Return the first ``most`` of those that failed, which wait no more."""
        leaving, self.again = self.again[:most], self.again[most:]
        return leaving

    def dissolve(self) -> list[Delivery]:
        """Return those that failed and whose notices may leave anew, which wait no more."""
        dissolved = [each for each in self.again if not each.is_fixed]
        self.again = self.fixed
        return dissolved

    def may_leave(self, waiting: Sequence[Waiting], now: float) -> bool:
        """Whether what waits leaves now; if not, when to look again is noted."""
        if waiting and waiting[0].step <= self._flush:
            return True
        if may_leave(waiting, self.line.channel, self.last_left, now):
            return True
        dues = [each.due for each in waiting if each.due > now]
        again = [now + LOOK_EVERY] if len(dues) < len(waiting) else []
        self.look_at = min((*dues, *again), default=inf)
        return False

    def has_left(self, waiting: Sequence[Waiting], now: float) -> None:
        if waiting and waiting[-1].step > self._flush:
            self._flush = max(each.step for each in waiting)
            self.last_left = now
        self.look_at = now  # there may be more than were asked for

    def hand_out(self, messages: Sequence[tuple[Delivery, Message]]) -> None:
        if messages:
            self._handed = {delivery.id: delivery for delivery, _ in messages}
            self._batch = Batch(tuple(messages))
            self.sender.inbox.put(self._batch)

    def collect(self, now: float, give_up_after: float) -> None:
        """Add what came of attempts since the last call to ``ended``."""
        untried: list[Delivery] = []
        while not self.sender.sent.empty():
            id, outcome = self.sender.sent.get_nowait()
            delivery = self._handed.pop(id, None)
            if delivery is None:
                continue
            if delivery.kind is MessageKind.HEARTBEAT:
                if outcome is not None:
                    self._has_beaten(outcome, now)
            elif outcome is None:  # recalled, or one before it failed, which is the last to be tried again
                self._ask_the_store_of(delivery)
                untried.append(delivery)
                self.ended.append(Ended(delivery, None, self.resume_at))
            else:
                self.ended.append(self._ended(delivery, outcome, now, give_up_after))
        self.again = untried + self.again

    def is_beat_due(self, now: float) -> bool:
        """Whether a beat leaves now: none does while anything is under way, and none is made up for."""
        is_pausing = 0 <= now - self._beaten < self._pause
        return self.line.notifier.beat_every is not None and self.is_free and not is_pausing

    def beat(self, delivery: Delivery, message: Message, now: float) -> None:
        self._beaten, self._pause = now, self.line.notifier.beat_every or 0.0
        self.hand_out([(delivery, message)])

    def _has_beaten(self, outcome: Outcome, now: float) -> None:
        self._has_sent = True
        if isinstance(outcome, Delivered):
            if self._failing and not self.again:
                logger.info("beats arrive again channel=%s", self.name)
                self._failing = None
            return
        if self._failing is None:
            logger.warning("beat channel=%s outcome=failed detail=%r", self.name, outcome.reason)
        self._failing = outcome.reason
        self._heed(outcome, now)

    def _heed(self, outcome: Outcome, now: float) -> None:
        """Have no beat leave within the time that the receiver asks for."""
        asked = min(outcome.after or 0.0, LONGEST_ASKED) if isinstance(outcome, Retry) else 0.0
        if asked > self._beaten + self._pause - now:
            self._beaten, self._pause = now, asked

    def _ended(self, delivery: Delivery, outcome: Outcome, now: float, give_up_after: float) -> Ended:
        attempts = delivery.attempts + 1
        if pending := self._pending.pop(delivery.key, None):
            pending.end(outcome)
        outcome = settled(delivery, outcome, now, give_up_after)
        _log(delivery, outcome, attempts)
        self._has_sent = True
        self._failing = None if isinstance(outcome, Delivered) else outcome.reason
        if not isinstance(outcome, Retry):
            self.look_at = now  # newer notices of its incidents have waited for it
            return Ended(delivery, outcome, None)
        self._heed(outcome, now)
        self._ask_the_store_of(delivery)
        self.resume_at = now + next_attempt(attempts, outcome, random.random())  # noqa: S311 - a spread
        uncertain = delivery.is_uncertain or outcome.is_uncertain
        self.again.append(replace(delivery, attempts=attempts, is_uncertain=uncertain))
        return Ended(delivery, outcome, self.resume_at)

    def _ask_the_store_of(self, delivery: Delivery) -> None:
        """Leave it to the store whether ``delivery`` is tried again, if something was forgotten meanwhile."""
        if delivery.id in self._doubtful:
            self._doubtful.discard(delivery.id)
            self.is_known = False


class Sender(threading.Thread):
    """The thread of one channel: sends what it is given, in order; what follows a failure is not tried."""

    def __init__(self, line: Line, sketch: Sketch) -> None:
        super().__init__(name=f"channel {line.channel.name}", daemon=True)
        self.inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self.sent: queue.SimpleQueue[tuple[int, Outcome | None]] = queue.SimpleQueue()
        self.unreachable: str | None = None
        """Why its receiver takes no connection, before anything was sent; None: it does, or not known yet."""
        self.sketch = sketch
        self._line = line
        self._delivered: deque[tuple[Message, Delivered]] = deque(maxlen=FOLLOWED)
        self.start()

    def stop(self) -> None:
        self.inbox.put(None)

    def run(self) -> None:
        notifier = self._line.notifier
        self.unreachable = unreachable(notifier)
        courier = None
        while (batch := self._next(notifier, courier)) is not None:
            courier = courier or self._line.open_courier(notifier.reach(), notifier.secrets())
            has_failed = False
            for delivery, message in batch.messages:
                is_tried = not has_failed and batch.may_be_tried(delivery)
                outcome = self._send(message, courier) if is_tried else None
                has_failed = has_failed or isinstance(outcome, Retry)
                self.sent.put((delivery.id, outcome))
        if courier:
            courier.close()

    def _next(self, notifier: Notifier, courier: Courier | None) -> Batch | None:
        """Return what is to be sent next; while there is nothing, do what may follow what was sent.

        Before anything was sent, find out whether a receiver can be reached again.
        """
        while courier and self._delivered and self.inbox.empty():
            self._follow(*self._delivered.popleft(), courier)
        while self.unreachable:
            with contextlib.suppress(queue.Empty):
                return self.inbox.get(timeout=REACHED_EVERY)
            self.unreachable = unreachable(notifier)
        return self.inbox.get()

    def _send(self, message: Message, courier: Courier) -> Outcome:
        if message.kind is not MessageKind.HEARTBEAT:
            items = tuple(self.sketch(each) for each in message.items[:DETAILED])
            message = replace(message, items=(*items, *message.items[DETAILED:]))
        outcome = attempt(self._line, message, courier)
        if isinstance(outcome, Delivered) and message.items:
            self._delivered.append((message, outcome))
        return outcome

    def _follow(self, told: Message, outcome: Delivered, courier: Courier) -> None:
        name = self._line.channel.name
        try:
            done = self._line.notifier.follow(told, outcome, courier)
        except Exception as error:  # as in ``attempt``
            logger.exception("notifier failed channel=%s", name, exc_info=without_words(error))
            return
        if done:
            logger.info("message channel=%s key=%s afterwards=%r", name, told.key, done)


def attempt(line: Line, message: Message, courier: Courier) -> Outcome:
    """Send ``message`` through ``line`` and return what came of it; never raises."""
    try:
        return line.notifier.send(message, courier)
    except Exception as error:  # a notifier's fault must not end the thread; what it says may be secret
        logger.exception("notifier failed channel=%s", line.channel.name, exc_info=without_words(error))
        return Retry(f"the notifier failed ({type(error).__name__})", is_uncertain=True)


def _log(delivery: Delivery, outcome: Outcome, attempts: int) -> None:
    word = type(outcome).__name__.lower()
    detail = outcome.detail if isinstance(outcome, Delivered) else outcome.reason
    level = logging.INFO if isinstance(outcome, Delivered) else logging.WARNING
    logger.log(
        level,
        "message channel=%s outcome=%s attempt=%d incidents=%d key=%s detail=%r",
        delivery.channel,
        word,
        attempts,
        len(delivery.notices),
        delivery.key,
        detail,
    )
