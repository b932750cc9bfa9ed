"""Workers of the SDK at the daemon's real reception."""

import os
import signal
from contextlib import closing

import pytest

from tests.sdk.programs import program
from tests.waiting import wait_until
from vramwatch.clock import read_boot_id
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.sdk.wire import Clear

SERVER = """
import os, time
worker = enroll(name="chat", remedies={"ask", "signal:SIGURG"}, clears=("gc",), cooldown=0.0)
print("up", flush=True)
while True:
    with worker.request():
        time.sleep(0.02)
    if worker.safe_point():
        print("cleared", flush=True)
"""


class Place:
    """A reception at a path of its own, as programs find it."""

    def __init__(self, path):
        self.path = path
        self.reception = self._opened()

    def _opened(self):
        return Reception(self.path, Admission(), Bounds(report_every=0.25), read_boot_id())

    def restart(self):
        self.reception.close()
        self.reception = self._opened()

    def environment(self):
        return {**os.environ, "VRAMWATCH_SOCKET": str(self.path)}

    def enrolled(self, pid):
        return next((key for key in self.reception.enrolled() if key.pid == pid), None)

    def answered(self, state):
        """Return the answer of that state, once it is there."""
        seen = []

        def comes():
            seen.extend(answer for _, answer in self.reception.answers())
            return next((answer for answer in seen if answer.state == state), None)

        return wait_until(comes, f"an answer: {state}")

    def close(self):
        self.reception.close()


@pytest.fixture
def place(tmp_path):
    with closing(Place(tmp_path / "enrol.sock")) as one:
        yield one


def test_a_server_enrols_reports_and_clears_when_it_is_asked(place):
    with program(place, SERVER) as server:
        key = wait_until(lambda: place.enrolled(server.pid), "enrolled")
        wait_until(lambda: place.reception.enrolled()[key].report, "reported")
        assert place.reception.enrolled()[key].hello.name == "chat"
        assert place.reception.ask(key, Clear("one", ("gc",))) is None
        (gc,) = place.answered("done").cleared
        assert (gc.what, gc.error) == ("gc", "")


def test_a_server_clears_when_the_signal_comes_that_it_consented_to(place):
    with program(place, SERVER) as server:
        key = wait_until(lambda: place.enrolled(server.pid), "enrolled")
        assert server.stdout.readline() == "up\n"
        before = place.reception.enrolled()[key].since
        assert place.reception.signal(key, "SIGURG") is None
        assert server.stdout.readline() == "cleared\n"
        wait_until(lambda: place.reception.enrolled()[key].report, "reported")
        assert place.reception.enrolled()[key].since == before


def test_a_child_is_enrolled_beside_its_parent_and_outlives_it(place):
    text = """
    import os, time
    enroll(name="server")
    sys.stdin.readline()
    print(os.fork(), flush=True)
    time.sleep(60)
    """
    with program(place, text) as server:
        wait_until(lambda: place.enrolled(server.pid), "enrolled")
        server.stdin.write("\n")
        server.stdin.flush()
        child = max(int(server.stdout.readline()) for _ in range(2))
        wait_until(lambda: place.enrolled(child), "its child enrolled")
        assert place.enrolled(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not place.enrolled(server.pid), "forgotten")
        assert place.enrolled(child)


def test_workers_come_back_to_a_daemon_that_restarts(place):
    with program(place, SERVER) as server:
        wait_until(lambda: place.enrolled(server.pid), "enrolled")
        place.restart()
        wait_until(lambda: place.enrolled(server.pid), "enrolled again")
