"""What ``vramwatch run`` shows to whoever started it."""

import os
import socket
import sys
from contextlib import closing
from subprocess import run as start

import pytest

from tests.polls import poll
from vramwatch.cli.run import LOG_FORMAT, log_format
from vramwatch.store import History, Store

SHORT = (
    *("--set", "source.simulated.start=1m", "--set", "source.simulated.duration=1m"),
    *("--set", "source.simulated.speed=inf"),
)
"""A simulation that comes to its end at once."""


@pytest.fixture
def terminal():
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0), os.fdopen(theirs, "w") as stream:
        yield stream


def test_lines_of_the_log_have_their_times_on_a_terminal(terminal):
    assert log_format(terminal).startswith("%(asctime)s ")


def test_in_a_file_or_a_journal_lines_have_no_time_of_their_own(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        assert log_format(stream) == LOG_FORMAT


# --- what is refused leaves nothing behind ---------------------------------------------------------


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home of its own, in which no store, no socket and no configuration is yet."""
    for name in ("VRAMWATCH_CONFIG", "VRAMWATCH_STORE__PATH", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("VRAMWATCH_CONTROL__SOCKET", str(tmp_path / "control.sock"))
    monkeypatch.setenv("VRAMWATCH_HTTP__LISTEN", "off")
    return tmp_path


def simulate(*arguments):
    command = [sys.executable, "-m", "vramwatch", "run", "--source", "simulated", *SHORT, *arguments]
    return start(command, capture_output=True, text=True, check=False, timeout=60)


def there(folder):
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


def test_a_start_that_is_refused_for_its_port_leaves_no_store_behind(machine):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = simulate("--store", str(machine / "new/trial.db"), "--set", f"http.listen={address}")
    assert refused.returncode == 1
    assert address in refused.stderr
    assert there(machine) == set()


def test_a_start_that_is_refused_for_its_scenario_leaves_the_store_that_was_there(machine):
    store = machine / "trial.db"
    assert simulate("--store", str(store)).returncode == 0
    before = there(machine)
    refused = simulate("--store", str(store), "--set", "source.simulated.scenario=/nowhere.yaml")
    assert refused.returncode == 2
    assert there(machine) == before
    with closing(History.open(store)) as history:
        assert history.span() is not None


# --- the store of what is played -------------------------------------------------------------------


def test_a_simulation_keeps_to_the_store_that_a_named_configuration_names(machine):
    config = machine / "trial.yaml"
    config.write_text(f"store: {{path: {machine / 'trial.db'}}}\n")
    played = simulate("--config", str(config))
    assert played.returncode == 0, played.stderr
    assert f"writes the store {machine / 'trial.db'} alone" in played.stderr
    with closing(History.open(machine / "trial.db")) as history:
        assert history.span() is not None


def test_a_simulation_is_not_played_into_the_store_of_this_machines_configuration(machine):
    config = machine / "settings/vramwatch/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"store: {{path: {machine / 'real.db'}}}\n")
    refused = simulate()
    assert refused.returncode == 2
    assert f"{machine / 'real.db'} (store.path of {config}) is for the readings of this machine" in (
        refused.stderr
    )
    assert not (machine / "real.db").exists()


def test_a_simulation_is_not_played_into_a_store_of_real_readings(machine):
    with closing(Store.open(machine / "real.db", "nvml", "0.1.0")) as store:
        store.write(poll(1))
    refused = simulate("--store", str(machine / "real.db"))
    assert refused.returncode == 2
    assert (
        "real.db: holds readings of the source nvml, and those of simulated are not mixed" in refused.stderr
    )
