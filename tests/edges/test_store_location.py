"""Where the store is looked for, and where a daemon puts it."""

import os
from pathlib import Path

import pytest

from vramwatch.store import location

OWN = Path("vramwatch/vramwatch.db")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(location, "SYSTEM", tmp_path / "var" / "vramwatch.db")
    return tmp_path / "home"


def test_what_the_command_line_names_comes_first_and_the_configuration_second():
    assert location.locate(Path("a.db"), Path("b.db")) == Path("a.db")
    assert location.locate(None, Path("b.db")) == Path("b.db")


@pytest.fixture
def a_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_the_systems_store_is_read_where_it_may_be_and_the_users_own_elsewhere(home, a_user):
    assert location.locate(None, None) == home / ".local/state" / OWN
    location.SYSTEM.parent.mkdir()
    location.SYSTEM.touch()
    assert location.locate(None, None) == location.SYSTEM


def test_root_without_a_store_looks_where_its_daemon_would_make_one_but_finds_an_own_one(home, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert location.locate(None, None) == location.SYSTEM
    own = home / ".local/state" / OWN
    own.parent.mkdir(parents=True)
    own.touch()
    assert location.locate(None, None) == own


def test_the_users_state_directory_is_the_one_of_the_session_if_it_is_absolute(
    home, a_user, monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert location.locate(None, None) == tmp_path / "state" / OWN
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert location.locate(None, None) == home / ".local/state" / OWN


def test_a_unit_writes_where_systemd_says(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/run/first:/run/second")
    assert location.default_for_writing() == Path("/run/first/vramwatch.db")


def test_root_writes_to_the_system_and_a_user_to_their_own(home, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert location.default_for_writing() == location.SYSTEM
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert location.default_for_writing() == home / ".local/state" / OWN
