"""A daemon whose polls, time and verdicts are told beforehand, its control socket."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from tests.edges.test_daemon import SEEING, Hand
from tests.receivers import Receiver, answering, receiving
from tests.verdicts import transition
from tests.waiting import PATIENCE, wait_until
from vramwatch.assembly import tell
from vramwatch.config import load
from vramwatch.control import control
from vramwatch.control.control import ControlError, ControlServer
from vramwatch.core.attribution import Surroundings
from vramwatch.core.cadence import Rates
from vramwatch.core.incidents import Reason, State, Subject, Terms
from vramwatch.core.model import SubjectKind
from vramwatch.core.ports import Feed
from vramwatch.core.room import Need
from vramwatch.core.scenes import Scene
from vramwatch.core.units import GIB, Bytes
from vramwatch.daemon import Daemon
from vramwatch.judging.watch import Watch
from vramwatch.pipeline import Pipeline
from vramwatch.probing.runs import Probing
from vramwatch.store import Store
from vramwatch.store.desk import Desk

SUBJECT = Subject("GPU-hand", SubjectKind.OWNER, "unit:chat.service")
TELL = "{mode: tell, group_wait: 0s, group_interval: 0s}"

SCENE = Scene("0", "NVIDIA H100", 80 << 30, 60 << 30, 17 << 30, "chat", unit="chat.service", user="alice")


class Scripted(Watch):
    """Tells of what stands in its script, by the seq of the poll."""

    def __init__(self, script) -> None:
        super().__init__({}, Terms())
        self.script = script

    def turn(self, poll):
        moved = self.script.get(poll.at.seq, ())
        return tuple(replace(each, at=poll.at) for each in moved)


def move(state=State.FIRING, reason=Reason.ESTABLISHED, id="c0ffee00beef", subject=SUBJECT, **told):
    """A transition of an incident of ``SUBJECT``; its poll is that of the script."""
    made = transition(1, id, state, reason=reason, **told)
    incident = replace(made.incident, subject=subject, opened=1_700_000_003.0)
    scene = (
        SCENE if subject.kind is SubjectKind.OWNER else Scene("0", "NVIDIA H100", 80 << 30, 60 << 30, 9 << 30)
    )
    return replace(made, incident=incident, scene=scene)


@dataclass
class House:
    """Configuration, store, socket and receiver of one service."""

    folder: object
    receiver: Receiver
    alerting: str = TELL
    channels: tuple[str, ...] = ("hook",)
    replies: list = field(default_factory=list)

    @property
    def told(self) -> list[dict]:
        """What the receiver got."""
        return [request.json for request in self.receiver.got]

    @property
    def store(self):
        return self.folder / "vramwatch.db"

    @property
    def socket(self):
        return self.folder / "control.sock"

    def write_config(self):
        """Write the configuration anew, and return its file."""
        file = self.folder / "config.yaml"
        entries = "".join(
            f"\n  {name}: {{webhook: {{url: '{self.receiver.url}/hush'}}}}" for name in self.channels
        )
        file.write_text(
            f"host: {{name: gpu7}}\nstore: {{path: {self.store}}}\nsource: simulated\n"
            f"control: {{socket: {self.socket}, group: null}}\nalerting: {self.alerting}\n"
            f"channels:{entries or ' {}'}\n"
        )
        return file

    def ask(self, verb, **arguments):
        """Return the reply of the daemon, or its refusal."""
        try:
            return control.request(self.socket, verb, arguments)
        except ControlError as refusal:
            return refusal

    def life(self, script, polls=30, between=None, every=1.0) -> list:
        """Run a daemon over ``polls`` polls; ``between``: seq -> what is asked of it before the next poll.

        Each is called on a thread of its own with the house, and its result is returned, in their order;
        the polls go on once the daemon has heard of it, and nothing is being sent.
        """
        hand = Hand([(every * n, SEEING) for n in range(polls)])
        store = Store.open(self.store, "hand", "test", host="gpu7")
        hand.seq = store.next_seq() - 1
        hand.base += hand.seq * every
        feed = Feed(hand, hand, hand, live=False)
        hidden = Surroundings(hidden_pids=False)
        pipeline = Pipeline(feed, engines=(), rules=(), rates=Rates(), owners={}, surroundings=hidden)
        alerting, outbox = tell(load(self.write_config(), {}, {}), store)
        probing = Probing(Desk(store), Need(None, Bytes(GIB), Bytes(GIB)))
        parts = {"alerting": alerting, "outbox": outbox, "probing": probing}
        daemon = Daemon(feed, pipeline, Scripted(script), store, **parts)
        replies: dict[int, object] = {}
        threads = []

        def begin(seq, question):
            def asking():
                replies[seq] = question(self)

            for each in threads:  # a verb that is called here has standard output to itself
                each.join(PATIENCE)
            thread = threading.Thread(target=asking)
            thread.start()
            threads.append(thread)
            wait_until(lambda: not daemon._errands.is_empty or not thread.is_alive())

        for seq, question in (between or {}).items():
            hand.between[seq] = lambda seq=seq, question=question: begin(seq, question)
        for seq in range(1, hand.seq + polls):
            before = hand.between.get(hand.seq + seq)
            hand.between[hand.seq + seq] = lambda before=before: (_settle(outbox), before and before())
        with closing(ControlServer(self.socket, None, daemon.answer)):
            daemon.run()
        for thread in threads:
            thread.join(PATIENCE)
        return [replies[seq] for seq in sorted(replies)]


def _settle(outbox) -> None:
    """Wait until what was handed to the channels' threads has been answered."""
    routes = outbox._routes.values()
    wait_until(lambda: all(len(route._handed) == route.sender.sent.qsize() for route in routes))


@contextlib.contextmanager
def house(folder, **options) -> Iterator[House]:
    with receiving(answering(200, "ok")) as receiver:
        yield House(folder, receiver, **options)


def author() -> str:
    """How the kernel names this process, by how its name begins."""
    return f"(uid {os.geteuid()}, pid {os.getpid()})"
