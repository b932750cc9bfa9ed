"""``vramwatch doctor`` over a driver that is driven live and over real stores."""

import json
import os
import socket
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, Process
from tests.polls import holding, instant, ledger
from tests.verdicts import EVIDENCE, transition
from vramwatch.cli import main
from vramwatch.cli.outward import drop_ins
from vramwatch.clock import MonotonicClock
from vramwatch.config import load
from vramwatch.control.control import ControlServer
from vramwatch.core.incidents import State, Subject
from vramwatch.core.model import SubjectKind
from vramwatch.core.poll import Poll
from vramwatch.store import Store, location
from vramwatch.telling.reaching import PROXY_VARIABLES

NOT_FOUND = 9
"""NVML_ERROR_DRIVER_NOT_LOADED (nvml.h)."""

NO_PERMISSION, RESET_REQUIRED = 4, 16
"""NVML_ERROR_NO_PERMISSION and NVML_ERROR_RESET_REQUIRED (nvml.h)."""


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


def test_a_gpu_that_must_be_reset_is_named_as_nvidia_smi_takes_it(with_driver, path):
    with_driver.gpus[0].fail("nvmlDeviceGetMemoryInfo*", RESET_REQUIRED)
    told = findings("--store", path)["GPU 0"]
    uuid = with_driver.gpus[0].uuid
    assert (
        told["remedy"] == f"vramwatch release, then nvidia-smi --gpu-reset -i {uuid}, then vramwatch resume"
    )


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


def test_a_daemon_that_answers_is_well_and_is_asked_nothing_twice(with_driver, path, tmp_path):
    asked = []

    def answer(request):
        asked.append(request.verb)
        return {}

    with closing(ControlServer(tmp_path / "control.sock", None, answer)):
        assert findings("--store", path)["daemon"]["grade"] == "ok"
    assert sorted(asked) == ["ping", "workers"]


# --- what is wrong with vramwatch itself ----------------------------------------------------------


def own(name, sentence, state=State.FIRING):
    """A transition of vramwatch's own incident ``name``."""
    made = transition(1, name.replace(" ", "-"), state, evidence=replace(EVIDENCE, sentence=sentence))
    subject = Subject("", SubjectKind.VRAMWATCH, name)
    return replace(made, incident=replace(made.incident, subject=subject))


@pytest.fixture
def troubled(tmp_path):
    """Return what writes a store whose daemon had these troubles at its only poll."""
    opened = []

    def write(*transitions):
        now = MonotonicClock(1).now()
        store = Store.open(tmp_path / "s.db", "nvml", "0.1.0")
        opened.append(store)
        moved = tuple(replace(each, at=now) for each in transitions)
        store.write(Poll(now, (ledger(now, holding(10)),), transitions=moved))
        return tmp_path / "s.db"

    yield write
    for each in opened:
        each.close()


def test_a_channel_that_the_service_cannot_tell_anything_is_named_with_why(with_driver, troubled):
    path = troubled(own("channel hook", "channel hook cannot be told anything: HTTP 403: no"))
    found = findings("--store", path)["channel hook"]
    assert found["grade"] == "warn"
    assert found["text"].startswith("channel hook cannot be told anything: HTTP 403: no (since 2023-11-1")
    assert "vramwatch check --send hook has the service try" in found["remedy"]
    text = doctor("--store", path).stdout
    assert "warn  channel hook: channel hook cannot be told anything: HTTP 403: no" in text
    assert doctor("--store", path, "--strict").exit_code == 2


def test_other_troubles_of_its_own_are_told_while_they_last(with_driver, troubled):
    path = troubled(
        own("configuration", "the configuration was kept as it was: c.yaml:3:1: no"),
        own("store", "what is seen cannot be kept: disk full"),
        own("store", "what is seen cannot be kept: disk full", State.RESOLVED),
        transition(1, "a-leak", State.FIRING),
    )
    told = json.loads(doctor("--store", path, "--format", "json").stdout)
    (found,) = (each for each in told if each["subject"] == "vramwatch")
    assert found["text"].startswith("the configuration was kept as it was: c.yaml:3:1: no (since ")
    assert "SIGHUP" in found["remedy"]
    assert not any("disk full" in each["text"] or "leak" in each["text"] for each in told)


def test_status_shows_them_too(troubled):
    path = troubled(own("channel hook", "channel hook cannot be told anything: HTTP 403: no"))
    shown = CliRunner().invoke(main, ["status", "--store", str(path)]).stdout
    assert "WARNING  vramwatch: channel hook cannot be told anything: HTTP 403: no" in shown


def test_each_channel_has_a_line_and_says_from_whose_network_its_receiver_was_tried(
    with_driver, path, tmp_path, monkeypatch
):
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as alive, socket.create_server(("127.0.0.1", 0)) as dead:
        ports = [each.getsockname()[1] for each in (alive, dead)]
        dead.close()
        config = tmp_path / "channels.yaml"
        config.write_text(
            "channels:\n"
            f"  alive: {{webhook: {{url: 'http://127.0.0.1:{ports[0]}/hush-hush'}}}}\n"
            f"  dead: {{webhook: {{url: 'http://127.0.0.1:{ports[1]}/hush-hush'}}}}\n"
            "  log: {journal: {}}\n"
        )
        result = doctor("--store", path, "--config", config)
    asking = f"VRAMWATCH_CONFIG={config} VRAMWATCH_CONTROL__SOCKET={tmp_path / 'control.sock'}"
    assert (
        f"warn  channel dead: 127.0.0.1:{ports[1]} takes no connection (Connection refused), from this "
        f"shell, not from the service\n      -> {asking} vramwatch check --send dead has the service try\n"
    ) in result.stdout
    alive = f"127.0.0.1:{ports[0]} takes connections, from this shell, not from the service"
    assert f"ok    channel alive: {alive}\n" in result.stdout
    log = f"{asking} vramwatch check --send log has the service try"
    assert f"ok    channel log: no connection would tell whether it is heard; {log}\n" in result.stdout
    assert "hush" not in result.output
    assert result.exit_code == 0


def test_a_channel_that_the_service_has_trouble_with_is_not_said_to_be_well(with_driver, troubled, tmp_path):
    path = troubled(own("channel log", "channel log cannot be told anything: no such socket"))
    config = tmp_path / "channels.yaml"
    config.write_text("channels: {log: {journal: {}}}\n")
    said = doctor("--store", path, "--config", config).stdout
    assert "warn  channel log: channel log cannot be told anything" in said
    assert "ok    channel log" not in said


def test_without_channels_and_remedies_it_says_so(with_driver, path):
    found = findings("--store", path)
    assert found["channels"]["grade"] == found["remedies"]["grade"] == "ok"
    assert "nobody is told" in found["channels"]["text"]
    assert "nothing is done to any process" in found["remedies"]["text"]


# --- remedies -------------------------------------------------------------------------------------


REMEDIES = """
remedies:
  permit: {argv: [%s]}
  ask: {}
  command: {mode: apply, argv: [%s], owners: ['*']}
"""


@pytest.fixture
def remedies(tmp_path):
    """Return what writes a configuration whose permit and whose remedy "command" are these programs."""

    def write(permit, program):
        file = tmp_path / "remedies.yaml"
        file.write_text(REMEDIES % (permit, program))
        return file

    return write


def test_each_remedy_has_a_line_with_its_mode(with_driver, path, remedies):
    found = findings("--store", path, "--config", remedies("/bin/true", "/bin/true"))
    assert (found["remedy ask"]["grade"], found["remedy command"]["grade"]) == ("ok", "ok")
    assert found["remedy ask"]["text"].startswith("dry_run: ")
    assert found["remedy command"]["text"].startswith("apply: ")
    assert "remedies" not in found


def test_a_program_that_is_not_there_or_may_not_be_run_is_named(with_driver, path, remedies, tmp_path):
    closed = tmp_path / "drain"
    closed.write_text("#!/bin/sh\n")
    closed.chmod(0o644)
    found = findings("--store", path, "--config", remedies("/no/such/lock", closed))
    assert found["remedy command"]["grade"] == found["remedies"]["grade"] == "warn"
    assert found["remedy command"]["text"] == f"{closed}: this user may not run it"
    assert found["remedies"]["text"].endswith("permitted: /no/such/lock: there is no such program")


def test_remedies_that_are_switched_off_are_a_warning_that_says_why(with_driver, path, remedies, tmp_path):
    said = {"off": "/run/vramwatch/remedies.off stands"}
    with closing(ControlServer(tmp_path / "control.sock", None, lambda request: said)):
        found = findings("--store", path, "--config", remedies("/bin/true", "/bin/true"))
    assert found["remedies"]["text"] == "off: /run/vramwatch/remedies.off stands"
    assert "vramwatch remedies on, when it is time" in found["remedies"]["remedy"]


@pytest.mark.parametrize(
    ("configured", "stands", "words"),
    [
        ("remedies: {signal: {}}", (), "without its drop-in remedies: the remedy signal"),
        (
            "http: {listen: off}",
            ("network",),
            "it has the drop-in network, and the configuration needs it no",
        ),
        ("remedies: {signal: {}}", ("remedies",), None),
    ],
)
def test_a_unit_whose_drop_ins_are_not_those_of_the_configuration_is_told_so(
    tmp_path, configured, stands, words
):
    units = tmp_path / "units"
    (units / "vramwatch.service.d").mkdir(parents=True)
    (units / "vramwatch.service").touch()
    for name in stands:
        (units / "vramwatch.service.d" / f"{name}.conf").touch()
    file = tmp_path / "config.yaml"
    file.write_text(configured)
    found = list(drop_ins(load(file, {}, {}), units))
    assert [each.text.startswith(words) for each in found] == ([True] if words else [])
    assert all("vramwatch service install" in each.remedy for each in found)


# --- the file of the store ------------------------------------------------------------------------


def test_a_damaged_store_is_a_failure_that_says_what_becomes_of_it(with_driver, tmp_path):
    damaged = tmp_path / "s.db"
    with closing(Store.open(damaged, "nvml", "0.1.0")) as store:
        now = MonotonicClock(1).now()
        store.write(Poll(now, (ledger(now, holding(10)),)))
    with closing(sqlite3.connect(damaged)) as raw:
        (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'note'").fetchone()
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    with damaged.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    result = doctor("--store", damaged)
    assert result.exit_code == 2
    assert f"fail  store: {damaged}: the store cannot be used, it is damaged: " in result.stdout
    assert "-> at its start the daemon sets a damaged store aside with its date" in result.stdout


def test_the_room_on_its_disk_is_said(with_driver, path, monkeypatch):
    found = findings("--store", path)["disk"]
    assert found["text"].endswith(f" free at {path.parent}")
    disk = os.statvfs(path.parent)
    names = [name for name in dir(disk) if name.startswith("f_")]
    values = {name: getattr(disk, name) for name in names}
    full, closed = values | {"f_bavail": 7}, values | {"f_flag": os.ST_RDONLY}
    for changed, word in ((full, "make room"), (closed, "mount it for writing")):
        monkeypatch.setattr(os, "statvfs", lambda place, changed=changed: SimpleNamespace(**changed))
        found = findings("--store", path)["disk"]
        assert found["grade"] == "warn"
        assert word in found["remedy"]


def test_a_store_is_as_large_as_the_log_beside_it_makes_it(with_driver, path):
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("PRAGMA journal_mode = wal")
        reader.execute("CREATE TABLE filler (bytes BLOB)")
        reader.execute("INSERT INTO filler VALUES (zeroblob(3000000))")
        reader.commit()
        text = findings("--store", path)["store"]["text"]
    assert float(text.split("(")[1].split(" MiB")[0]) > 2.5


# --- workers --------------------------------------------------------------------------------------


def worker(pid, excess=None):
    return {"pid": pid, "excess_bytes": {} if excess is None else {"GPU-a": excess}}


@pytest.mark.parametrize(
    ("workers", "grade", "words"),
    [
        ([worker(7), worker(8)], "ok", "2 enrolled on "),
        (None, "warn", "none can enrol on "),
        ([worker(7), worker(8, GIB)], "warn", "pid 8 said to hold more than the driver does"),
    ],
)
def test_who_has_enrolled_is_said_by_the_daemon(with_driver, path, tmp_path, workers, grade, words):
    server = ControlServer(tmp_path / "control.sock", None, lambda request: {"workers": workers})
    with closing(server):
        found = findings("--store", path)["workers"]
    assert found["grade"] == grade
    assert found["text"].startswith(words)


def test_where_no_daemon_runs_nobody_can_enrol(with_driver, path, tmp_path):
    found = findings("--store", path)["workers"]
    assert found["grade"] == "warn"
    assert str(tmp_path / "enrol.sock") in found["text"]


def test_beside_a_daemon_that_is_simulated_no_driver_is_missed_and_no_worker_expected(
    with_driver, path, tmp_path
):
    server = ControlServer(tmp_path / "control.sock", None, lambda request: {"source": "simulated"})
    with closing(server):
        found = findings("--store", path)
    assert found["source"]["grade"] == found["workers"]["grade"] == "ok"
    assert found["source"]["text"].startswith("simulated, says the daemon: no driver is asked")
    assert found["workers"]["text"] == "none can enrol: simulated has no process of this machine"
    assert not any(subject.startswith("GPU") for subject, each in found.items() if "used" in each["text"])


def test_where_the_source_is_simulated_no_gpu_of_this_machine_is_made_up(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"source: simulated\nstore: {{path: {tmp_path / 'history.db'}}}\n")
    said = doctor("--config", config).output
    assert "ok    source: simulated: no driver is asked" in said
    assert "ok    workers: none can enrol: simulated has no process of this machine" in said
    assert "H100" not in said


# --- the archive for a bug report --------------------------------------------------------------------


def test_a_bundle_holds_what_was_found_and_no_name_path_or_secret(with_driver, path, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "owners: [{match: {user: alice}, name: hers}]\nstore: {path: /srv/alice/vramwatch.db}\n"
        "channels: {hook: {webhook: {url: 'http://127.0.0.1:9/hunter2'}}}\n"
    )
    archive = tmp_path / "report.tar.gz"
    done = doctor("--bundle", archive, "--config", file, "--store", path)
    assert f"wrote {archive}" in done.stderr
    assert archive.stat().st_mode & 0o077 == 0
    with tarfile.open(archive) as opened:
        texts = {name: opened.extractfile(name).read().decode() for name in opened.getnames()}
    assert {name.partition("/")[2] for name in texts} == {
        "doctor.json", "versions.txt", "configuration.yaml", "store.json", "log.txt",
    }  # fmt: skip
    told = json.loads(texts["vramwatch-bundle/doctor.json"])
    assert {"configuration", "driver", "store"} <= {each["subject"] for each in told}
    whole = "\n".join(texts.values())
    for secret in ("hunter2", "alice", "hers", str(tmp_path), socket.gethostname(), "llama.service"):
        assert secret not in whole
    assert "1 owners, 1 channels" in texts["vramwatch-bundle/configuration.yaml"]


def test_a_bundle_overwrites_no_file(with_driver, tmp_path):
    there = tmp_path / "report.tar.gz"
    there.write_text("mine")
    done = doctor("--bundle", there)
    assert done.exit_code == 1
    assert there.read_text() == "mine"
    assert "File exists" in done.stderr
