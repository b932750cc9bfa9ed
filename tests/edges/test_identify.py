"""The helper of the profile "identify": what it tells, to whom, and how the daemon does without it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.waiting import wait_until
from vramwatch.core.model import ProcessState
from vramwatch.procfs.identify import ANSWER_DEADLINE, RESTING, IdentifySocket, answer
from vramwatch.procfs.identity import read_stat
from vramwatch.procfs.listening import own_listeners

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")


@contextlib.contextmanager
def process(environment, **options):
    """A process that waits, once it has become itself."""
    with subprocess.Popen(["sleep", "60"], env=environment, **options) as waiting:
        try:
            wait_until(lambda: read_stat("/proc", waiting.pid).name == "sleep")
            yield waiting, read_stat("/proc", waiting.pid).start_ticks
        finally:
            waiting.kill()


@pytest.fixture
def listening(tmp_path):
    """The socket as systemd makes it, and whatever serves it."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(str(path))
        path.chmod(0o777)
        tmp_path.chmod(0o755)
        one.listen()
        yield one, path


@pytest.fixture
def helper(listening):
    """The helper in a process of its own, started as systemd does."""
    one, path = listening
    hand_over = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "from vramwatch.procfs.identify import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hand_over, str(one.fileno())],
        env={**os.environ, "LISTEN_FDS": "1"},
        pass_fds=[one.fileno()],
    ) as running:
        try:
            yield IdentifySocket(path)
        finally:
            running.kill()


@as_root
def test_the_allowed_variables_of_another_users_process_are_told_and_no_secret(helper):
    environment = {"SLURM_JOB_NAME": "train", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    with process(environment, user=NOBODY) as (other, ticks):
        assert helper.environment(other.pid, ticks) == {"SLURM_JOB_NAME": "train"}


def test_another_life_of_the_same_pid_is_not_told_of(helper):
    with process({"RANK": "3"}) as (other, ticks):
        assert helper.environment(other.pid, ticks + 1) is None
        assert helper.environment(other.pid, ticks) == {"RANK": "3"}


def test_who_has_no_container_is_told_so(helper):
    with process({}) as (other, ticks):
        told = helper.container(other.pid, ticks)
    assert told is not None


LISTENS = """
import socket, time
one = socket.create_server(("127.0.0.1", 0))
other = socket.create_connection(one.getsockname())
print(one.getsockname()[1], flush=True)
time.sleep(60)
"""


@as_root
def test_of_another_users_process_it_is_told_at_which_sockets_it_listens_and_of_no_connection(helper):
    asked = ["/usr/bin/python3", "-c", LISTENS]
    with subprocess.Popen(asked, user=NOBODY, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline())
            ticks = read_stat("/proc", server.pid).start_ticks
            (listener,) = own_listeners("/proc", [server.pid], None)
            assert listener.port == port
            assert helper.listening(server.pid, ticks) == {listener.inode}
            assert helper.listening(server.pid, ticks + 1) is None
        finally:
            server.kill()


def test_the_holders_of_devices_are_found_by_the_search_of_all_processes(helper):
    found = helper.holders()
    assert found.is_complete
    assert all(isinstance(each.state, ProcessState) for each in found.found)


@as_root
def test_whoever_is_neither_root_nor_the_socket_s_owner_is_told_nothing(helper, listening):
    _, path = listening
    with process({"RANK": "3"}) as (other, ticks):
        ask = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.argv[2].encode()); print(s.recv(100))"
        )
        question = json.dumps({"about": "environment", "pid": other.pid, "start_ticks": ticks})
        asked = ["/usr/bin/python3", "-c", ask, str(path), question]
        said = subprocess.run(asked, user=NOBODY, capture_output=True, text=True, check=False)
        assert "RANK" not in said.stdout
        assert helper.environment(other.pid, ticks) == {"RANK": "3"}  # and it serves on


@pytest.mark.parametrize(
    "question",
    [
        b"", b"{", b"[]", b"7", b'{"about": "shadow"}', b'{"about": "environment"}',
        b'{"about": "environment", "pid": "../1", "start_ticks": 1}',
        b'{"about": "environment", "pid": -1, "start_ticks": 1}',
        b'{"about": "environment", "pid": true, "start_ticks": 1}',
        b'{"about": "container", "pid": 9223372036854775807, "start_ticks": 1}',
        b'{"about": "listening", "pid": 1}', b'{"about": "listening", "pid": "self", "start_ticks": 1}',
        b"[" * 250,
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(question):
    assert set(answer(question)) == {"error"}


def test_it_is_started_by_its_socket_alone():
    done = subprocess.run(
        [sys.executable, "-m", "vramwatch.procfs.identify"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "started by vramwatch-identify.socket" in done.stderr


# --- the daemon's side, when there is nobody, or nobody well-behaved ----------------------------------


def test_without_the_profile_nothing_is_known_and_nothing_is_waited_for(tmp_path):
    asked = IdentifySocket(tmp_path / "nobody")
    assert not asked.is_there
    assert asked.environment(1, 1) is None


@contextlib.contextmanager
def answering(listening, reply):
    """Whoever has connected is told ``reply`` by a child; None: nothing at all."""
    one, path = listening
    child = os.fork()
    if child == 0:
        while True:
            asker, _ = one.accept()
            asker.recv(1000)
            if reply is None:
                time.sleep(60)
            asker.sendall(reply)
            asker.close()
    try:
        yield path
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_one_that_does_not_answer_is_not_waited_for_again_for_a_while(listening):
    now = [0.0]
    with answering(listening, None) as path:
        asked = IdentifySocket(path, clock=lambda: now[0])
        assert asked.environment(1, 1) is None
        begun = time.monotonic()
        assert asked.environment(1, 1) is None
        assert time.monotonic() - begun < ANSWER_DEADLINE / 2
        now[0] = RESTING + 1
        begun = time.monotonic()
        assert asked.environment(1, 1) is None
        assert time.monotonic() - begun >= ANSWER_DEADLINE / 2


@pytest.mark.parametrize(
    "reply",
    [
        b"\n",
        b"[]\n",
        b'{"environment": 7}\n',
        b'{"container": {"nonsense": 1}, "pod": null}\n',
        b"x" * 400_000,
    ],
)
def test_an_answer_that_is_none_counts_as_no_answer(listening, reply):
    with answering(listening, reply) as path:
        assert IdentifySocket(path).environment(1, 1) is None
        assert IdentifySocket(path).container(1, 1) is None
        assert IdentifySocket(path).holders() is None


def test_a_variable_that_is_not_allowed_is_dropped_though_the_helper_tells_it(listening):
    with answering(listening, b'{"environment": {"RANK": "3", "PASSWORD": "x", "HOSTNAME": 7}}\n') as path:
        assert IdentifySocket(path).environment(1, 1) == {"RANK": "3"}
