"""Which store is read where nobody names one."""

import json
from contextlib import closing

import pytest
from click.testing import CliRunner

from tests.polls import poll
from vramwatch.cli import main
from vramwatch.control.control import ControlServer
from vramwatch.store import Store, location
from vramwatch.store.location import mark


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user without a configuration and without a store at the usual places."""
    for name in ("VRAMWATCH_CONFIG", "VRAMWATCH_STORE__PATH", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_CONFIG_HOME", "CONFIGURATION_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("VRAMWATCH_CONTROL__SOCKET", str(tmp_path / "control.sock"))
    monkeypatch.setattr(location, "SYSTEM", tmp_path / "system" / "vramwatch.db")
    return tmp_path


def filled(path, seq=1):
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(poll(seq))
    return path


def daemon(user, store, **said):
    """The socket of a daemon that writes ``store``."""
    reply = {"path": str(store), "writes": mark(store), **said}
    return closing(ControlServer(user / "control.sock", None, lambda request: reply))


def exported(*arguments, code=0):
    """What is in the store that is read; or what is said instead."""
    export = ["export", "--since", "2023-11-14", "--until", "2023-11-16", *arguments]
    result = CliRunner().invoke(main, export)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_where_no_store_is_in_its_place_that_of_the_daemon_that_answers_is_read(user):
    store = filled(user / "trial.db")
    with daemon(user, store):
        assert exported() == exported("--store", str(store))


def test_a_store_that_is_named_is_read_beside_any_daemon(user):
    with daemon(user, filled(user / "trial.db")):
        assert "other.db: there is no store" in exported("--store", str(user / "other.db"), code=74)


def test_a_store_in_its_place_is_read_beside_a_daemon_that_writes_another(user):
    location.SYSTEM.parent.mkdir()
    filled(location.SYSTEM, seq=3)
    with daemon(user, filled(user / "trial.db")):
        assert exported() == exported("--store", str(location.SYSTEM))


def test_a_store_that_is_another_file_here_than_the_daemons_is_not_taken_for_it(user):
    """A container has a file of its own at the path that the daemon tells."""
    store = filled(user / "trial.db")
    with daemon(user, store, writes="1:2"):
        assert "there is no store" in exported(code=74)
    with daemon(user, user / "missing.db"):
        assert "there is no store" in exported(code=74)


def test_a_store_that_was_moved_by_the_configuration_is_where_the_daemon_writes_until_it_restarts(user):
    config = user / "config.yaml"
    config.write_text(f"store: {{path: {user / 'moved.db'}}}\n")
    store = filled(user / "trial.db")
    with daemon(user, store):
        assert exported("--config", str(config)) == exported("--store", str(store))


def test_without_a_store_nothing_is_read_of_a_server_that_is_only_simulated(user):
    config = user / "config.yaml"
    config.write_text(f"source: simulated\nstore: {{path: {user / 'none.db'}}}\n")
    result = CliRunner().invoke(main, ["status", "--config", str(config)])
    assert result.exit_code == 74
    assert "none.db: there is no store" in result.stderr
    assert result.stdout == ""


def test_doctor_looks_at_it_too(user):
    with daemon(user, filled(user / "trial.db")):
        doctor = CliRunner().invoke(main, ["doctor", "--format", "json"])
    found = {each["subject"]: each for each in json.loads(doctor.stdout)}
    assert str(user / "trial.db") in found["store"]["text"]
