"""A store, an outbox and one channel, with the time handed in; and incidents to tell of."""

from contextlib import closing
from dataclasses import replace

from tests.polls import instant, poll
from tests.verdicts import transition
from tests.waiting import wait_until
from vramwatch.core.incidents import Reason, Severity, State
from vramwatch.core.messages import Host, Item, Message
from vramwatch.core.policy import Channel, Notice, Notify
from vramwatch.core.scenes import Scene
from vramwatch.core.units import GIB
from vramwatch.couriers.posting import HttpCourier
from vramwatch.store import Store
from vramwatch.store.desk import Desk
from vramwatch.telling.outbox import Outbox
from vramwatch.telling.sending import Line

HOST = Host("gpu7", {"rack": "b4"})
SCENE = Scene(
    "0",
    "NVIDIA H100 80GB HBM3",
    80 * GIB,
    70 * GIB,
    60 * GIB,
    owner="chat",
    team="search",
    pid=4100,
    program="python3",
    unit="chat.service",
    image="registry.local/chat:7",
)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def firing(seq, id="chat", severity=WARNING, scene=SCENE, reason=Reason.ESTABLISHED, **told):
    moved = transition(seq, id, State.FIRING, severity=severity, reason=reason, **told)
    return replace(moved, scene=scene)


def resolved(seq, id="chat", severity=WARNING, scene=SCENE, **told):
    moved = transition(seq, id, State.RESOLVED, severity=severity, reason=Reason.CLEARED, **told)
    return replace(moved, scene=scene)


def sent(notifier, *items, host=HOST, **message):
    """Have ``notifier`` send one message over real sockets, and return what came of it."""
    with closing(HttpCourier(notifier.reach(), notifier.secrets())) as courier:
        return notifier.send(
            Message("k" * 32, host, message.pop("made", 0.0), items=items, **message), courier
        )


def told(moved, notice=Notice.OPENED, **more):
    return Item(notice, moved, **more)


class Office:
    """Polls are kept, and the outbox turns, at the times that are said; ``seq`` counts seconds."""

    def __init__(self, path, notifier, host=HOST, **channel):
        self.store = Store.open(path, "nvml", "test")
        self.channel = Channel("pager", group_wait=0.0, group_interval=0.0, **channel)
        line = Line(self.channel, notifier, HttpCourier)
        self.outbox = Outbox(Desk(self.store), host, [line], 86400.0, lambda item: item)

    def poll(self, seq, *moved, notices=()):
        """Keep a poll with the transitions ``moved``, of which the channel gets ``notices``; take no turn."""
        steps = [
            each if not isinstance(each, Notice) else Notify("pager", of.incident.id, each, instant(seq).wall)
            for each, of in zip(notices, moved, strict=False)
        ]
        self.store.write(replace(poll(seq), transitions=moved, steps=tuple(steps)))
        self.outbox.expect(steps)

    def turn(self, seq):
        """Take a turn, and let what it hands out come to its end without taking another that sends."""
        self.outbox.turn(instant(seq).wall)
        route = self.outbox._routes["pager"]
        wait_until(lambda: len(route._handed) == route.sender.sent.qsize())

    def close(self):
        self.outbox.close()
        self.store.close()
