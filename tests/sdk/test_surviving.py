"""Forks, other programs, restarts of the daemon, signals and a main thread that is deep in C."""

import signal
import socket
import statistics
import time

import pytest

from tests.sdk.programs import program
from tests.waiting import wait_until
from vramwatch.sdk import enroll
from vramwatch.sdk.link import distrust
from vramwatch.sdk.wire import Answer, Welcome

ACKNOWLEDGED = 0.05
"""Seconds, median: what the house promises."""


def test_a_worker_enrols_again_when_the_daemon_has_restarted(enrol, daemon):
    worker, peer = enrol(name="chat")
    daemon.stop()
    assert wait_until(lambda: not worker.is_enrolled)
    daemon.start()
    assert daemon.meet().hello == peer.hello
    wait_until(lambda: worker.is_enrolled)


def test_a_worker_waits_for_a_daemon_that_comes_later(daemon, allocator):
    daemon.stop()
    worker = enroll(allocator=allocator)
    time.sleep(0.1)
    daemon.start()
    daemon.meet()
    worker.close()


def test_a_daemon_that_talks_nonsense_is_left_and_tried_again(enrol, daemon):
    worker, peer = enrol()
    peer.says_raw(b"\xff not a message")
    assert peer.is_over()
    daemon.meet()
    wait_until(lambda: worker.is_enrolled)


def test_a_daemon_that_reads_nothing_never_holds_the_application_up(daemon, allocator):
    worker = enroll(allocator=allocator)
    peer = daemon.take()
    peer.hears()
    peer.says(Welcome(report_every=0.25))
    deaf = time.monotonic() + 2.0
    slowest = 0.0
    while time.monotonic() < deaf:
        began = time.monotonic()
        with worker.request():
            pass
        worker.safe_point()
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.001)
    assert slowest < 0.5
    worker.close()


@pytest.mark.parametrize("how", ["a file", "a symbolic link"])
def test_what_is_no_socket_of_its_own_is_never_spoken_to(how, daemon, allocator, tmp_path, monkeypatch):
    place = tmp_path / "other"
    if how == "a file":
        place.write_text("")
    else:
        place.symlink_to(daemon.path)
    monkeypatch.setenv("VRAMWATCH_SOCKET", str(place))
    worker = enroll(allocator=allocator)
    assert daemon.is_left_alone(0.5)
    assert distrust(place) in {"is no socket", "is a symbolic link"}
    worker.close()


def test_a_socket_that_everybody_could_have_put_there_is_not_trusted(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        one.bind(str(folder / "enrol.sock"))
        assert distrust(folder / "enrol.sock") == ""
        folder.chmod(0o777)
        assert "writable by all" in distrust(folder / "enrol.sock")


def test_a_child_enrols_as_a_process_of_its_own_and_its_parent_stays(daemon):
    text = """
    import os
    worker = enroll(name="server")
    sys.stdin.readline()
    with worker.request():  # begun by the parent: no request of the child's
        child = os.fork()
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    if child: os.waitpid(child, 0)
    """
    with program(daemon, text) as running:
        parent = daemon.meet()
        running.stdin.write("\n")
        running.stdin.flush()
        child = daemon.meet()
        pids = {int(running.stdout.readline()) for _ in range(2)}
        assert {parent.pid, child.pid} == pids
        assert child.hello == parent.hello
        assert parent.reports(lambda report: report.requests_total == 1).requests_running == 0
        assert child.reports(lambda report: True).requests_total == 0
        running.stdin.close()
        assert parent.is_over()
        assert child.is_over()


def test_the_parents_end_shows_although_its_child_lives_on(daemon):
    text = """
    import os, time
    enroll()
    sys.stdin.readline()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
    """
    with program(daemon, text) as running:
        parent = daemon.meet()
        running.stdin.write("\n")
        running.stdin.flush()
        child = daemon.meet()
        assert parent.is_over()
        child.reports(lambda report: report.seq > 1)


def test_workers_of_a_server_that_forks_after_loading_all_enrol(daemon):
    text = """
    import multiprocessing, time
    worker = enroll(name="prefork")
    def serve():
        with worker.request():
            time.sleep(60)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=serve) for _ in range(4)]
    for child in children: child.start()
    for child in children: child.join()
    """
    with program(daemon, text):
        peers = [daemon.meet() for _ in range(5)]
        assert len({peer.pid for peer in peers}) == 5


def test_a_child_forked_while_other_threads_mark_requests_still_serves(daemon):
    text = """
    import os, threading
    worker = enroll()
    def serve():
        while True:
            with worker.request(): pass
    for _ in range(3): threading.Thread(target=serve, daemon=True).start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            with worker.request(): worker.safe_point()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    print("done", flush=True)
    """
    with program(daemon, text) as running:
        assert running.stdout.readline() == "done\n"


def test_a_process_that_becomes_another_program_is_enrolled_no_more(daemon):
    text = """
    import os
    enroll()
    sys.stdin.readline()
    os.execvp("sleep", ["sleep", "60"])
    """
    with program(daemon, text) as running:
        peer = daemon.meet()
        running.stdin.write("\n")
        running.stdin.flush()
        assert peer.is_over()
        assert running.poll() is None


def test_programs_that_a_worker_starts_inherit_nothing(daemon):
    text = """
    import subprocess
    enroll()
    sys.stdin.readline()
    other = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
    print("started", flush=True)
    sys.stdin.readline()
    import os
    os._exit(0)
    """
    with program(daemon, text) as running:
        peer = daemon.meet()
        running.stdin.write("\n")
        running.stdin.flush()
        running.stdout.readline()
        running.stdin.write("\n")
        running.stdin.flush()
        assert peer.is_over()


def test_a_signal_that_was_offered_wakes_and_clears_at_the_safe_point(daemon):
    text = """
    import time
    worker = enroll(remedies={"ask", "signal:SIGURG"}, clears=("gc",))
    while not worker.safe_point(): time.sleep(0.01)
    print("cleared", flush=True)
    time.sleep(60)
    """
    with program(daemon, text) as running:
        peer = daemon.meet()
        assert peer.hello.remedies == ("ask", "signal:SIGURG")
        running.send_signal(signal.SIGURG)
        assert running.stdout.readline() == "cleared\n"
        answers = [peer.hears(Answer) for _ in range(2)]
        assert [(answer.id, answer.state) for answer in answers] == [
            ("signal-1", "accepted"),
            ("signal-1", "done"),
        ]


def test_no_handler_is_set_unless_it_is_asked_for(enrol):
    before = {each: signal.getsignal(each) for each in signal.valid_signals()}
    enrol()
    assert {each: signal.getsignal(each) for each in signal.valid_signals()} == before


def test_a_signal_that_has_a_handler_already_is_not_offered(enrol, caplog):
    own = signal.signal(signal.SIGURG, lambda number, frame: None)
    try:
        _, peer = enrol(remedies={"ask", "signal:SIGURG"})
        assert peer.hello.remedies == ("ask",)
        assert "has a handler already" in caplog.text
    finally:
        signal.signal(signal.SIGURG, own)


def test_a_signal_whose_handler_the_application_took_over_is_offered_no_more(enrol, daemon):
    _, peer = enrol(remedies={"ask", "signal:SIGURG"})
    signal.signal(signal.SIGURG, lambda number, frame: None)
    try:
        assert peer.is_over()
        assert daemon.meet().hello.remedies == ("ask",)
    finally:
        signal.signal(signal.SIGURG, signal.SIG_DFL)


def test_the_handler_goes_when_the_worker_closes(enrol):
    worker, peer = enrol(remedies={"signal:SIGURG"})
    assert peer.hello.remedies == ("signal:SIGURG",)
    worker.close()
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL


DEEP_IN_C = {
    "a sleep of libc": "import ctypes; ctypes.CDLL(None).usleep(2_000_000)",
    "a digest": "import hashlib; hashlib.pbkdf2_hmac('sha512', b'a', b'b', 2_000_000)",
}


@pytest.mark.parametrize("call", DEEP_IN_C)
def test_it_answers_at_once_although_the_main_thread_is_deep_in_c(daemon, call):
    text = f"""
    worker = enroll(cooldown=0.0)
    print("in", flush=True)
    with worker.request():
        {DEEP_IN_C[call]}
    print("out", flush=True)
    """
    with program(daemon, text) as running:
        peer = daemon.meet()
        running.stdout.readline()
        taken = []
        for turn in range(10):
            began = time.monotonic()
            peer.asks("gc", id=str(turn))
            answer = peer.hears(Answer)
            taken.append(time.monotonic() - began)
            assert answer.state in {"accepted", "busy", "refused"}
        assert statistics.median(taken) <= ACKNOWLEDGED
        assert running.poll() is None
