"""The SDK and the reception as they meet: real programs that enrol, fork, are asked and end."""

import json
import os
import signal
from contextlib import closing

import pytest

from tests.sdk.programs import program
from tests.waiting import wait_until
from tests.workers import Line, until_enrolled
from vramwatch.clock import read_boot_id
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.sdk.wire import Clear


class House:
    """A reception that can end and begin again, and the environment that leads to it."""

    def __init__(self, path):
        self.path = path
        self.open()

    def open(self, bounds=Bounds(report_every=1.0)):  # noqa: B008 - frozen
        self.reception = Reception(self.path, Admission(), bounds, read_boot_id())

    def close(self):
        self.reception.close()

    def environment(self):
        return {**os.environ, "VRAMWATCH_SOCKET": str(self.path)}


@pytest.fixture
def house(tmp_path):
    with closing(House(tmp_path / "enrol.sock")) as one:
        yield one


SERVER = """
import gc, os, signal, json
worker = enroll(name="chat", remedies={"ask", "signal:SIGURG"}, clears=("gc",), idle_after=0.1, cooldown=0)
with worker.request():
    pass  # it is known to be idle afterwards
for line in sys.stdin:
    match line.strip():
        case "fork":
            child = os.fork()
            if not child:
                signal.pause()
            print(child, flush=True)
        case "refusal":
            print(json.dumps(worker.refusal), flush=True)
"""


def test_a_program_enrols_reports_and_does_what_it_is_asked(house):
    with program(house, SERVER) as running:
        key = until_enrolled(house.reception, running.pid)
        worker = wait_until(
            lambda: (each := house.reception.enrolled()[key]).report and each, "its first report"
        )
        assert worker.hello.name == "chat"
        assert worker.requests_running == 0
        assert house.reception.ask(key, Clear("a1", ("gc",))) is None
        answers = []
        wait_until(lambda: answers.extend(house.reception.answers()) or answers[-1:], "heard")
        wait_until(lambda: answers.extend(house.reception.answers()) or answers[-1][1].state == "done")
    assert {(each, answer.id) for each, answer in answers} == {(key, "a1")}
    assert [cleared.what for cleared in answers[-1][1].cleared] == ["gc"]


def test_a_signal_wakes_a_program_that_has_its_handler(house):
    with program(house, SERVER) as running:
        key = until_enrolled(house.reception, running.pid)
        assert house.reception.signal(key, "SIGURG") is None
        answers = []
        wait_until(lambda: answers.extend(house.reception.answers()) or answers[-1:], "answered")
        wait_until(lambda: answers.extend(house.reception.answers()) or answers[-1][1].state == "done")
        assert key in house.reception.enrolled()
        assert "does not consent" in house.reception.signal(key, "SIGTERM")


def test_a_child_enrols_for_itself_and_its_parent_stays(house):
    with program(house, SERVER) as running:
        parent = until_enrolled(house.reception, running.pid)
        running.stdin.write("fork\n")
        running.stdin.flush()
        child = int(running.stdout.readline())
        until_enrolled(house.reception, child)
        assert parent in house.reception.enrolled()
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: len(house.reception.enrolled()) == 1, "the child's consent has ended")
        assert parent in house.reception.enrolled()


def test_a_program_enrols_again_when_the_daemon_is_back(house):
    with program(house, SERVER) as running:
        until_enrolled(house.reception, running.pid)
        house.close()
        house.open()
        until_enrolled(house.reception, running.pid)


def test_who_is_turned_away_at_the_door_knows_why(house):
    house.close()
    house.open(Bounds(total=1))
    with Line(house.path) as first, program(house, SERVER) as running:
        first.enrol()

        def refusal():
            running.stdin.write("refusal\n")
            running.stdin.flush()
            return json.loads(running.stdout.readline())

        assert "workers.limit" in wait_until(refusal, "it was told")
