"""A real llama-server is asked for its figures, found as its process shows it."""

import json

import pytest

from tests.asking_engines import Asking
from tests.services.llama_server import CONTEXT, program, running
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    program() is None, reason="there is no llama-server; make test-services builds it where it can be fetched"
)

ONE_SLOT = ("-c", str(CONTEXT), "-np", "1")


@pytest.fixture
def asking():
    return Asking()


def figures(asking, server):
    """Ask once more, an interval later."""
    asking.now += 5.0
    return asking.told().get(server.pid, {})


def test_it_tells_what_runs_what_waits_and_how_full_its_context_is(tmp_path, asking):
    with running(tmp_path, "--metrics", *ONE_SLOT) as server:
        asking.meet(server.pid)
        assert figures(asking, server) == {
            "engine_kv_ratio": 0.0,
            "requests_running": 0.0,
            "requests_waiting": 0.0,
        }
        with server.generating(CONTEXT):
            busy = wait_until(
                lambda: (told := figures(asking, server))["engine_kv_ratio"] > 0.01 and told, "it fills up"
            )
            assert busy["requests_running"] == 1.0
            with server.asking_for(CONTEXT):
                wait_until(lambda: figures(asking, server)["requests_waiting"] == 1.0, "the second one waits")
        wait_until(lambda: figures(asking, server)["requests_running"] == 0.0, "both were broken off")
        assert figures(asking, server)["engine_kv_ratio"] == 0.0


def test_without_its_metrics_its_slots_tell_what_runs(tmp_path, asking):
    with running(tmp_path, *ONE_SLOT) as server:
        asking.meet(server.pid)
        assert figures(asking, server) == {"engine_kv_ratio": 0.0, "requests_running": 0.0}
        with server.generating(CONTEXT):
            assert figures(asking, server)["requests_running"] == 1.0


def test_one_that_falls_asleep_when_idle_does_so_though_it_is_asked_and_is_not_woken(tmp_path, asking):
    with running(tmp_path, "--metrics", "--sleep-idle-seconds", "1", *ONE_SLOT) as server:
        asking.meet(server.pid)

        def sleeps():
            assert figures(asking, server)["requests_running"] == 0.0
            return json.loads(server.get("/props"))["is_sleeping"]

        wait_until(sleeps, "it sleeps", every=0.2)
        for _ in range(5):
            assert sleeps()
