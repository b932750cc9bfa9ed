"""A daemon whose growth is told beforehand, over a server that gives memory back, or says so and does not."""

import threading
from contextlib import closing
from dataclasses import dataclass, field, replace

from tests.telling import SCENE, Scripted, move
from vramwatch.assembly import open_courier, permit, rules, tell
from vramwatch.config import load
from vramwatch.control.control import ControlServer
from vramwatch.core.attribution import Surroundings
from vramwatch.core.cadence import Rates
from vramwatch.core.incidents import Subject
from vramwatch.core.model import (
    Claim,
    ClaimKind,
    Gpu,
    Instant,
    Memory,
    ProcessFacts,
    ProcessKey,
    Reading,
    Readings,
    SubjectKind,
)
from vramwatch.core.owners import OwnerRule
from vramwatch.core.ports import Feed
from vramwatch.core.units import GIB, Bytes
from vramwatch.core.verdicts import Cause, Evidence
from vramwatch.core.workers import Worker
from vramwatch.daemon import Daemon
from vramwatch.pipeline import Pipeline
from vramwatch.remedying import Hands
from vramwatch.sdk.wire import Answer, Device, Hello, Report
from vramwatch.store import History, Store
from vramwatch.store.desk import Desk
from vramwatch.treating.applying import Applier
from vramwatch.treating.treatment import OFF_FILE, Treatment

UUID = "GPU-hand"
PID = 42
KEY = ProcessKey("hand", PID, 7)
OWNER = "rule:chat"
GROWTH = 2 * GIB
GROWN = Evidence("grew by 2 GiB in 1 h", {"growth_bytes": float(GROWTH)}, 100.0, 3700.0, 61)
SUBJECT = Subject(UUID, SubjectKind.OWNER, OWNER)
HELLO = Hello(
    sdk="test", name="chat", remedies=("ask", "signal:SIGURG"), clears=("callback", "gc", "empty_cache")
)
IDLE = Report(requests_running=0, devices=(Device(UUID, kv_resident=0),))


def grown(cause=Cause.FRAGMENTATION, **told):
    """A transition: the server's memory has grown, and that is established."""
    made = move(cause=cause, evidence=GROWN, subject=SUBJECT, pid=PID, **told)
    return replace(made, scene=replace(SCENE, owner="chat", held_bytes=10 * GIB))


@dataclass
class Server:
    """Processes on one GPU, what the driver shows of them, and what workers among them answer.

    ``frees``: what a Clear frees; ``says``: the states that are answered to it, one a poll. Implements
    core.ports.Workers.
    """

    held: dict = field(default_factory=lambda: {PID: 10 * GIB})
    hellos: dict = field(default_factory=lambda: {PID: HELLO})
    report: Report = IDLE
    frees: int = GROWTH
    says: tuple = ("done",)
    pause: float = 0.01
    signals: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    waiting: list = field(default_factory=list)

    def key(self, pid):
        return ProcessKey("hand", pid, 7)

    def enrolled(self):
        return {
            self.key(pid): Worker(self.key(pid), 1000, hello, 0.0, self.report, 0.0)
            for pid, hello in self.hellos.items()
        }

    def ask(self, key, clear):
        self.asked.append((key, clear))
        self.waiting += [(key, Answer(clear.id, state, pause=self.pause)) for state in self.says]
        return

    def signal(self, key, name):
        self.signals.append((key, name))
        return

    def answers(self):
        if not self.waiting:
            return ()
        key, answer = self.waiting.pop(0)
        if answer.state == "done":
            self.held[key.pid] -= self.frees
        return ((key, answer),)


def _let_attempts_end(within=0.1):
    """Give the threads of attempts the time that a poll takes on a real machine: here it takes none."""
    for each in threading.enumerate():
        if each.name.startswith("attempt "):
            each.join(within)


@dataclass
class Place:
    """Source, people and clock in one: time passes as it is waited for. ``before``: seq -> deed."""

    server: Server
    polls: int
    seq: int = 0
    time: float = 0.0
    withheld: bool = False
    waited: list = field(default_factory=list)
    before: dict = field(default_factory=dict)
    lag = 0.0

    def now(self):
        self.seq += 1
        return Instant(self.seq, 1_700_000_000.0 + self.time, 5000.0 + self.time, "hand")

    def wait(self, interval):
        if self.polls <= 0:
            return None
        self.polls -= 1
        self.time += interval
        _let_attempts_end()
        self.waited.append(interval)
        if act := self.before.pop(self.seq + 1, None):
            act()
        return self.now()

    def wake(self):
        pass

    def stop(self):
        self.polls = 0

    def read(self, at, ask):
        claims = tuple(
            Claim(pid, None if self.withheld else Bytes(held), frozenset({ClaimKind.COMPUTE}))
            for pid, held in self.server.held.items()
        )
        used = Bytes(sum(self.server.held.values()) + GIB)
        memory = Memory(Bytes(80 * GIB), used, Bytes(80 * GIB - used), Bytes(0))
        is_asked = ask.lists is None or UUID in ask.lists or at.seq == 1
        return Readings((Reading(Gpu(UUID, "0", "Hand-made"), memory, claims if is_asked else None),))

    def release(self):
        pass

    def resume(self):
        pass

    def close(self):
        self.polls = 0

    def facts(self, pids, at):
        return {pid: ProcessFacts(self.server.key(pid), name="server", title="serve") for pid in pids}


@dataclass
class Ward:
    """Configuration, store and off-file of one service whose remedies are ``remedies`` (YAML)."""

    folder: object
    remedies: str = "{ask: {mode: apply}}"
    server: Server = field(default_factory=Server)
    place: Place | None = None
    withheld_by_driver: bool = False
    channels: str = "{}"

    @property
    def store(self):
        return self.folder / "vramwatch.db"

    @property
    def off_file(self):
        return self.folder / OFF_FILE

    def config(self):
        file = self.folder / "config.yaml"
        file.write_text(
            f"store: {{path: {self.store}}}\nsource: simulated\n"
            f"control: {{socket: {self.folder / 'control.sock'}, group: null}}\n"
            f"alerting: {{mode: tell}}\nremedies: {self.remedies}\nchannels: {self.channels}\n"
        )
        return load(file, {}, {})

    def live(self, script=None, polls=60, before=None, listening=False):
        """Run a daemon over so many polls; ``script``: seq -> transitions. Returns the actions it stored."""
        config = self.config()
        store = Store.open(self.store, "hand", "test")
        since = self.place.time if self.place else 0.0
        self.place = Place(
            self.server, polls, store.next_seq() - 1, since, self.withheld_by_driver, before=before or {}
        )
        feed = Feed(self.place, self.place, self.place, live=False)
        pipeline = Pipeline(
            feed,
            engines=(),
            rules=(OwnerRule({"command": "*"}, "chat"),),
            rates=Rates(),
            owners={},
            surroundings=Surroundings(hidden_pids=False),
        )
        alerting, outbox = tell(config, store)
        applier = Applier(Hands(self.server, open_courier), permit(config))
        treatment = Treatment(Desk(store), rules(config), self.server, applier, self.off_file)
        daemon = Daemon(
            feed,
            pipeline,
            Scripted(script if script is not None else {3: (grown(),)}),
            store,
            alerting=alerting,
            outbox=outbox,
            treatment=treatment,
            workers=self.server,
        )
        if listening:
            with closing(ControlServer(self.folder / "control.sock", None, daemon.answer)):
                daemon.run()
        else:
            daemon.run()
        return self.actions()

    def actions(self, incident="c0ffee00beef"):
        return History.open(self.store).casebook.chain(incident).actions

    def moved(self, incident="c0ffee00beef"):
        """How the incident stands."""
        return History.open(self.store).casebook.chain(incident).transitions[-1]

    def attempts(self):
        return [each for each in self.actions() if hasattr(each, "apply")]

    def withheld(self):
        return [each.withheld for each in self.actions() if hasattr(each, "withheld")]
