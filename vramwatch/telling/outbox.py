"""Carries out the steps that the store holds: sends, tries again, records what came of it.

Each channel has a thread of its own, so that one that is dead delays no other and no poll. All that is
decided and stored happens on the thread of the polls, between two of them: that an attempt begins is in the
store before it does, so that after ``kill -9`` it is known which message may have arrived.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vramwatch.core.errors import StoreError
from vramwatch.core.messages import Host, Item, Message, MessageKind
from vramwatch.core.outgoing import (
    MOST_FIXED,
    MOST_ITEMS,
    Delivery,
    Waiting,
    deliveries,
    message_of,
    newest_of_each,
)
from vramwatch.core.policy import Notice, Notify, Step
from vramwatch.store.desk import Changes, Desk
from vramwatch.telling.sending import Line, Pending, Route, Sketch
from vramwatch.telling.slate import Slate

HANDED_OUT = 2
"""Messages of one flush that a channel's thread is given at once; of each it is kept that it began."""

CLOSE_WITHIN = 3.0
"""Seconds at the end for messages that are being sent."""

logger = logging.getLogger(__name__)


class Outbox:
    """For the thread of the polls; ``close`` ends the threads of its channels."""

    def __init__(
        self, desk: Desk, host: Host, lines: Iterable[Line], give_up_after: float, sketch: Sketch
    ) -> None:
        """``give_up_after``: seconds after which a message that nobody takes is given up."""
        self.slate = Slate(desk)
        """What is kept of messages while the store cannot be written; ``Backlog`` carries it there."""
        self._host = host
        self._give_up_after = give_up_after
        self._sketch = sketch
        self._fault: str | None = None
        self._now = 0.0
        self._closings = 0
        self._older = self.slate.newest_id()  # the newest step from before this life
        self._routes = {line.channel.name: Route(line, sketch) for line in lines}

    @property
    def host(self) -> Host:
        """Under which name this machine speaks."""
        return self._host

    @property
    def channels(self) -> Iterable[str]:
        return self._routes

    @property
    def under_way(self) -> Mapping[str, int]:
        """Channel -> how many messages are being sent, or failed and are tried again."""
        return {name: route.under_way for name, route in self._routes.items()}

    @property
    def failing(self) -> Mapping[str, str]:
        """Channel -> why its newest attempt failed; those alone that fail."""
        return {name: why for name, route in self._routes.items() if (why := route.failing)}

    def reconfigure(self, lines: Iterable[Line], give_up_after: float) -> None:
        """Tell through these from now on; what is under way on a channel that stays goes on there."""
        self._give_up_after = give_up_after
        before, self._routes = self._routes, {}
        for line in lines:
            known = before.pop(line.channel.name, None)
            if known is None:
                known = Route(line, self._sketch)
            elif known.line != line:  # what is alike goes on, so that nothing in its hands is sent twice
                known = known.replaced(line)
            self._routes[line.channel.name] = known
        for route in before.values():
            route.sender.stop()

    def begin_anew(self) -> None:
        """Go on from what stands in the store: something was deleted there."""
        for route in self._routes.values():
            route.read_again()

    def expect(self, steps: Iterable[Step]) -> None:
        """Look for ``steps``, which are stored or on the slate now, when they are due."""
        for step in steps:
            if isinstance(step, Notify) and step.channel in self._routes:
                route = self._routes[step.channel]
                route.look_at = min(route.look_at, step.due)

    def send(self, channel: str, kind: MessageKind, text: str, now: float) -> Pending | None:
        """Have a test or a digest leave for ``channel``; None: there is no such channel."""
        route = self._routes.get(channel)
        if route is None:
            return None
        key = self._key(channel, kind, now)
        pending = Pending()
        route.extra.append((Delivery(channel, key, now, kind=kind, text=text), pending))
        return pending

    def turn(self, now: float) -> None:
        """Keep what came of attempts, and have what is due leave. ``now`` in unix seconds; never waits."""
        self._now = now
        if self._closings != self.slate.closings:
            self._closings = self.slate.closings
            for route in self._routes.values():
                route.is_known = False
        for route in self._routes.values():
            try:
                self._turn(route, now)
            except StoreError as error:
                route.is_known = False
                self._tell_fault(str(error))
            else:
                self._fault = None

    def close(self) -> None:
        """Let what is being sent come to an end for a while, keep what came of it, and end the threads."""
        for route in self._routes.values():
            route.sender.stop()
        until = time.monotonic() + CLOSE_WITHIN
        now = self._now
        for route in self._routes.values():
            route.sender.join(max(0.0, until - time.monotonic()))
            try:
                route.collect(now, self._give_up_after)
                self._keep(route, Changes(ended=route.ended), now)
            except StoreError as error:
                self._tell_fault(str(error))

    def _turn(self, route: Route, now: float) -> None:
        route.collect(now, self._give_up_after)
        if not route.is_known:
            self._keep(route, Changes(ended=route.ended), now)
            route.take_up(*self.slate.under_way(route.name))
        changes = Changes(ended=route.ended)
        if route.is_free and (route.extra or now >= route.resume_at):  # a test does not wait for a back-off
            changes = self._leaving(route, changes, now)
        if changes:
            begun = self._keep(route, changes, now)
            handed = [replace(each, id=id) for (each, _), id in zip(changes.begun, begun, strict=True)]
            route.hand_out([(each, self._message(route, each)) for each in handed])
        is_well = not self.slate.is_open  # a heartbeat says that polls are kept; what lapses goes on
        if route.is_beat_due(now) and (is_well or not route.line.notifier.BEATS):
            self._beat(route, now)

    def _keep(self, route: Route, changes: Changes, now: float) -> tuple[int, ...]:
        """Keep ``changes``, with all that has ended; what cannot be kept is kept with the next ones."""
        begun = self.slate.keep(changes, now)
        route.ended = []
        return begun

    def _beat(self, route: Route, now: float) -> None:
        """Have a beat leave, with all that stands where what was told lapses."""
        standing = self.slate.standing(route.name) if route.line.notifier.LAPSES else {}
        items = tuple(Item(Notice.UPDATED, each.newest, heard=each) for each in standing.values())
        key = self._key(route.name, MessageKind.HEARTBEAT, now)
        beat = Delivery(route.name, key, now, kind=MessageKind.HEARTBEAT)
        route.beat(beat, message_of(beat, self._host, items, is_keyed=True), now)

    def _leaving(self, route: Route, changes: Changes, now: float) -> Changes:
        """Return ``changes`` with what is to leave for a channel whose thread is free."""
        if route.extra:
            leaving = [delivery for delivery, _ in route.extra[:HANDED_OUT]]
            route.begin_extra(len(leaving))
            return replace(changes, begun=[(each, now) for each in leaving])
        if not route.again and now < route.look_at:
            return changes
        waiting = self._waiting(route)
        is_anew = bool(waiting) and (len(route.again) > len(route.fixed) or route.may_leave(waiting, now))
        if not is_anew:
            return replace(changes, begun=[(each, now) for each in route.leave_again(HANDED_OUT)])
        dissolved = route.dissolve()
        notices, older = newest_of_each((*(each for one in dissolved for each in one.notices), *waiting))
        route.has_left(waiting, now)
        messages = deliveries(
            notices, route.name, self._host, now, self._edited(route, notices), older=self._older
        )[:HANDED_OUT]
        # what may never be taken comes after what is new
        begun = [(each, now) for each in (*messages, *route.leave_again(HANDED_OUT - len(messages)))]
        return replace(changes, dissolved=dissolved, superseded=older, begun=begun)

    def _waiting(self, route: Route) -> list[Waiting]:
        """Return the notices that may leave anew: those of incidents of which no older one may yet arrive."""
        fixed = route.fixed
        if len(fixed) >= MOST_FIXED:
            return []
        besides = {each.incident for one in fixed for each in one.notices}
        return self.slate.waiting(route.name, HANDED_OUT * MOST_ITEMS, besides)

    def _message(self, route: Route, delivery: Delivery) -> Message:
        ids = [each.incident for each in delivery.notices]
        notifier = route.line.notifier
        known = self.slate.references(route.name, ids) if ids else {}
        heard = self.slate.heard(route.name, ids) if ids and notifier.LAPSES else {}
        items = [
            Item(each.notice, each.transition, *known.get(each.incident, (None, 0)))
            for each in delivery.notices
        ]
        done = self.slate.attempts(ids) if ids else {}
        items = [
            replace(
                each,
                heard=heard.get(each.incident.id),
                told_at=self._now,
                attempts=done.get(each.incident.id, ()),
            )
            for each in items
        ]
        message = message_of(delivery, self._host, tuple(items), notifier.KEYED)
        reference = items[0].reference if items else None
        if reference is None or not notifier.edits:
            return message
        told = self.slate.told_in(route.name, reference)
        return replace(message, beside=tuple(each for each in told if each.incident.id not in ids))

    def _edited(self, route: Route, notices: Sequence[Waiting]) -> Mapping[str, str]:
        """Return incident -> the message that is to be edited; empty where the channel edits none."""
        if not route.line.notifier.edits:
            return {}
        known = self.slate.references(route.name, [each.incident for each in notices])
        return {incident: reference for incident, (reference, _) in known.items()}

    def _key(self, channel: str, kind: MessageKind, now: float) -> str:
        return hashlib.sha256(f"{self._host.name} {channel} {kind} {now}".encode()).hexdigest()[:32]

    def _tell_fault(self, fault: str) -> None:
        if fault != self._fault:
            logger.error("messages not kept because=%r", fault)
        self._fault = fault
