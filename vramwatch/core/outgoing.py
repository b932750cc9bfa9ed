"""Decides what is sent to a channel and when, and what an answer means. Pure: the outbox carries it out.

Notices wait for ``group_wait`` and leave together, at most one message every ``group_interval``. Of several
notices of one incident the newest leaves, for it says how things stand; the others are superseded.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from vramwatch.core.forecast import Exhaustion
from vramwatch.core.incidents import Severity, Transition
from vramwatch.core.messages import Host, Item, Message, MessageKind
from vramwatch.core.policy import Channel, Notice

MOST_ITEMS = 256
"""Incidents in one message; more leave in several, one after the other."""

MOST_FIXED = 8
"""Messages that a channel tries again as they are while newer ones leave. A receiver that has left so many
unanswered is down: what is newer waits, and tells how things stand then.
"""

FIRST_AGAIN, LATEST_AGAIN = 2.0, 300.0
"""Seconds until the second attempt, and at most between two: doubled each time, shortened by chance."""

LONGEST_ASKED = 3600.0
"""Seconds that a receiver may ask us to wait (Retry-After, RFC 9110, 10.2.3)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that has not left yet; ``step`` is its id in the store. Unix seconds.

    ``is_stored``: whether it would be known after a kill.
    """

    step: int
    channel: str
    notice: Notice
    decided: float
    due: float
    transition: Transition
    is_stored: bool = True

    @property
    def incident(self) -> str:
        return self.transition.incident.id


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to one channel. ``id`` 0: not stored yet.

    ``attempts`` were begun before; each may have arrived, unless the receiver said no.
    """

    channel: str
    key: str
    made: float  # unix seconds
    notices: tuple[Waiting, ...] = ()
    kind: MessageKind = MessageKind.INCIDENTS
    text: str = ""
    id: int = 0
    attempts: int = 0
    is_uncertain: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether it is tried again as it is and no other way.

        What may have arrived would be told twice under another key; a digest or a test holds no notices that
        could leave anew.
        """
        return self.is_uncertain or self.kind is not MessageKind.INCIDENTS


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it. ``reference``: what it calls it, for later edits; None: nothing."""

    detail: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """It may work later. ``after``: seconds that the receiver asks for; None: it does not say.

    ``is_uncertain``: it may have arrived all the same (a time-out, half an answer).
    """

    reason: str
    after: float | None = None
    is_uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """It will never work as it is."""

    reason: str


Outcome = Delivered | Retry | Rejected


@dataclass(frozen=True, slots=True)
class Course:
    """How a delivery stands, whole: to be stored in place of what the store has of it. Unix seconds.

    ``steps``: the ids of those that left in it; none where it was dissolved. ``due``: of the next attempt,
    None: it is over. ``outcome`` None: an attempt is under way, or, where it is over, it was dissolved.
    """

    delivery: Delivery
    steps: tuple[int, ...]
    due: float | None
    outcome: Outcome | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of messages while it could not be stored. ``superseded``: the ids of steps."""

    courses: tuple[Course, ...] = ()
    superseded: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.courses or self.superseded)


def newest_of_each(waiting: Iterable[Waiting]) -> tuple[tuple[Waiting, ...], tuple[Waiting, ...]]:
    """Return the newest notice of each incident, in the order of their decisions, and all the others.

    An opening whose update or end has come stays an opening: nobody has heard of it yet.
    """
    newest: dict[str, Waiting] = {}
    older: list[Waiting] = []
    for each in sorted(waiting, key=lambda each: each.step):
        before = newest.pop(each.incident, None)
        if before is None:
            newest[each.incident] = each
            continue
        older.append(before)
        is_unheard = before.notice is Notice.OPENED and each.notice is not Notice.RESOLVED
        newest[each.incident] = replace(each, notice=Notice.OPENED) if is_unheard else each
    return tuple(newest.values()), tuple(older)


def may_leave(waiting: Sequence[Waiting], channel: Channel, last_left: float | None, now: float) -> bool:
    """Return whether what waits for ``channel`` leaves now (unix seconds).

    ``last_left``: when a message left for it last. Who has less than two group intervals left until memory
    ends is not kept waiting for one.
    """
    if not any(each.due <= now for each in waiting):
        return False
    if last_left is None or not 0 <= now - last_left < channel.group_interval:
        return True
    urgent = (each for each in waiting if each.due <= now and _is_urgent(each, channel, now))
    return now - last_left >= channel.group_wait and any(urgent)


def _is_urgent(waiting: Waiting, channel: Channel, now: float) -> bool:
    judgement = waiting.transition.incident.judgement
    if waiting.notice not in (Notice.OPENED, Notice.WORSE) or judgement.severity is not Severity.CRITICAL:
        return False
    forecast = judgement.forecast
    return isinstance(forecast, Exhaustion) and now < forecast.low < now + 2 * channel.group_interval


def deliveries(
    notices: Iterable[Waiting],
    channel: str,
    host: Host,
    now: float,
    references: Mapping[str, str] = MappingProxyType({}),
    *,
    older: int = 0,
) -> tuple[Delivery, ...]:
    """Return the messages in which ``notices`` leave, in their order.

    ``references``, for a channel that edits: incident -> the receiver's message that tells of it already.
    What belongs to one such message leaves by itself. So does what would not be known after a kill, and what
    was there before this life of the daemon, up to the step ``older``: whatever of it was sent before a kill
    that nobody knows of leaves without the rest again, and so under the same key.
    """
    groups: dict[tuple[str | None, bool, bool], list[Waiting]] = {}
    for each in notices:
        together = references.get(each.incident), each.is_stored, each.step <= older
        groups.setdefault(together, []).append(each)
    parts = (
        group[at : at + MOST_ITEMS] for group in groups.values() for at in range(0, len(group), MOST_ITEMS)
    )
    return tuple(Delivery(channel, key_of(host, channel, part), now, tuple(part)) for part in parts)


def key_of(host: Host, channel: str, notices: Iterable[Waiting]) -> str:
    """Return 32 hexadecimal digits that name this message, and no other, to its receiver.

    They hang on what was decided and when alone: they are the same whether it was stored yet or not.
    """
    words = [host.name, channel]
    words += [
        f"{each.incident} {each.notice} {each.transition.at.seq} {each.decided:.3f}" for each in notices
    ]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def next_attempt(attempts: int, outcome: Retry, chance: float) -> float:
    """Return the seconds until the next attempt after ``attempts`` have failed.

    Exponential back-off with equal jitter; ``chance`` lies in 0..1. What the receiver asks for counts, where
    it is longer, within ``LONGEST_ASKED``. Source: Brooker, "Exponential Backoff and Jitter" (AWS, 2015).
    """
    wait = min(LATEST_AGAIN, FIRST_AGAIN * 2.0 ** min(attempts - 1, 16))
    wait *= 0.5 + 0.5 * chance
    return max(wait, min(outcome.after or 0.0, LONGEST_ASKED))


def settled(delivery: Delivery, outcome: Outcome, now: float, give_up_after: float) -> Outcome:
    """Return ``outcome`` of an attempt at ``now``, or that the message is given up.

    That is where nobody has taken it for ``give_up_after`` seconds. A test is tried once: somebody waits.
    """
    is_late = delivery.kind is MessageKind.TEST or now - delivery.made > give_up_after
    if not isinstance(outcome, Retry) or not is_late:
        return outcome
    count = delivery.attempts + 1
    attempts = "1 attempt" if count == 1 else f"{count} attempts"
    return Rejected(f"given up after {attempts}; the last: {outcome.reason}")


def message_of(delivery: Delivery, host: Host, items: tuple[Item, ...], is_keyed: bool) -> Message:
    """Return what is sent. Receivers that take a key need not be told of a repetition."""
    may_be_repeat = delivery.is_uncertain and not is_keyed
    return Message(delivery.key, host, delivery.made, delivery.kind, items, delivery.text, may_be_repeat)
