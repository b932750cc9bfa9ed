"""The socket through which verbs that change something reach the daemon."""

import contextlib
import json
import os
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest

from vramwatch.control import control
from vramwatch.control.control import ControlError, ControlServer, Request


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "control.sock"


@contextlib.contextmanager
def serving(path, answer, group=None):
    server = ControlServer(path, group, answer)
    try:
        yield server
    finally:
        server.close()


def test_a_verb_reaches_the_daemon_with_the_author_that_the_kernel_names(path):
    asked: list[Request] = []

    def answer(request):
        asked.append(request)
        return {"until": 12.5}

    with serving(path, answer):
        assert control.request(path, "release", {"for": "5m"}) == {"until": 12.5}
    assert asked[0].verb == "release"
    assert asked[0].arguments == {"for": "5m"}
    assert f"(uid {os.geteuid()}, pid {os.getpid()})" in asked[0].author


def test_a_refusal_reaches_the_caller_as_a_sentence(path):
    def answer(request):
        raise ControlError("nothing to resume")

    with serving(path, answer), pytest.raises(ControlError, match="nothing to resume"):
        control.request(path, "resume", {})


def test_without_a_daemon_the_caller_is_told_how_to_start_one(path):
    with pytest.raises(ControlError, match="vramwatch run"):
        control.request(path, "resume", {})


def test_the_socket_is_closed_to_others_and_gone_after_the_end(path):
    with serving(path, lambda request: {}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_a_socket_left_by_a_killed_daemon_is_taken_over(path):
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(path, lambda request: {"ok": True}):
        assert control.request(path, "x", {}) == {"ok": True}


def test_a_second_daemon_does_not_take_the_socket_of_the_first(path):
    with serving(path, lambda request: {"first": True}):
        with pytest.raises(ControlError, match="another vramwatch"):
            ControlServer(path, None, lambda request: {})
        assert control.request(path, "x", {}) == {"first": True}


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"verb": 1, "arguments": 7}\n', b"[" * 60_000 + b"\n"),
        b'{"verb": "x", "arguments": {"until": NaN}}\n',
        b'{"verb": "x", "arguments": {"until": -Infinity}}\n',
        b'{"verb": "x", "arguments": {"owner": "half a character: \\ud800"}}\n',
    ],
    ids=lambda garbage: garbage[:12],
)
def test_garbage_is_refused_and_the_next_caller_is_served(path, garbage):
    with serving(path, lambda request: {"ok": True}):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            caller.sendall(garbage)
            assert "error" in json.loads(caller.recv(control.LIMIT))
        assert control.request(path, "x", {}) == {"ok": True}


def test_an_endless_request_is_cut_at_the_limit(path):
    with serving(path, lambda request: {"ok": True}):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                caller.sendall(b"x" * 10 * control.LIMIT)
        assert control.request(path, "x", {}) == {"ok": True}


def test_a_caller_that_says_nothing_is_dropped_and_the_next_one_is_served(path, monkeypatch):
    monkeypatch.setattr(control, "DEADLINE", 0.2)
    with serving(path, lambda request: {"ok": True}), socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        assert control.request(path, "x", {}) == {"ok": True}


def test_a_caller_that_drips_is_dropped_at_the_deadline_too(path, monkeypatch):
    monkeypatch.setattr(control, "DEADLINE", 0.2)
    with serving(path, lambda request: {}), socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(path))
        slow.settimeout(0.02)
        answer = b""
        began = time.monotonic()
        while not answer and time.monotonic() - began < 10.0:
            with contextlib.suppress(ConnectionError):
                slow.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = slow.recv(control.LIMIT)
    assert json.loads(answer) == {"error": "nothing was asked within 0.2 s"}


@pytest.mark.filterwarnings(
    "ignore:.*use of fork:DeprecationWarning"
)  # the child execs nothing, locks nothing
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_refused_even_where_the_file_lets_him_in():
    asked = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "control.sock"
        Path(folder).chmod(0o755)
        with serving(path, lambda request: asked.set() or {}):
            path.chmod(0o666)
            answer = ask_as_nobody(path)
    assert "may not ask" in json.loads(answer)["error"]
    assert not asked.is_set()


def ask_as_nobody(path):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
                caller.sendall(b'{"verb": "release"}\n')
                os.write(writing, caller.recv(control.LIMIT))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_a_path_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match=r"control\.socket"):
        ControlServer(Path(tmp_path / "file" / "x.sock"), None, lambda request: {})


def test_asking_takes_milliseconds_not_the_deadline(path):
    with serving(path, lambda request: {}):
        start = time.monotonic()
        control.request(path, "x", {})
        assert time.monotonic() - start < 1.0
