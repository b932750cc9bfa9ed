"""``vramwatch doctor`` over a driver that is driven live and over real stores."""

import json
import os
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, Process
from tests.polls import holding, instant, ledger
from vramwatch.cli import main
from vramwatch.clock import MonotonicClock
from vramwatch.control import ControlServer
from vramwatch.core.model import Poll
from vramwatch.store import Store, location

NOT_FOUND = 9
"""NVML_ERROR_DRIVER_NOT_LOADED (nvml.h)."""

NO_PERMISSION = 4
"""NVML_ERROR_NO_PERMISSION (nvml.h)."""


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No configuration, store or daemon of this machine is met."""
    for name in os.environ:
        if name.startswith("VRAMWATCH_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("VRAMWATCH_CONTROL__SOCKET", str(tmp_path / "control.sock"))
    monkeypatch.setattr(location, "SYSTEM", tmp_path / "system" / "vramwatch.db")


@pytest.fixture
def with_driver(alone, driver, monkeypatch):
    reachable(driver, monkeypatch)
    return driver


@pytest.fixture
def path(tmp_path):
    """A store that a daemon fills."""
    path = tmp_path / "s.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        now = MonotonicClock(1).now()
        store.write(Poll(now, (ledger(now, holding(10)),)))
        yield path


def reachable(driver, monkeypatch):
    for name, value in driver.environment().items():
        monkeypatch.setenv(name, value)


def doctor(*arguments):
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)])


def findings(*arguments):
    """Return what is found, by subject."""
    told = json.loads(doctor("--format", "json", *arguments).stdout)
    return {each["subject"]: each for each in told}


# --- the driver -----------------------------------------------------------------------------------


def test_without_a_driver_it_fails_and_says_what_to_do(with_driver, path):
    with_driver.fail("nvmlInit*", NOT_FOUND)
    result = doctor("--store", path)
    assert result.exit_code == 2
    assert "fail  driver: " in result.stdout
    assert (
        "-> install the NVIDIA driver; in a container: --gpus all; without a GPU: make try" in result.stdout
    )


def test_gpus_that_can_be_read_are_well(with_driver, path):
    with_driver.gpus[1].set_processes([Process(os.getpid(), 3 * GIB)])
    result = doctor("--store", path)
    assert result.exit_code == 0, result.output
    assert "ok    configuration: read without a fault" in result.stdout
    for number, used in ((0, "0 B"), (1, "3.0 GiB")):
        gpu = with_driver.gpus[number]
        assert f"ok    GPU {number}: {gpu.name} {gpu.uuid}: {used} of 80.0 GiB used\n" in result.stdout


def test_a_claim_that_is_withheld_is_a_warning_that_names_the_process(with_driver, path):
    with_driver.gpus[0].set_processes([Process(os.getpid(), None)])
    result = doctor("--store", path)
    assert result.exit_code == 0
    assert f"it does not say what pid {os.getpid()} held\n" in result.stdout
    assert "-> the driver withholds bytes under WSL and WDDM" in result.stdout


def test_a_list_that_cannot_be_read_is_a_warning_and_the_other_gpus_are_well(with_driver, path):
    with_driver.gpus[0].fail("nvmlDeviceGet*RunningProcesses*", NO_PERMISSION)
    found = findings("--store", path)
    assert found["GPU 0"]["grade"] == "warn"
    assert "nothing can be attributed" in found["GPU 0"]["remedy"]
    assert found["GPU 1"]["grade"] == "ok"


def test_a_gpu_that_fell_off_the_bus_fails_and_the_others_are_well(with_driver, path):
    with_driver.gpus[0].lose()
    found = findings("--store", path)
    assert {subject: found[subject]["grade"] for subject in ("GPU 0", "GPU 1")} == {
        "GPU 0": "fail",
        "GPU 1": "ok",
    }
    assert "Xid" in found["GPU 0"]["remedy"]


def test_an_old_driver_is_a_warning(alone, monkeypatch, path):
    with FakeDriver("R470", gpus=1) as driver:
        reachable(driver, monkeypatch)
        found = findings("--store", path)
    assert found["GPU 0"]["grade"] == "warn"
    assert "older than R510" in found["GPU 0"]["remedy"]


# --- how it is told -------------------------------------------------------------------------------


def test_json_is_a_list_of_findings_with_what_to_do(with_driver, path):
    with_driver.fail("nvmlInit*", NOT_FOUND)
    result = doctor("--store", path, "--format", "json")
    assert result.exit_code == 2
    told = json.loads(result.stdout)
    assert all(set(each) == {"subject", "grade", "text", "remedy"} for each in told)
    assert [each["remedy"][:29] for each in told if each["grade"] == "fail"] == [
        "install the NVIDIA driver; in"
    ]


def test_a_warning_is_a_failure_if_it_shall_be(with_driver, path):
    assert findings("--store", path)["daemon"]["grade"] == "warn"
    assert doctor("--store", path).exit_code == 0
    assert doctor("--store", path, "--strict").exit_code == 2


def test_a_configuration_with_faults_is_a_failure(with_driver, tmp_path):
    faulty = tmp_path / "config.yaml"
    faulty.write_text("polling: 1s\n")
    result = doctor("--config", faulty)
    assert result.exit_code == 2
    assert f"fail  configuration: {faulty}:1:1: " in result.stdout


# --- store and daemon -----------------------------------------------------------------------------


def test_a_store_that_is_being_filled_is_well(with_driver, path):
    assert findings("--store", path)["store"]["grade"] == "ok"


def test_a_store_whose_daemon_was_stopped_is_a_warning_that_says_so(with_driver, tmp_path):
    now = MonotonicClock(1).now()
    with closing(Store.open(tmp_path / "s.db", "nvml", "0.1.0")) as store:
        store.write(Poll(now, (ledger(now, holding(10)),)))
    found = findings("--store", tmp_path / "s.db")["store"]
    assert found["grade"] == "warn"
    assert found["remedy"].startswith("The daemon was stopped at ")


def test_a_store_that_stands_still_is_a_warning(with_driver, tmp_path):
    with closing(Store.open(tmp_path / "s.db", "nvml", "0.1.0")) as store:
        store.write(Poll(replace(instant(1), boot_id="of long ago")))
        found = findings("--store", tmp_path / "s.db")["store"]
    assert found["grade"] == "warn"
    assert found["remedy"].startswith("The daemon has written nothing for ")


def test_without_a_store_root_is_told_where_the_daemon_would_make_one(with_driver, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = findings()["store"]
    assert found["grade"] == "warn"
    assert str(location.SYSTEM) in found["text"]
    assert found["remedy"] == "vramwatch run begins one"


def test_a_daemon_that_answers_is_well(with_driver, path, tmp_path):
    with closing(ControlServer(tmp_path / "control.sock", None, lambda request: {})):
        assert findings("--store", path)["daemon"]["grade"] == "ok"
