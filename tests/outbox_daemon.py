"""The part of a daemon that tells, over receivers that note what arrives; and its kill at any place."""

import os
import random
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import ClassVar

from tests.polls import instant, poll
from tests.verdicts import transition
from vramwatch.backlog import Backlog
from vramwatch.core.incidents import Reason, State
from vramwatch.core.messages import Host
from vramwatch.core.outgoing import Delivered, Retry
from vramwatch.core.policy import Channel
from vramwatch.notifying import Notifier
from vramwatch.store import History, Store
from vramwatch.store.desk import Desk
from vramwatch.store.opening import driver
from vramwatch.store.telling import steps_of
from vramwatch.telling.alerting import Alerting
from vramwatch.telling.outbox import Outbox
from vramwatch.telling.sending import Line

HOST = Host("gpu7")
DAY = 86400.0


class Killed(BaseException):
    """Where it is raised the process ends: nothing after it happens."""


@dataclass
class Receiver:
    """What arrived, in its order; ``answers`` are given in turn, then it takes everything."""

    answers: list = field(default_factory=list)
    got: list = field(default_factory=list)

    def take(self, message):
        self.got.append(message)
        answer = self.answers.pop(0) if self.answers else Delivered("ok")
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def notices(self):
        return [(item.incident.id, item.notice) for message in self.got for item in message.items]


class Waiting(Receiver):
    """Takes nothing until ``may_answer``; ``asked`` is set once it was asked."""

    def __init__(self):
        super().__init__()
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def take(self, message):
        self.asked.set()
        assert self.may_answer.wait(10)
        return super().take(message)


class Keyed(Notifier):
    KEYED: ClassVar[bool] = True
    receiver: object

    def send(self, message, courier):
        return self.receiver.take(message)


class Keyless(Keyed):
    KEYED: ClassVar[bool] = False


class NoCourier:
    def close(self):
        pass


def line(channel, notifier):
    return Line(channel, notifier, lambda reach, secrets: NoCourier())


AT_ONCE = Channel("hook", group_wait=0.0, group_interval=0.0)


class Daemon:
    """The part of a daemon that tells: a store, what decides, what sends. Time is handed in."""

    def __init__(self, path, *lines, desk=Desk, give_up_after=DAY):
        self.store = Store.open(path, "simulated", "1")
        self.desk = desk(self.store)
        self.alerting = Alerting(self.desk, [each.channel for each in lines], None)
        self.outbox = Outbox(self.desk, HOST, lines, give_up_after, lambda item: item)
        self.backlog = Backlog(self.store, self.outbox.slate)
        self.seq = self.store.next_seq() - 1

    def turn(self, *moved, after=1.0, settle=True):
        """Take one poll at which ``moved`` happened, and wait until what leaves has been answered."""
        self.seq += 1
        self.now = getattr(self, "now", instant(self.seq).wall) + after
        at = replace(instant(self.seq), wall=self.now)
        told = tuple(replace(each, at=at) for each in moved)
        told = self.alerting.turn(replace(poll(self.seq), at=at, transitions=told))
        self.backlog.remember(told)
        self.outbox.expect(told.steps)
        self.outbox.turn(self.now)
        if settle:
            self.settle()

    def settle(self):
        """Wait until all that left has been answered, what leaves upon an answer too."""
        while self._awaited():
            until = time.monotonic() + 10
            while any(route.sender.sent.qsize() < len(route._handed) for route in self._awaited()):
                assert time.monotonic() < until, "the sender does not answer"
                time.sleep(0.0002)
            self.outbox.turn(self.now)

    def _awaited(self):
        routes = self.outbox._routes.values()
        return [each for each in routes if each._handed and each.sender.is_alive()]

    def lock(self, *, is_locked=True):
        """Let the store be read and not written, as on a disk that is full; or let it be written again."""
        driver(self.store._connection).execute(f"PRAGMA query_only = {is_locked:d}")

    def die_with_its_threads(self):
        """A kill takes every thread at once."""
        if not all(route.sender.is_alive() for route in self.outbox._routes.values()):
            raise Killed

    def kill(self):
        self.store._connection.close()
        os.close(self.store._lock)
        self.store._lock = None
        for route in self.outbox._routes.values():
            route.sender.stop()
            route.sender.join(10)

    def close(self):
        self.outbox.close()
        self.backlog.close()


def fires(id="chat", **told):
    return transition(1, id, State.FIRING, reason=Reason.ESTABLISHED, **told)


def ends(id="chat"):
    return transition(1, id, State.RESOLVED, reason=Reason.CLEARED)


def chain(path, incident="chat"):
    with closing(History.open(path)) as history, history._reading() as connection:
        return steps_of(connection, incident)


class Fragile(Desk):
    """A desk at which the process may be killed before or after anything is kept."""

    chance: ClassVar[random.Random]
    risk: ClassVar[float] = 0.0
    is_calm: ClassVar[bool] = False  # from here on nobody is killed, and every receiver takes what it is told

    def keep(self, changes, now):
        self.maybe_die(self.chance)
        kept = super().keep(changes, now)
        self.maybe_die(self.chance)
        return kept

    @classmethod
    def maybe_die(cls, chance):
        if chance.random() < cls.risk:
            raise Killed


@dataclass
class Fatal(Receiver):
    """A receiver at which the process may be killed before, or after, a message arrives.

    Its chances are its own: which thread comes first must decide nothing.
    """

    chance: random.Random = field(kw_only=True)

    def take(self, message):
        if Fragile.is_calm:
            return super().take(message)
        Fragile.maybe_die(self.chance)
        if self.chance.random() < 0.1:
            return Retry("busy")
        answer = super().take(message)
        Fragile.maybe_die(self.chance)
        if self.chance.random() < 0.05:
            return Retry("no answer", is_uncertain=True)
        return answer


def fatal(seed):
    return {name: Fatal(chance=random.Random(f"{name} {seed}")) for name in ("hook", "mail")}
