"""One channel and its thread: what is under way on it, what failed, what is tried again and when."""

import logging
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from vramwatch.core.couriers import Courier, Reach
from vramwatch.core.messages import DETAILED, Item, Message, MessageKind
from vramwatch.core.outgoing import (
    Delivered,
    Delivery,
    Outcome,
    Rejected,
    Retry,
    Waiting,
    may_leave,
    next_attempt,
)
from vramwatch.core.policy import Channel
from vramwatch.notifying import Notifier
from vramwatch.store.desk import Ended

LOOK_EVERY = 5.0
"""Seconds between two looks at what is due and held back by the group interval."""

FOLLOWED = 16
"""Messages that wait for what may follow them; older ones go without."""

Batch = tuple[tuple[Delivery, Message], ...]

logger = logging.getLogger("vramwatch.outbox")


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
        self.resume_at = 0.0  # unix seconds before which nothing is tried
        self.look_at = 0.0  # unix seconds at which something may leave
        self.last_left: float | None = None
        self.failing: str | None = None
        self.sender = Sender(line, sketch)
        self._flush = 0  # steps up to this one leave together, in several messages if they must
        self._handed: dict[int, Delivery] = {}
        self._pending: dict[str, Pending] = {}  # key -> who waits for it

    @property
    def is_free(self) -> bool:
        return not self._handed

    def take_up(self, delivery: Delivery, due: float) -> None:
        self.again.append(delivery)
        self.resume_at = max(self.resume_at, due)

    def replaced(self, line: Line) -> "Route":
        """Return this route over a new line; what its old thread still sends is told of by nobody."""
        self.sender.stop()
        route = Route(line, self.sender.sketch)
        route.last_left, route.extra, route._pending = self.last_left, self.extra, self._pending
        begun = [
            replace(each, attempts=each.attempts + 1, is_uncertain=True) for each in self._handed.values()
        ]
        route.again = [*begun, *self.again]
        return route

    def begin_extra(self, count: int) -> None:
        self._pending |= {delivery.key: pending for delivery, pending in self.extra[:count]}
        self.extra = self.extra[count:]

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
            self.sender.inbox.put(tuple(messages))

    def collect(self, now: float, give_up_after: float) -> list[Ended]:
        """Return what came of attempts since the last call."""
        ended: list[Ended] = []
        while not self.sender.sent.empty():
            id, outcome = self.sender.sent.get_nowait()
            delivery = self._handed.pop(id, None)
            if delivery is not None:
                ended.append(self._ended(delivery, outcome, now, give_up_after))
        return ended

    def _ended(self, delivery: Delivery, outcome: Outcome | None, now: float, give_up_after: float) -> Ended:
        if outcome is None:  # not tried: one before it failed
            self.again.append(delivery)
            return Ended(delivery.id, None, self.resume_at)
        attempts = delivery.attempts + 1
        if pending := self._pending.pop(delivery.key, None):
            pending.end(outcome)
        if isinstance(outcome, Retry) and (
            delivery.kind is MessageKind.TEST or now - delivery.made > give_up_after
        ):
            outcome = Rejected(f"given up after {attempts} attempts; the last: {outcome.reason}")
        _log(delivery, outcome, attempts)
        self.failing = None if isinstance(outcome, Delivered) else outcome.reason
        if not isinstance(outcome, Retry):
            return Ended(delivery.id, outcome, None)
        self.resume_at = now + next_attempt(attempts, outcome, random.random())  # noqa: S311
        uncertain = delivery.is_uncertain or outcome.is_uncertain
        self.again.append(replace(delivery, attempts=attempts, is_uncertain=uncertain))
        return Ended(delivery.id, outcome, self.resume_at)


class Sender(threading.Thread):
    """The thread of one channel: sends what it is given, in order; what follows a failure is not tried."""

    def __init__(self, line: Line, sketch: Sketch) -> None:
        super().__init__(name=f"channel {line.channel.name}", daemon=True)
        self.inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self.sent: queue.SimpleQueue[tuple[int, Outcome | None]] = queue.SimpleQueue()
        self.sketch = sketch
        self._line = line
        self._delivered: deque[tuple[Message, Delivered]] = deque(maxlen=FOLLOWED)
        self.start()

    def stop(self) -> None:
        self.inbox.put(None)

    def run(self) -> None:
        notifier = self._line.notifier
        courier = None
        while (batch := self._next(courier)) is not None:
            courier = courier or self._line.open_courier(notifier.reach(), notifier.secrets())
            has_failed = False
            for delivery, message in batch:
                outcome = None if has_failed else self._send(message, courier)
                has_failed = has_failed or isinstance(outcome, Retry)
                self.sent.put((delivery.id, outcome))
        if courier:
            courier.close()

    def _next(self, courier: Courier | None) -> Batch | None:
        """Return what is to be sent next; while there is nothing, do what may follow what was sent."""
        while courier and self._delivered and self.inbox.empty():
            self._follow(*self._delivered.popleft(), courier)
        return self.inbox.get()

    def _send(self, message: Message, courier: Courier) -> Outcome:
        try:
            items = tuple(self.sketch(each) for each in message.items[:DETAILED])
            told = replace(message, items=(*items, *message.items[DETAILED:]))
            outcome = self._line.notifier.send(told, courier)
        except Exception as error:  # a notifier's fault must not end the thread; what it says may be secret
            logger.exception("notifier failed channel=%s", self._line.channel.name, exc_info=_bare(error))
            return Retry(f"the notifier failed ({type(error).__name__})", is_uncertain=True)
        if isinstance(outcome, Delivered):
            self._delivered.append((told, outcome))
        return outcome

    def _follow(self, told: Message, outcome: Delivered, courier: Courier) -> None:
        name = self._line.channel.name
        try:
            done = self._line.notifier.follow(told, outcome, courier)
        except Exception as error:
            logger.exception("notifier failed channel=%s", name, exc_info=_bare(error))
            return
        if done:
            logger.info("message channel=%s key=%s afterwards=%r", name, told.key, done)


def _bare(error: Exception) -> Exception:
    """Return an exception of the same place without its words, which may hold a secret."""
    return type(error)().with_traceback(error.__traceback__)


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
