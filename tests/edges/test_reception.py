"""Enrolment over real sockets: who is let in, who is heard, and for how long."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.waiting import PATIENCE, wait_until
from tests.workers import CONSENTING, Line, Other, until_enrolled
from vramwatch.clock import read_boot_id
from vramwatch.core.model import Instant, Owner, OwnerKind, ProcessFacts, ProcessKey, Tenant
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.reception.bounds import ACCEPTED_AT_ONCE, REFUSED_COSTS
from vramwatch.sdk.wire import (
    LIMIT,
    Answer,
    Clear,
    Device,
    Hello,
    Refused,
    Report,
    Welcome,
    encode,
)

BOOT = read_boot_id()


class Hand:
    """Boot time that the test moves."""

    def __init__(self):
        self.time = time.clock_gettime(time.CLOCK_BOOTTIME)

    def __call__(self):
        return self.time


@pytest.fixture
def hand():
    return Hand()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "enrol.sock"


@pytest.fixture
def reception(path, hand):
    with closing(Reception(path, Admission(), Bounds(total=8, per_user=6), BOOT, now=hand)) as one:
        yield one


def said_of(reason):
    """Return the words of a refusal."""
    assert isinstance(reason, Refused), reason
    return reason.reason


# --- enrolment ------------------------------------------------------------------------------------


def test_who_enrols_is_known_by_what_the_kernel_says(reception, path):
    with Line(path) as line:
        assert line.enrol() == Welcome(report_every=5.0)
        (worker,) = reception.enrolled().values()
    start_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    assert worker.key == ProcessKey(BOOT, os.getpid(), start_ticks)
    assert worker.uid == os.geteuid()
    assert worker.hello == CONSENTING
    assert worker.report is None


def test_a_kernel_without_pidfds_of_peers_is_no_hindrance(reception, path, monkeypatch):
    """As before Linux 6.5, where the option is unknown: ENOPROTOOPT."""
    monkeypatch.setattr("vramwatch.reception.peer.SO_PEERPIDFD", 9999)
    with Other(path, "handle", "enrol") as other:
        key = until_enrolled(reception, other.pid)
        assert reception.signal(key, "SIGURG") is None
        wait_until(lambda: other.ask("caught") == 1, "caught")
    wait_until(lambda: not reception.enrolled(), "forgotten")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a pid namespace")
def test_a_daemon_that_cannot_see_who_speaks_refuses_it_and_says_what_to_do(path):
    code = f"""
import sys
from pathlib import Path
from vramwatch.reception import Admission, Bounds, Reception
Reception(Path({str(path)!r}), Admission(), Bounds(), "boot")
sys.stdin.read()
"""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as daemon:
        wait_until(path.exists, "it listens")
        with Line(path) as line:
            assert "host's pid namespace" in said_of(line.enrol())
        daemon.kill()


def test_consent_ends_with_the_connection(reception, path):
    with Line(path) as line:
        line.enrol()
        assert len(reception.enrolled()) == 1
    wait_until(lambda: not reception.enrolled(), "forgotten")


def test_consent_ends_with_the_process_though_a_child_holds_its_connection(reception, path):
    with Other(path, "enrol") as other:
        key = until_enrolled(reception, other.pid)
        child = other.ask("fork")
        assert key in reception.enrolled()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        wait_until(lambda: not reception.enrolled(), "forgotten")
        os.kill(child, 0)  # which lives, and holds the same socket
        os.kill(child, signal.SIGKILL)


def test_a_child_that_speaks_on_the_connection_of_its_parent_is_refused(reception, path, caplog):
    with Other(path, "enrol") as other:
        until_enrolled(reception, other.pid)
        child = other.ask("fork and report")
        wait_until(lambda: not reception.enrolled(), "ended")
        os.kill(child, signal.SIGKILL)
    assert "another process speaks on this connection" in caplog.text


def test_consent_ends_with_an_exec(reception, path):
    with Other(path, "enrol") as other:
        until_enrolled(reception, other.pid)
        other.say("exec")
        wait_until(lambda: not reception.enrolled(), "forgotten")
        os.kill(other.pid, 0)


def test_a_process_enrols_once(reception, path):
    with Line(path) as first, Line(path) as second:
        first.enrol()
        assert "another connection" in said_of(second.enrol())
        assert len(reception.enrolled()) == 1


def test_a_worker_of_another_schema_is_told_what_to_upgrade(reception, path):
    with Line(path) as line:
        assert "upgrade vramwatch" in said_of(line.enrol(Hello(schema=2)))
    assert not reception.enrolled()


def test_nobody_can_consent_to_a_signal_that_has_no_handler_ever(reception, path):
    with Line(path) as line:
        assert "SIGKILL" in said_of(line.enrol(Hello(remedies=("signal:SIGKILL",))))


def test_the_end_of_the_daemon_ends_every_connection_and_removes_the_socket(path, hand):
    with closing(Reception(path, Admission(), Bounds(), BOOT, now=hand)), Line(path) as line:
        line.enrol()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        Line(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a pid namespace")
def test_a_process_of_a_pid_namespace_of_its_own_is_known_by_our_pid_and_shown_with_its_own(reception, path):
    with Other(path, "enrol", before=["unshare", "--pid", "--fork", "--kill-child"]) as other:
        worker = wait_until(lambda: next(iter(reception.enrolled().values()), None), "enrolled")
        assert worker.namespace_pid == 1
        assert worker.key.pid != 1
        cmdline = Path(f"/proc/{worker.key.pid}/cmdline").read_text()
        assert str(path) in cmdline
        assert other.ask("pid") == 1


# --- what is heard --------------------------------------------------------------------------------


def answered(path, *said):
    """Enrol, say these datagrams, and return what the daemon says last before it hangs up."""
    with Line(path) as line:
        line.enrol()
        for each in said:
            line.say_raw(each if isinstance(each, bytes) else encode(each))
        heard = line.hear()
        assert line.hear() is None, "it was to hang up"
    return said_of(heard)


@pytest.mark.parametrize(
    "garbage",
    [
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b'{"type":"hello"',
        b'{"type":"sudo"}',
        b"[" * 4000,
        b'{"type":"report","seq":"x"}',
    ],
)
def test_garbage_ends_the_connection_with_a_reason_that_does_not_quote_it(reception, path, garbage):
    reason = answered(path, garbage)
    assert reason.startswith("not a message: ")
    assert garbage.decode("latin-1") not in reason


def test_an_oversized_message_is_refused(reception, path):
    assert str(LIMIT) in answered(path, b"x" * 60_000)


def test_a_repeated_report_is_refused(reception, path):
    assert "repeated" in answered(path, Report(3), Report(3))


def test_a_message_that_is_only_the_daemons_to_say_is_refused(reception, path):
    assert "does not say clear" in answered(path, Clear("x", ("gc",)))


@pytest.mark.parametrize("id", ["forged", "signal-1"])
def test_an_answer_to_what_was_not_asked_is_passed_over(reception, path, caplog, id):
    with Line(path) as line:
        line.enrol()
        line.say(Answer(id, "done"))
        wait_until(lambda: "what was not asked" in caplog.text, "noted")
        assert reception.enrolled()
        assert not reception.answers()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can forge its credentials")
def test_a_message_whose_sender_is_forged_is_refused(reception, path):
    with Line(path) as line:
        line.enrol()
        forged = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", 1, 0, 0))
        line.socket.sendmsg([encode(Report(1))], [forged])
        assert "another process speaks" in said_of(line.hear())


def test_who_reports_before_it_says_hello_is_refused(reception, path):
    with Line(path) as line:
        line.say(Report(1))
        assert "hello first" in said_of(line.hear())


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_that_come_with_a_message_are_not_kept(reception, path):
    before = descriptors()
    with Line(path) as line, Path(os.devnull).open() as sent:
        line.enrol()
        socket.send_fds(line.socket, [encode(Report(1))], [sent.fileno()] * 8)
        assert "descriptors" in said_of(line.hear())
    wait_until(lambda: descriptors() == before, "all closed")


def test_who_says_too_much_is_refused_and_the_others_are_heard(reception, path):
    with Other(path, "enrol") as other, Line(path) as loud:
        key = until_enrolled(reception, other.pid)
        loud.enrol()
        for seq in range(200):
            loud.say_raw(encode(Report(seq)))
        wait_until(lambda: len(reception.enrolled()) == 1, "dropped")
        assert key in reception.enrolled()


def test_the_newest_report_of_a_worker_is_known(reception, path, hand):
    with Line(path) as line:
        line.enrol()
        for seq in range(1, 4):
            hand.time += 5
            line.say(Report(seq, requests_running=seq))
            wait_until(lambda seq=seq: next(iter(reception.enrolled().values())).requests_running == seq)
        (worker,) = reception.enrolled().values()
    assert worker.reported_at == hand.time
    assert worker.reported_at - worker.since == 15


# --- what it may cost -----------------------------------------------------------------------------


def test_connections_of_one_user_and_of_all_are_bounded(path, hand):
    bounds = Bounds(total=5, per_user=3)
    with closing(Reception(path, Admission(), bounds, BOOT, now=hand)), contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(Line(path)) for _ in range(4)]
        assert "limit_per_user" in said_of(lines[3].hear())
        lines[0].close()
        again = wait_until(lambda: _enrolled_on(path, open_lines), "there is room again")
        assert again


def _enrolled_on(path, open_lines):
    line = open_lines.enter_context(Line(path))
    with contextlib.suppress(BrokenPipeError):
        return isinstance(line.enrol(), Welcome)


def test_who_is_refused_again_and_again_waits_while_those_who_are_there_are_heard(path, hand):
    bounds = Bounds(total=1, per_user=1)
    with closing(Reception(path, Admission(), bounds, BOOT, now=hand)) as reception, Line(path) as first:
        first.enrol()
        for _ in range(int(ACCEPTED_AT_ONCE // REFUSED_COSTS) + 1):
            with Line(path) as one:
                assert "workers.limit" in said_of(one.hear())
        with Line(path) as late:
            first.say(Report(1))
            (key,) = reception.enrolled()
            wait_until(lambda: reception.enrolled()[key].report, "it is heard")
            late.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                late.hear()
            hand.time += 10
            late.socket.settimeout(PATIENCE)
            assert "workers.limit" in said_of(late.hear()), "its turn has come"


def test_who_says_no_hello_is_dropped(reception, path, hand):
    with Line(path) as line:
        wait_until(lambda: reception._guests, "connected")
        hand.time += 6
        assert "no hello" in said_of(line.hear())


def test_who_does_not_read_what_it_is_sent_is_dropped(reception, path):
    with Line(path) as line:
        line.enrol()
        (key,) = reception.enrolled()
        reason = wait_until(lambda: reception.ask(key, Clear("a" * 100, ("gc",))), "its queue is full")
        assert "does not read" in reason
        wait_until(lambda: not reception.enrolled(), "dropped")


def test_without_a_free_descriptor_it_goes_on_and_takes_up_whoever_waits_later(path):
    """In a process of its own, whose limit is lowered to what it has open."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


WITHOUT_DESCRIPTORS = """
import os, resource, sys, time
from pathlib import Path
from tests.workers import Line
from vramwatch.reception import Admission, Bounds, Reception

path = Path(sys.argv[1])
reception = Reception(path, Admission(), Bounds(), "boot")
line = Line(path)
line.enrol()
late = Line(path, connect=False)
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1]))
late.connect(path)
time.sleep(0.3)
assert len(reception.enrolled()) == 1
assert len(reception._guests) == 1
resource.setrlimit(resource.RLIMIT_NOFILE, before)
assert "another connection" in late.enrol().reason
reception.close()
"""


# --- asking and signalling ------------------------------------------------------------------------


def test_what_is_asked_reaches_the_worker_and_its_answers_come_back_in_order(reception, path, caplog):
    with Line(path) as line:
        line.enrol()
        (key,) = reception.enrolled()
        clear = Clear("a1", ("gc", "empty_cache"), within=30.0)
        assert reception.ask(key, clear) is None
        assert line.hear() == clear
        answers = [Answer("a1", "busy"), Answer("a1", "accepted"), Answer("a1", "done", pause=0.01)]
        for each in answers:
            line.say(each)
        got = []
        wait_until(lambda: got.extend(reception.answers()) or len(got) == 3, "answered")
        assert got == [(key, each) for each in answers]
        line.say(answers[-1])  # replayed
        wait_until(lambda: "answered already" in caplog.text, "noted")
        assert not reception.answers()


def test_a_worker_is_asked_for_what_it_offers_alone(reception, path):
    with Line(path) as line:
        line.enrol(Hello(remedies=("ask",), clears=("gc",)))
        (key,) = reception.enrolled()
        assert "does not offer to clear empty_cache" in reception.ask(key, Clear("a", ("gc", "empty_cache")))
    with Line(path) as line:
        line.enrol(Hello(remedies=("signal:SIGURG",), clears=("gc",)))
        key = until_enrolled(reception, os.getpid())
        assert "does not consent" in reception.ask(key, Clear("a", ("gc",)))
    stranger = ProcessKey(BOOT, 1, 0)
    assert "not enrolled" in reception.ask(stranger, Clear("a", ()))
    assert "not enrolled" in reception.signal(stranger, "SIGURG")


def test_a_signal_reaches_who_consents_to_it_and_has_a_handler_now(reception, path):
    with Other(path, "handle", "enrol") as other:
        key = until_enrolled(reception, other.pid)
        assert reception.signal(key, "SIGURG") is None
        wait_until(lambda: other.ask("caught") == 1, "caught")
        assert "does not consent to SIGUSR1" in reception.signal(key, "SIGUSR1")
        other.ask("ignore")
        assert "has no handler for SIGURG now" in reception.signal(key, "SIGURG")


def test_who_consents_to_a_signal_without_a_handler_is_not_sent_it(reception, path):
    with Other(path, "enrol") as other:
        key = until_enrolled(reception, other.pid)
        assert "has no handler" in reception.signal(key, "SIGURG")
        assert other.ask("pid") == other.pid


@pytest.mark.parametrize("name", ["SIGTERM", "SIGTSTP"])
def test_who_consents_to_a_signal_that_ends_or_stops_it_is_not_sent_it(reception, path, name):
    with Line(path) as line:
        line.enrol(Hello(remedies=(f"signal:{name}",)))
        (key,) = reception.enrolled()
        assert "no signal that a worker can consent to" in reception.signal(key, name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_who_has_become_another_user_is_not_sent_a_signal(reception, path):
    with Other(path, "handle", "enrol") as other:
        key = until_enrolled(reception, other.pid)
        other.ask("become nobody")
        assert "not of uid 0 any more" in reception.signal(key, "SIGURG")


# --- what reports become --------------------------------------------------------------------------


def present(pid, gpu="GPU-a", start_ticks=None):
    facts = ProcessFacts(ProcessKey(BOOT, pid, start_ticks or 0))
    return {gpu: {pid: Tenant(facts, Owner("x", "x", OwnerKind.PROGRAM))}}


def test_reports_become_gauges_of_this_very_life_on_the_gpu_that_they_name(reception, path, hand):
    report = Report(
        1,
        devices=(
            Device("GPU-a", allocated=5, reserved=7, kv_logical=1, kv_resident=2, ooms=3),
            Device("GPU-b", 9),
        ),
        requests_running=4,
    )
    with Line(path) as line:
        line.enrol()
        line.say(report)
        wait_until(lambda: next(iter(reception.enrolled().values())).report, "reported")
        (key,) = reception.enrolled()
        at = Instant(1, 0.0, hand.time, BOOT)
        told = reception.gauges(present(key.pid, start_ticks=key.start_ticks), at)
        assert {gauge.quantity: gauge.value for gauge in told["GPU-a"]} == {
            "torch_allocated_bytes": 5,
            "torch_reserved_bytes": 7,
            "engine_kv_bytes": 2,
            "kv_logical_bytes": 1,
            "requests_running": 4,
            "ooms_total": 3,
            "kv_requires_grad": 0,
        }
        assert {gauge.pid for gauge in told["GPU-a"]} == {os.getpid()}
        assert not reception.gauges(present(key.pid, start_ticks=key.start_ticks + 1), at)  # another life
        late = Instant(2, 0.0, hand.time + 16, BOOT)
        assert not reception.gauges(present(key.pid, start_ticks=key.start_ticks), late)
