"""The whole daemon as a user runs it: a process of its own, signals, sockets, its store."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.nvml.gpu import GIB, Process
from tests.polls import poll
from tests.receivers import answering, receiving
from tests.waiting import PATIENCE, wait_until
from vramwatch.store import Store

VRAMWATCH = [sys.executable, "-m", "vramwatch"]


class House:
    """A place for one daemon: its store, its sockets, and the environment of its driver."""

    def __init__(self, folder, environment):
        self.store = folder / "history.db"
        self.control = folder / "control.sock"
        self.config = folder / "config.yaml"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.environment = {**os.environ, **environment}
        self.write_config("1s")

    def write_config(self, interval, **extra):
        sections = {
            "poll": f"{{interval: {interval}}}",
            "store": f"{{path: {self.store}}}",
            "control": f"{{socket: {self.control}, group: null}}",
            "http": f"{{listen: '127.0.0.1:{self.port}'}}",
            **extra,
        }
        self.config.write_text("".join(f"{name}: {options}\n" for name, options in sections.items()))

    def command(self, *words):
        return [*VRAMWATCH, *words, "--config", str(self.config)]

    def say(self, *words, **options):
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            **options,
        )

    @contextlib.contextmanager
    def running(self, *words):
        daemon = subprocess.Popen(
            self.command("run", *words), env=self.environment, stderr=subprocess.PIPE, text=True
        )
        try:
            yield daemon
        except BaseException as error:
            daemon.kill()
            if not daemon.stderr.closed:
                error.add_note(f"the daemon ended with {daemon.wait()} and said:\n{daemon.stderr.read()}")
            raise
        finally:
            daemon.kill()
            daemon.wait()
            daemon.stderr.close()

    def health(self, path="/-/ready"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except (urllib.error.URLError, ConnectionError):
            return 0, {}

    def until_ready(self):
        wait_until(lambda: self.health()[0] == 200, "the daemon is ready")


@pytest.fixture
def house(tmp_path, driver):
    return House(tmp_path, driver.environment())


@pytest.fixture
def house_without_driver(tmp_path):
    return House(tmp_path, {"LD_LIBRARY_PATH": str(tmp_path)})


def stop(daemon, number=signal.SIGTERM):
    daemon.send_signal(number)
    assert daemon.wait(PATIENCE) == 0
    return daemon.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_stop_ends_with_zero_and_leaves_no_child(house, driver, number):
    with house.running() as daemon:
        house.until_ready()
        stop(daemon, number)
    wait_until(lambda: not driver.clients(), "the reader has gone")
    assert not house.control.exists()


def test_the_daemon_says_at_start_what_it_will_watch_tell_and_touch_and_then_is_silent(house):
    with house.running() as daemon:
        house.until_ready()
        time.sleep(1.5)
        lines = stop(daemon).splitlines()
    assert sum("watches" in line for line in lines) == 1
    assert len(lines) <= 6


def test_what_the_driver_says_can_be_asked_while_the_daemon_runs_and_after_it(house, driver):
    with house.running() as daemon:
        house.until_ready()
        live = json.loads(house.say("status", "--format", "json").stdout)
        stop(daemon)
    assert len(live["gpus"]) == 2
    after = house.say("history", "--format", "json", "--since", "1h")
    assert after.returncode == 0
    assert json.loads(after.stdout)


def test_without_a_driver_the_daemon_stays_up_blind_and_says_why(house_without_driver):
    house = house_without_driver
    with house.running() as daemon:
        wait_until(lambda: "libnvidia" in (house.health("/-/healthy")[1].get("blind") or ""), "blind")
        assert house.health("/-/healthy")[0] == 200
        assert house.health("/-/ready")[0] == 503
        assert daemon.poll() is None
        stop(daemon)


def test_without_a_driver_a_required_gpu_ends_the_daemon_with_69(house_without_driver):
    done = house_without_driver.say("run", "--require-gpu")
    assert done.returncode == 69
    assert "make try" in done.stderr


def test_real_readings_in_a_store_into_which_something_was_played_are_told_of_in_the_log(
    house_without_driver,
):
    with contextlib.closing(Store.open(house_without_driver.store, "simulated", "0.1.0")) as store:
        store.write(poll(1))
    done = house_without_driver.say("run", "--require-gpu")
    assert done.returncode == 69  # and not 2: a server is watched all the same
    assert "the store holds readings of the source simulated" in done.stderr


def test_a_release_frees_the_driver_for_others_and_a_resume_takes_it_up_again(house, driver):
    with house.running() as daemon:
        house.until_ready()
        assert len(driver.clients()) == 1
        assert house.say("release", "--for", "5m").returncode == 0
        wait_until(lambda: not driver.clients(), "the GPUs are released")
        assert "released" in house.health()[1]["blind"]
        assert house.say("resume").returncode == 0
        house.until_ready()
        assert len(driver.clients()) == 1
        stop(daemon)


def test_a_changed_configuration_is_taken_up_by_sighup_and_a_bad_one_is_refused(house):
    with house.running() as daemon:
        house.until_ready()
        house.write_config("nonsense")
        daemon.send_signal(signal.SIGHUP)
        time.sleep(1.2)
        house.write_config("200ms")
        daemon.send_signal(signal.SIGHUP)
        before = house.health()[1]["polls"]
        wait_until(lambda: house.health()[1]["polls"] >= before + 10, "it polls faster")
        said = stop(daemon)
    assert "configuration kept as it was" in said
    assert said.rstrip().endswith("stopped")


def test_a_channel_that_is_new_in_the_configuration_is_told_after_sighup(house):
    with receiving(answering(200, "ok")) as receiver, house.running() as daemon:
        house.until_ready()
        assert "no channel is configured" in house.say("check", "--send", "hook").stderr
        channels = f"{{hook: {{webhook: {{url: '{receiver.url}'}}}}}}"
        house.write_config("200ms", channels=channels, alerting="{mode: tell}")
        daemon.send_signal(signal.SIGHUP)
        sent = "hook: delivered, from the service: HTTP 200: ok\n"
        wait_until(lambda: house.say("check", "--send", "hook").stdout == sent, "the channel is known")
        assert house.say("silence", "list").stdout == ""  # and it observes no longer
        said = stop(daemon)
    assert "tells incidents to hook; " in said
    assert receiver.got[-1].json["kind"] == "test"


def test_kill_9_loses_nothing_and_the_time_without_a_daemon_is_a_known_gap(house):
    with house.running() as daemon:
        house.until_ready()
        daemon.kill()
        daemon.wait()
    with house.running() as daemon:
        house.until_ready()
        stop(daemon)
    told = house.say("history", "--format", "json", "--since", "1h")
    assert "daemon_stopped" in told.stdout


def test_a_second_daemon_on_the_same_store_is_refused_with_74(house):
    with house.running() as daemon:
        house.until_ready()
        second = house.say("run")
        assert second.returncode == 74
        assert str(daemon.pid) in second.stderr
        stop(daemon)


def test_a_simulated_server_plays_into_a_store_of_its_own_and_ends_with_zero(house):
    played = house.say(
        "run", "--source", "simulated", "--store", str(house.store),
        "--set", "source.simulated.speed=inf", "--set", "source.simulated.start=1h",
        "--set", "source.simulated.duration=30m", "--set", "poll.interval=10s", "--set", "poll.slowest=10s",
    )  # fmt: skip
    assert played.returncode == 0, played.stderr
    shown = house.say("status", "--store", str(house.store), "--format", "json")
    assert len(json.loads(shown.stdout)["gpus"]) == 4


def test_a_recording_plays_beside_a_running_daemon_and_says_how_to_ask_for_it(house, tmp_path):
    recording = tmp_path / "day.csv"
    recording.write_text(
        "time,gpu,pid,used_bytes,total_bytes\n"
        "2026-11-20T03:11:00,GPU-a,,21474836480,85899345920\n"
        "2026-11-20T03:12:00,GPU-a,,32212254720,85899345920\n"
    )
    words = ["run", "--source", "replay", str(recording), "--store", str(tmp_path / "day.db")]
    with house.running():
        wait_until(house.store.exists, "the daemon runs")
        played = house.say(*words)
        assert played.returncode == 0, played.stderr
        assert "--since 1795144260" in played.stderr
        again = house.say(*words)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_simulation_must_not_be_mixed_into_real_history(house_without_driver):
    house = house_without_driver
    house.config.write_text("log: {level: info}\n")
    done = house.say("run", "--source", "simulated")
    assert done.returncode == 2
    assert "--store" in done.stderr


def test_bad_configuration_ends_with_78_and_every_fault(house):
    house.config.write_text("poll: {intervall: 1s}\nstore: {path: 7}\nhttp: {listen: '0.0.0.0:80'}\n")
    done = house.say("run")
    assert done.returncode == 78
    assert "config.yaml:1:8" in done.stderr
    assert "interval" in done.stderr
    assert done.stderr.count("config.yaml:") >= 3


def test_help_is_quick_and_imports_neither_the_store_nor_the_configuration():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vramwatch", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for heavy in ("sqlalchemy", "numpy", "pydantic", "rich", "torch", "pynvml", "apscheduler"):
        assert f" {heavy}\n" not in done.stderr


def test_plan_asks_the_daemon_what_is_free_and_needs_no_database_for_it(house, driver):
    driver.gpus[0].set_processes([Process(4_194_299, 3 * GIB)])
    with house.running() as daemon:
        house.until_ready()
        command = house.command("plan", "llama-3.2-1b", "--gpu", "0", "--formula", "--format", "json")
        done = subprocess.run(
            [command[0], "-X", "importtime", *command[1:]],
            env=house.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        stop(daemon)
    (gpu,) = json.loads(done.stdout)["gpus"]
    assert gpu["gpu"] == "GPU 0"
    assert gpu["free_bytes"] <= gpu["total_bytes"] - 3 * GIB
    for heavy in ("sqlalchemy", "vramwatch.config.shape", "vramwatch.core.incidents"):
        assert f" {heavy}\n" not in done.stderr
