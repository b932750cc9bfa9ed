"""``vramwatch forget``: with a daemon, without one, and for whom."""

import contextlib
import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.polls import holding, owner, poll, tenant
from tests.verdicts import transition
from vramwatch.cli import main
from vramwatch.control.control import ControlError, ControlServer
from vramwatch.core.errors import StoreError
from vramwatch.core.units import GIB, Bytes
from vramwatch.store import History, Store
from vramwatch.store.location import mark

PATIENCE = 20.0

CHAT, TRAIN = owner("chat"), owner("train")


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A store with two owners, two users, and the configuration that names it."""
    monkeypatch.delenv("VRAMWATCH_CONFIG", raising=False)
    path = tmp_path / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        for seq in range(1, 20):
            alice = holding(10, Bytes(GIB), tenant=tenant(10, CHAT, user="alice", uid=1000))
            bob = holding(20, Bytes(2 * GIB), tenant=tenant(20, TRAIN, user="bob", uid=1001))
            store.write(poll(seq, alice, bob))
        store.write(poll(20))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"store: {{path: {path}}}\ncontrol: {{socket: {tmp_path / 'control.sock'}, group: null}}\n"
    )
    return config


def forget(house, *arguments, code=0, answer=None):
    result = CliRunner().invoke(
        main, ["forget", "--config", str(house), *arguments], input=answer, catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return result


def wait_for(holds):
    """Ask again and again, for what another process does."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(StoreError):
            if holds():
                return
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def owners(house):
    with closing(History.open(house.parent / "vramwatch.db")) as history:
        return {row.owner.name for row in history.series() if row.owner}


def test_an_owner_is_deleted_after_it_was_shown_and_agreed_to(house):
    result = forget(house, "--owner", "chat", answer="y\n")
    assert "unit:chat.service: processes 1, series 2" in result.stdout
    assert "deleted: owners 1, processes 1, series 2" in result.stdout
    assert owners(house) == {"train"}


def test_the_question_says_how_many_incidents_are_to_go(house):
    with closing(Store.open(house.parent / "vramwatch.db", "nvml", "0.1.0")) as store:
        store.write(replace(poll(21), transitions=(transition(21),)))
    asked = forget(house, "--owner", "chat", answer="n\n", code=1)
    assert "series 2, incidents 1 with what was told and said of them" in asked.stdout


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_deleted_unless_somebody_agrees(house, answer):
    forget(house, "--owner", "chat", answer=answer, code=1)
    assert owners(house) == {"chat", "train"}


def test_a_user_goes_with_all_processes(house):
    forget(house, "--user", "bob", "--yes")
    with closing(History.open(house.parent / "vramwatch.db")) as history:
        assert {row.process.user for row in history.series() if row.process} == {"alice"}


def test_several_owners_go_by_glob(house):
    forget(house, "--owner", "unit:*", "--yes")
    assert owners(house) == set()


def test_the_whole_gpu_is_not_forgotten(house):
    forget(house, "--owner", "*", "--yes")
    with closing(History.open(house.parent / "vramwatch.db")) as history:
        assert any(row.key.quantity == "used_bytes" for row in history.series())


def daemon_of(store, answer, house):
    """A daemon's socket: it says that it writes ``store``, and gives ``answer`` to all else."""

    def replies(request):
        return {"writes": mark(store)} if request.verb == "ping" else answer(request)

    return closing(ControlServer(house.parent / "control.sock", None, replies))


@pytest.mark.parametrize("is_named", [False, True])
def test_the_daemon_that_holds_the_store_is_asked(house, is_named):
    asked = []

    def answer(request):
        asked.append((request.verb, dict(request.arguments)))
        return {"owners": 1, "processes": 1, "series": 2, "samples": 38}

    path = house.parent / "vramwatch.db"
    named = ("--store", str(path)) if is_named else ()
    with closing(Store.open(path, "nvml", "0.1.0")), daemon_of(path, answer, house):
        result = forget(house, *named, "--owner", "chat", "--yes")
    assert asked == [("forget", {"owner": CHAT.key})]
    assert "deleted: owners 1, processes 1, series 2, samples 38" in result.stdout


def test_a_daemon_that_refuses_is_quoted(house):
    def answer(request):
        raise ControlError("mallory may not ask this")

    path = house.parent / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")), daemon_of(path, answer, house):
        result = forget(house, "--user", "bob", "--yes", code=1)
    assert "mallory may not ask this" in result.stderr
    assert owners(house) == {"chat", "train"}


def test_no_daemon_is_asked_about_a_store_that_is_not_its_own(house, tmp_path):
    other = tmp_path / "other.db"
    with closing(Store.open(other, "nvml", "0.1.0")) as store:
        store.write(poll(1, holding(10, Bytes(GIB), CHAT)))

        def answer(request):
            raise AssertionError("the wrong daemon was asked")

        with daemon_of(house.parent / "vramwatch.db", answer, house):
            result = forget(house, "--store", str(other), "--owner", "chat", "--yes", code=1)
    assert f"pid {os.getpid()}" in result.stderr
    assert "control.sock does not write it; name the socket of the one that does" in result.stderr


def test_a_daemon_of_another_socket_is_asked_once_its_socket_is_named(house, monkeypatch):
    path = house.parent / "vramwatch.db"
    elsewhere = house.parent / "elsewhere.sock"
    monkeypatch.setenv("VRAMWATCH_CONTROL__SOCKET", str(elsewhere))
    with closing(Store.open(path, "nvml", "0.1.0")), daemon_of(path, lambda request: {"owners": 1}, house):
        refused = forget(house, "--store", str(path), "--owner", "chat", "--yes", code=1)
        assert f"no daemon listens on {elsewhere}" in refused.stderr
        assert "VRAMWATCH_CONTROL__SOCKET=PATH" in refused.stderr
        monkeypatch.delenv("VRAMWATCH_CONTROL__SOCKET")
        assert "owners 1" in forget(house, "--store", str(path), "--owner", "chat", "--yes").stdout


def test_a_running_daemon_forgets_and_goes_on(house):
    path = house.parent / "vramwatch.db"
    path.unlink()
    command = [sys.executable, "-m", "vramwatch", "run", "--source", "simulated", "--store", str(path)]
    fast = [
        "--set",
        "source.simulated.start=1h",
        "--set",
        "source.simulated.speed=600",
        "--set",
        "http.listen=null",
    ]
    daemon = subprocess.Popen([*command, *fast, "--config", str(house)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: path.exists() and "chat.service" in owners(house))
        forget(house, "--store", str(path), "--owner", "chat.service", "--yes")
        with closing(History.open(path)) as history:
            before = history.span()
            wait_for(lambda: history.span() > before)
        assert daemon.poll() is None
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "either --owner or --user"),
        (["--owner", "chat", "--user", "bob"], "either --owner or --user"),
        (["--owner", "nobody"], "there are: chat, train"),
        (["--user", "nobody"], "no process of a user 'nobody'"),
    ],
)
def test_what_cannot_be_meant_is_refused(house, arguments, told):
    assert told in forget(house, *arguments, "--yes", code=2).stderr
    assert owners(house) == {"chat", "train"}
