"""Real workers with the SDK, whose memory the driver of the tests shows: who gives back, and who lies."""

import importlib.util
import os
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests import treated as told
from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import Process
from tests.sdk.programs import program
from tests.telling import Scripted, move
from tests.waiting import wait_until
from tests.workers import until_enrolled
from vramwatch.assembly import assemble, open_feed, tell, treat
from vramwatch.clock import read_boot_id
from vramwatch.config import load
from vramwatch.core.attempts import Result
from vramwatch.core.incidents import Subject
from vramwatch.core.ladder import Hindrance
from vramwatch.core.model import SubjectKind
from vramwatch.core.units import GIB, MIB
from vramwatch.core.verdicts import Cause
from vramwatch.daemon import Daemon
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.store import History, Store

BASE, BLOCK, BLOCKS = 9 * GIB, 32 * MIB, 8
GROWTH = BLOCK * BLOCKS
GROWN = replace(told.GROWN, numbers={"growth_bytes": float(GROWTH)})

MEMORY = {
    "numbers": f"cache = [{BLOCK}] * {BLOCKS}\nsize = int",
    "tensors": (
        f"import torch\ncache = [torch.ones({BLOCK}, dtype=torch.uint8) for _ in range({BLOCKS})]\n"
        "size = lambda tensor: tensor.untyped_storage().nbytes()"
    ),
}
"""What a worker's cache is made of: "tensors" are real ones, on the CPU, which the driver mirrors."""

SERVER = """
import signal
from pathlib import Path
held = Path({held!r})
{memory}
def tell():
    held.write_text(str({base} + sum(map(size, cache))))
def drop():
    {drop}
    tell()
tell()
{enrol}
print("ready", flush=True)
for line in sys.stdin:
    if line == "request\\n":
        request = worker.request()
        request.__enter__()
    elif line == "end\\n":
        request.__exit__(None, None, None)
        worker.safe_point()
    print("so", flush=True)
"""
ENROLS = """
worker = enroll(name={name!r}, on_pressure=drop, clears=('callback',), idle_after=0.1, cooldown=0)
with worker.request():
    pass  # it is known to be idle afterwards
"""


class Town:
    """A driver with one GPU, workers on it, and a daemon that is told of their growth."""

    def __init__(self, folder, driver, house, memory):
        self.folder, self.driver, self.house, self.memory = folder, driver, house, memory
        self.path = folder / "enrol.sock"
        self.reception = Reception(self.path, Admission(), Bounds(report_every=0.2), read_boot_id())
        house.callback(self.reception.close)
        self.pids = {}

    def environment(self):
        return {**os.environ, "VRAMWATCH_SOCKET": str(self.path)}

    def worker(self, name, *, drop="cache.clear()", enrols=True):
        held = self.folder / f"{name}.bytes"
        text = SERVER.format(
            held=str(held),
            memory=MEMORY[self.memory],
            base=BASE,
            drop=drop,
            enrol=ENROLS.format(name=name) if enrols else "",
        )
        running = self.house.enter_context(program(self, f"# {name}\n{text}"))
        assert running.stdout.readline() == "ready\n"
        self.pids[name] = running.pid
        if enrols:
            until_enrolled(self.reception, running.pid)
        return running

    def mirror(self):
        """Have the driver show what the workers hold."""
        processes = [
            Process(pid, int((self.folder / f"{name}.bytes").read_text() or BASE + GROWTH))
            for name, pid in self.pids.items()
        ]
        self.driver.gpus[0].set_processes(processes)

    def live(self, remedies, until):
        """Run the daemon until ``until`` holds of what it has stored, by the name of a worker."""
        rules = "".join(f"\n  - {{match: {{command: '*# {name}*'}}, name: {name}}}" for name in self.pids)
        file = self.folder / "config.yaml"
        file.write_text(
            f"store: {{path: {self.folder / 'vramwatch.db'}}}\npoll: {{driver_share: 0.1}}\n"
            f"control: {{socket: {self.folder / 'control.sock'}}}\nowners:{rules}\nremedies: {remedies}\n"
        )
        config = load(file, {}, {})
        store = Store.open(config.store.path, "nvml", "test")
        feed = open_feed(config, store.newest())
        script = {6: tuple(self.growth(name) for name in self.pids)}
        alerting, outbox = tell(config, store)
        daemon = Daemon(
            feed,
            assemble(config, feed, {}, (self.reception,)),
            Scripted(script),
            store,
            alerting=alerting,
            outbox=outbox,
            treatment=treat(config, store, self.reception),
            workers=self.reception,
        )
        is_over = threading.Event()
        mirror = threading.Thread(target=self.keep_mirroring, args=(is_over,))
        polls = threading.Thread(target=daemon.run)
        self.mirror()
        for thread in (mirror, polls):
            thread.start()
        try:
            wait_until(lambda: self.has(until), "what was waited for stands in the store")
        finally:
            daemon.stop()
            is_over.set()
            polls.join()
            mirror.join()

    def keep_mirroring(self, is_over):
        while not is_over.wait(0.02):
            self.mirror()

    def growth(self, name):
        subject = Subject(self.driver.gpus[0].uuid, SubjectKind.OWNER, f"rule:{name}")
        made = move(cause=Cause.FRAGMENTATION, evidence=GROWN, subject=subject, id=f"grown-{name}")
        return replace(made, scene=replace(made.scene, owner=name, held_bytes=BASE + GROWTH))

    def has(self, until):
        try:
            return until()
        except Exception:
            return False

    def actions(self, name):
        path = self.folder / "vramwatch.db"
        return History.open(path).casebook.chain(f"grown-{name}").actions

    def gave_up(self, name):
        newest = self.actions(name)[-1]
        return hasattr(newest, "withheld") and newest.withheld.hindrance is Hindrance.CIRCUIT_OPEN

    def attempts(self, name):
        return [each for each in self.actions(name) if hasattr(each, "apply")]

    def results(self, name):
        return [each.result for each in self.attempts(name)]


@pytest.fixture(params=sorted(MEMORY))
def town(request, tmp_path, monkeypatch):
    if request.param == "tensors" and importlib.util.find_spec("torch") is None:
        pytest.skip("NOT TESTED: torch cannot be imported; make test-torch installs it")
    with FakeDriver(gpus=1) as driver, ExitStack() as house:
        for name, value in driver.environment().items():
            monkeypatch.setenv(name, value)
        yield Town(tmp_path, driver, house, request.param)


def test_one_clears_one_lies_and_one_who_never_enrolled_is_never_touched(town):
    town.worker("honest")
    town.worker("liar", drop="pass")
    stranger = town.worker("stranger", enrols=False)
    town.live(
        "{ask: {mode: apply, within: 2s}, give_up_after: 1}",
        lambda: town.results("honest")[-1] and town.gave_up("liar") and town.actions("stranger"),
    )
    (honest,) = town.attempts("honest")
    assert honest.result is Result.RECOVERED
    assert abs(honest.outcome.freed - GROWTH) <= 2 * MIB
    assert town.results("liar") == [Result.INEFFECTIVE]
    assert "a person is needed" in town.actions("liar")[-1].withheld.detail
    assert town.results("stranger") == []
    assert {each.withheld.hindrance for each in town.actions("stranger")} == {Hindrance.PERSON}
    assert stranger.poll() is None


def test_a_worker_whose_callback_raises_or_hangs_is_left_with_that_reason_and_serves_on(town):
    broken = town.worker("broken", drop="raise OSError('the cache server is gone')")
    stuck = town.worker("stuck", drop="signal.pause()")
    town.live(
        "{ask: {mode: apply, within: 2s, busy_for: 2s}, give_up_after: 1}",
        lambda: town.gave_up("broken") and town.gave_up("stuck"),
    )
    (raised,), (hung,) = town.attempts("broken"), town.attempts("stuck")
    assert (raised.result, hung.result) == (Result.FAILED, Result.FAILED)
    assert "OSError: the cache server is gone" in raised.outcome.detail
    assert "has not returned within 2 s" in hung.outcome.detail
    for one in (broken, stuck):
        one.stdin.write("request\n")
        one.stdin.flush()
        assert one.stdout.readline() == "so\n"


def test_a_busy_worker_clears_at_its_safe_point(town):
    busy = town.worker("busy")

    def say(word):
        busy.stdin.write(f"{word}\n")
        busy.stdin.flush()
        busy.stdout.readline()

    say("request")
    ends = threading.Timer(3.0, say, ("end",))

    def cleared():
        """Its request ends three seconds after it is seen to be asked."""
        (result,) = town.results("busy")
        if result is None and ends.ident is None:
            ends.start()
        return result

    town.live("{ask: {mode: apply, within: 2s}}", cleared)
    ends.join()
    (attempt,) = town.actions("busy")
    assert attempt.result is Result.RECOVERED
    assert attempt.outcome.seconds > 2.0
