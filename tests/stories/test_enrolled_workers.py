"""Workers that enrol with a whole daemon: what operators then see of them."""

import json
import os

from tests.nvml.gpu import Process
from tests.stories.test_the_daemon import House, stop
from tests.waiting import wait_until
from tests.workers import Line
from vramwatch.core.units import GIB
from vramwatch.sdk.wire import Device, Report, Welcome


def report(seq, gpu, reserved=6 * GIB, ooms=0, **more):
    kv = {"kv_logical": GIB, "kv_resident": 2 * GIB}
    device = Device(gpu.uuid, allocated=5 * GIB, reserved=reserved, ooms=ooms, **kv)
    return Report(seq, devices=(device,), requests_running=1, requests_total=40 + seq, **more)


def told(house, *words):
    done = house.say(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def newest(house, quantity):
    """Return the newest value of a figure of this process; None: there is none yet."""
    asked = ("--raw", "--since", "1h", "--pid", str(os.getpid()), "--quantity", quantity)
    done = house.say("history", *asked, "--format", "json")
    rows = json.loads(done.stdout) if done.returncode == 0 else []  # a quantity is unknown until it is told
    return rows[0]["points"][-1][quantity] if rows else None


def test_a_worker_enrols_reports_and_is_seen_by_status_and_history(tmp_path, driver):
    house = House(tmp_path, driver.environment())
    gpu = driver.gpus[0]
    gpu.set_processes([Process(os.getpid(), 7 * GIB)])
    with house.running() as daemon:
        house.until_ready()
        with Line(tmp_path / "enrol.sock") as line:
            assert isinstance(line.enrol(), Welcome)
            line.say(report(1, gpu))
            wait_until(lambda: newest(house, "torch_reserved_bytes"), "its series", every=0.5)
            (worker,) = told(house, "status")["workers"]
            text = house.say("status").stdout
        gone = wait_until(lambda: told(house, "status")["workers"] == [], "its consent ended")
        stop(daemon)
    assert gone
    assert (worker["pid"], worker["uid"], worker["name"]) == (os.getpid(), os.geteuid(), "chat")
    assert worker["remedies"] == ["ask", "signal:SIGURG"]
    assert worker["excess_bytes"] == {}
    assert "accepts ask signal:SIGURG" in text
    assert newest(house, "torch_reserved_bytes") == 6 * GIB
    assert newest(house, "engine_kv_bytes") == 2 * GIB
    assert newest(house, "used_bytes") == 7 * GIB


def test_a_worker_that_claims_more_than_the_driver_shows_is_doubted_and_the_books_stand(tmp_path, driver):
    house = House(tmp_path, driver.environment())
    gpu = driver.gpus[0]
    gpu.set_processes([Process(os.getpid(), 7 * GIB)])
    with house.running() as daemon:
        house.until_ready()
        with Line(tmp_path / "enrol.sock") as line:
            line.enrol()
            line.say(report(1, gpu, reserved=60 * GIB))
            wait_until(lambda: newest(house, "torch_reserved_bytes"), "its series", every=0.5)
            status = told(house, "status")
            text = " ".join(house.say("status").stdout.split())
        stop(daemon)
    assert status["workers"][0]["excess_bytes"] == {gpu.uuid: 53 * GIB}
    assert "53.0 GiB more than the driver does: its word is not used" in text
    (gpu_record,) = (each for each in status["gpus"] if each["gpu"] == gpu.uuid)
    assert gpu_record["used_bytes"] == gpu_record["holdings"][0]["used_bytes"] == 7 * GIB
    assert gpu_record["unattributed_bytes"] == 0


def test_a_place_where_no_worker_can_enrol_is_said_and_the_daemon_goes_on(tmp_path, driver):
    house = House(tmp_path, driver.environment())
    (tmp_path / "enrol.sock").symlink_to(tmp_path / "elsewhere")
    with house.running() as daemon:
        house.until_ready()
        assert told(house, "status")["workers"] is None
        said = stop(daemon)
    assert "no worker can enrol" in said
    assert "is a symbolic link" in said


def test_a_worker_that_was_refused_memory_is_told_of_as_an_incident_of_its_owner(tmp_path, driver):
    house = House(tmp_path, driver.environment())
    gpu = driver.gpus[0]
    gpu.set_processes([Process(os.getpid(), 7 * GIB)])
    with house.running() as daemon:
        house.until_ready()
        with Line(tmp_path / "enrol.sock") as line:
            line.enrol()
            line.say(report(1, gpu))
            wait_until(lambda: newest(house, "torch_reserved_bytes"), "its series", every=0.5)
            line.say(report(2, gpu, ooms=1))
            (incident,) = wait_until(lambda: told(house, "status")["incidents"], "an incident", every=0.5)
        stop(daemon)
    assert (incident["pattern"], incident["severity"]) == ("out_of_memory", "critical")
    assert (incident["pid"], incident["gpu"]) == (os.getpid(), gpu.uuid)
    assert incident["evidence"]["sentence"] == "out of memory while 1 request ran (worker)"
    assert incident["evidence"]["accidents"] == 1
    assert "origin=worker" in house.say("history", "--since", "1h").stdout
