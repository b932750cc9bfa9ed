"""The service as an administrator meets it, on a machine without a network: installed from the archive,
started, killed, hung, reloaded, taken away. ``make test-systemd`` runs it; skipped where there is no machine.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.nvml.driver import FakeDriver
from tests.systemd.machine import ROOT, booted
from tests.waiting import wait_until

VRAMWATCH = "/opt/vramwatch/bin/vramwatch"
STATE, LIBRARY = "/srv/nvml", "/srv/nvml-library"

TEST_DRIVER = f"""\
[Service]
Environment=VRAMWATCH_TEST_NVML={STATE}/state LD_LIBRARY_PATH={LIBRARY}
ReadWritePaths={STATE}
"""

SITE = "/opt/vramwatch-0.1.0/lib/python3.11/site-packages"

FIRST_STORE = """
import sqlite3
from pathlib import Path
wall = 1795144260.0  # 2026-11-20 03:11 UTC
store = sqlite3.connect("/var/lib/vramwatch/vramwatch.db")
store.executescript(Path("%s/vramwatch/store/migrations/0001_first.sql").read_text())
store.execute("INSERT INTO schema_version (version, program) VALUES (1, '0.1.0')")
store.execute("INSERT INTO run VALUES (1, 'boot', 'nvml', '0.1.0', ?, NULL, 0)", (wall,))
store.execute("INSERT INTO pace VALUES (1, 1.0, 5.0, NULL)")
store.execute("INSERT INTO gpu VALUES (1, 'GPU-old', '0', 'NVIDIA L4', NULL, NULL, 0)")
for id, quantity in ((1, "used_bytes"), (2, "total_bytes"), (3, "reserved_bytes")):
    store.execute("INSERT INTO series VALUES (?, 1, 'gpu', '', ?, 'bytes', NULL, NULL, NULL)", (id, quantity))
for n in range(1, 121):
    store.execute("INSERT INTO poll VALUES (?, ?, ?, 1, 1, 0.001)", (n, wall + n, float(n)))
store.execute("INSERT INTO ledger VALUES (1, 1, 'v2', '', 1)")
for id, value in ((1, 7 << 30), (2, 24 << 30), (3, 0)):
    store.execute("INSERT INTO sample VALUES (?, 1, ?)", (id, value))
store.execute("PRAGMA application_id = %d")
store.execute("PRAGMA user_version = 1")
store.commit()
""" % (SITE, int.from_bytes(b"VRAM"))  # noqa: UP031 - braces stand in it

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not (ROOT / ".whole").exists() or shutil.which("systemd-nspawn") is None,
        reason="no machine to boot: make test-systemd, as root, makes one",
    ),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def driver():
    with FakeDriver(gpus=2) as driver:
        state = Path(driver.environment()["VRAMWATCH_TEST_NVML"])
        state.parent.chmod(0o755)
        state.chmod(0o666)  # the service's user reads and writes it
        yield driver


@pytest.fixture(scope="module")
def machine(driver, tmp_path_factory):
    environment = driver.environment()
    state = Path(environment["VRAMWATCH_TEST_NVML"]).parent
    library = environment["LD_LIBRARY_PATH"].split(":")[0]
    binds = (f"--bind={state}:{STATE}", f"--bind-ro={library}:{LIBRARY}", "--bind-ro=dist:/bundle")
    with booted(tmp_path_factory.mktemp("machine") / "console", *binds) as machine:
        machine.run(
            "sh", "-c", "cd /root && tar xzf /bundle/vramwatch-*.tar.gz && vramwatch-*/install", within=500
        )
        machine.write("/etc/systemd/system/vramwatch.service.d/test.conf", TEST_DRIVER)
        machine.run(VRAMWATCH, "service", "install", "--yes")
        yield machine


def status(machine):
    return machine.show("StatusText")


def until_it_says(machine, text):
    wait_until(lambda: text in status(machine), f"STATUS {text}: {status(machine)}", 60)


def test_it_is_installed_and_runs_as_a_user_of_its_own_and_says_how_it_stands(machine):
    until_it_says(machine, "2 GPUs, 0 open incidents, last poll")
    said = machine.say(VRAMWATCH, "service", "status")
    assert said.splitlines()[0].startswith("vramwatch.service: active (running)")
    assert "profile: observe" in said
    pid = machine.show("MainPID")
    assert machine.say("stat", "-c", "%U", f"/proc/{pid}") == "vramwatch"
    assert "CapEff:\t0000000000000000" in machine.say("cat", f"/proc/{pid}/status")


def test_its_verbs_find_it_without_any_option(machine):
    told = json.loads(machine.say(VRAMWATCH, "status", "--format", "json"))
    assert len(told["gpus"]) == 2
    assert "answers on /run/vramwatch/control.sock" in machine.run(VRAMWATCH, "doctor", check=False).stdout


def test_its_files_are_read_by_its_group_and_by_nobody_else(machine):
    said = machine.say("stat", "-c", "%A %U %G", "/var/lib/vramwatch", "/var/lib/vramwatch/vramwatch.db")
    assert said.splitlines() == ["drwxr-x--- vramwatch vramwatch", "-rw-r----- vramwatch vramwatch"]
    assert machine.say("stat", "-c", "%A %U %G", "/etc/vramwatch/config.yaml") == "-rw-r----- root vramwatch"


def test_a_driver_that_hangs_blinds_it_and_the_process_stays(machine, driver):
    before = machine.show("MainPID")
    driver.hang("nvmlDeviceGetMemoryInfo_v2")
    until_it_says(machine, "blind since")
    machine.run("sleep", "35")  # longer than WatchdogSec: what must not happen needs its time
    assert status(machine).startswith("blind since")
    driver.clear_faults()
    until_it_says(machine, "2 GPUs")
    assert machine.show("MainPID") == before
    assert machine.show("NRestarts") == "0"


def test_a_daemon_that_stands_still_is_restarted_by_the_watchdog(machine):
    before = machine.show("MainPID")
    machine.run("kill", "-STOP", before)
    wait_until(lambda: machine.show("MainPID") not in (before, "0"), "it is restarted", 60)
    until_it_says(machine, "2 GPUs")


def test_kill_9_is_followed_by_a_reading_within_seconds_and_a_known_gap(machine):
    before = machine.show("MainPID")
    machine.run("kill", "-9", before)
    wait_until(lambda: machine.show("MainPID") not in (before, "0"), "it is restarted", 35)
    until_it_says(machine, "2 GPUs")
    assert "daemon_stopped" in machine.say(VRAMWATCH, "history", "--since", "1h", "--format", "json")


def test_a_reload_takes_up_what_was_changed(machine):
    machine.run("sh", "-c", "printf 'poll: {interval: 2s}\\n' >> /etc/vramwatch/config.yaml")
    machine.run("systemctl", "reload", "vramwatch.service")
    wait_until(lambda: "were read again" in machine.journal(), "it was read again")


def test_installing_again_overwrites_nothing_that_was_changed(machine):
    said = machine.say(VRAMWATCH, "service", "install", "--yes")
    assert "leave    /etc/vramwatch/config.yaml, which somebody changed" in said
    assert "keep     /etc/systemd/system/vramwatch.service, as it is" in said
    assert "poll: {interval: 2s}" in machine.say("cat", "/etc/vramwatch/config.yaml")
    assert "changed since it was installed: /etc/vramwatch/config.yaml" in machine.say(
        VRAMWATCH, "service", "status"
    )


def test_a_bad_configuration_ends_it_with_its_reason_and_is_not_tried_over_and_over(machine):
    machine.run("sh", "-c", "printf 'nonsense: 1\\n' >> /etc/vramwatch/config.yaml")
    machine.run("systemctl", "restart", "vramwatch.service", check=False)
    wait_until(lambda: machine.show("ActiveState") == "failed", "it gives up")
    assert machine.show("ExecMainStatus") == "78"
    assert "config.yaml" in machine.journal().splitlines()[-1] or "nonsense" in machine.journal()
    machine.run("sed", "-i", "/nonsense/d", "/etc/vramwatch/config.yaml")
    machine.run("systemctl", "restart", "vramwatch.service")
    until_it_says(machine, "2 GPUs")


WORKER = """
import sys, time
sys.path.insert(0, "/root/sdk")
from vramwatch.sdk import enroll
enroll(name="chat", on_pressure=lambda: None)
time.sleep(600)
"""


def test_a_worker_of_a_group_of_its_own_enrols_with_the_service(machine):
    machine.run("groupadd", "--force", "inference")
    before = machine.say("cat", "/etc/vramwatch/config.yaml")
    machine.write("/etc/vramwatch/config.yaml", f"{before}\nworkers: {{group: inference}}\n")
    said = machine.say(VRAMWATCH, "service", "install", "--yes")
    assert "write    /etc/systemd/system/vramwatch.service.d/workers.conf" in said
    until_it_says(machine, "2 GPUs")
    machine.write("/srv/worker.py", WORKER.replace("/root/sdk", SITE))
    machine.run(
        "systemd-run", "--unit=worker", "--uid=65534", "--gid=inference",
        "/usr/bin/python3", "/srv/worker.py",
    )  # fmt: skip
    pid = int(machine.show("MainPID", "worker.service"))

    def enrolled():
        return json.loads(machine.say(VRAMWATCH, "status", "--format", "json")).get("workers") or []

    wait_until(lambda: [each["pid"] for each in enrolled()] == [pid], "the worker is enrolled", 60)
    machine.run("systemctl", "stop", "worker.service")
    wait_until(lambda: enrolled() == [], "its consent ended with it", 30)
    machine.write("/etc/vramwatch/config.yaml", f"{before}\n")
    machine.run("chown", "root:vramwatch", "/etc/vramwatch/config.yaml")
    machine.run(VRAMWATCH, "service", "install", "--yes")


def test_the_whole_way_of_a_remedy_is_rehearsed_within_the_service_s_machine(machine):
    said = machine.run(VRAMWATCH, "doctor", "--remedies", check=False)
    assert "fail" not in said.stdout, said.stdout


def test_a_channel_brings_the_drop_in_that_opens_the_network_and_its_end_takes_it_away(machine):
    channels = "alerting: {mode: tell}\nchannels: {hook: {webhook: {url: 'http://192.0.2.1/'}}}\n"
    before = machine.say("cat", "/etc/vramwatch/config.yaml")
    machine.write("/etc/vramwatch/config.yaml", f"{before}\n{channels}")
    said = machine.say(VRAMWATCH, "service", "install", "--yes")
    assert "write    /etc/systemd/system/vramwatch.service.d/network.conf" in said
    assert "profile: observe + network" in machine.say(VRAMWATCH, "service", "status")
    machine.write("/etc/vramwatch/config.yaml", f"{before}\n")
    machine.run("chown", "root:vramwatch", "/etc/vramwatch/config.yaml")
    said = machine.say(VRAMWATCH, "service", "install", "--yes")
    assert "remove   /etc/systemd/system/vramwatch.service.d/network.conf" in said


SECRET = "hunter2"


@pytest.fixture
def foreign(machine):
    """A process of another user that has a GPU's device file open, and a job's name in its environment."""
    machine.run("sh", "-c", "touch /dev/nvidia0 && chmod 666 /dev/nvidia0")
    machine.run(
        "systemd-run", "--unit=foreign", "--uid=65534", "--setenv=SLURM_JOB_ID=77",
        "--setenv=SLURM_JOB_NAME=train", f"--setenv=PASSWORD={SECRET}",
        "sh", "-c", "exec 9</dev/nvidia0; exec sleep 3600",
    )  # fmt: skip
    pid = machine.show("MainPID", "foreign.service")
    yield int(pid)
    machine.run("systemctl", "stop", "foreign.service", check=False)


def ask_as_the_service(machine, question):
    """Ask with the rights of the service's user and return what it is told."""
    ask = f"from vramwatch.procfs import IdentifySocket; print(IdentifySocket().{question})"
    python = f"{SITE}/../../../bin/python"
    return machine.say("setpriv", "--reuid=vramwatch", "--clear-groups", python, "-c", ask)


def test_in_the_profile_observe_what_proc_hides_is_named_and_not_seen(machine, foreign):
    said = machine.run(VRAMWATCH, "doctor", check=False).stdout
    assert "warn  processes: of other users' processes the daemon cannot see who has a GPU's device" in said
    assert "vramwatch service install --profile identify" in said
    look = f"cat /proc/{foreign}/environ"
    assert machine.run(
        "setpriv", "--reuid=vramwatch", "--clear-groups", "sh", "-c", look, check=False
    ).returncode


def test_in_the_profile_identify_a_helper_tells_it_and_nothing_more(machine, foreign):
    machine.run(VRAMWATCH, "service", "install", "--yes", "--profile", "identify")
    until_it_says(machine, "2 GPUs")
    assert "profile: identify" in machine.say(VRAMWATCH, "service", "status")
    assert "ok    processes: the helper" in machine.run(VRAMWATCH, "doctor", check=False).stdout
    ticks = machine.say("sh", "-c", f"cut -d' ' -f22 /proc/{foreign}/stat")
    told = ask_as_the_service(machine, f"environment({foreign}, {ticks})")
    assert sorted(json.loads(told.replace("'", '"')).items()) == [
        ("SLURM_JOB_ID", "77"),
        ("SLURM_JOB_NAME", "train"),
    ]
    assert f"pid={foreign}" in ask_as_the_service(machine, "holders()")
    stranger = (
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        "sh",
        "-c",
        "echo x > /run/vramwatch-identify/socket",
    )
    assert machine.run(*stranger, check=False).returncode
    helper = machine.show("MainPID", "vramwatch-identify.service")
    assert "CapEff:\t0000000000080004" in machine.say("cat", f"/proc/{helper}/status")
    assert "CapEff:\t0000000000000000" in machine.say("cat", f"/proc/{machine.show('MainPID')}/status")
    machine.run(VRAMWATCH, "service", "install", "--yes", "--profile", "observe")
    assert machine.run("systemctl", "cat", "vramwatch-identify.socket", check=False).returncode


def test_it_goes_back_to_the_version_before_with_the_history_of_then_and_says_what_is_lost(machine):
    machine.run("cp", "-a", "/opt/vramwatch-0.1.0", "/opt/vramwatch-0.0.9")
    before = "s,/opt/vramwatch-0.1.0,/opt/vramwatch-0.0.9,"
    machine.run("sed", "-i", before, "/opt/vramwatch-0.0.9/bin/vramwatch")
    machine.write(f"{SITE}/vramwatch/store/migrations/9999_next.sql", "CREATE TABLE next (value);")
    machine.run("systemctl", "restart", "vramwatch.service")  # it is the next version now
    until_it_says(machine, "2 GPUs")
    day = machine.say("date", "-u", "+%Y-%m-%d")
    said = machine.say(VRAMWATCH, "service", "rollback", "--yes")
    assert "link     /opt/vramwatch -> /opt/vramwatch-0.0.9" in said
    assert f"what was kept since {day} is not in the history of the version before" in said
    assert machine.say("readlink", "/opt/vramwatch") == "/opt/vramwatch-0.0.9"
    until_it_says(machine, "2 GPUs")
    pid = machine.show("MainPID")
    assert "vramwatch-0.0.9" in machine.say("cat", f"/proc/{pid}/cmdline")
    assert machine.say("sh", "-c", "ls /var/lib/vramwatch/vramwatch.db.rolled-back.*")
    machine.run("rm", f"{SITE}/vramwatch/store/migrations/9999_next.sql")
    machine.run("ln", "-sfn", "/opt/vramwatch-0.1.0", "/opt/vramwatch")
    machine.run("rm", "-r", "/opt/vramwatch-0.0.9")


def test_an_upgrade_over_a_history_of_the_first_schema_loses_nothing_and_keeps_a_copy(machine):
    machine.run("systemctl", "stop", "vramwatch.service")
    machine.run("sh", "-c", "rm -f /var/lib/vramwatch/vramwatch.db*")
    machine.write("/root/first.py", FIRST_STORE)
    machine.run(f"{SITE}/../../../bin/python", "/root/first.py")
    machine.run("chown", "vramwatch:vramwatch", "/var/lib/vramwatch/vramwatch.db")
    machine.run("systemctl", "start", "vramwatch.service")
    until_it_says(machine, "2 GPUs")
    told = machine.say(VRAMWATCH, "history", "--at", "2026-11-20T03:12:00Z", "--format", "json")
    assert json.loads(told)
    assert "GPU-old" in told
    kept = machine.say("sh", "-c", "ls -l /var/lib/vramwatch/vramwatch.db.schema-1.*")
    assert kept.startswith("-rw-r----- 1 vramwatch vramwatch")


def test_it_is_taken_away_again_and_its_history_stays(machine):
    machine.run(VRAMWATCH, "service", "uninstall", "--yes")
    assert machine.run("systemctl", "cat", "vramwatch.service", check=False).returncode != 0
    assert machine.say("ls", "/var/lib/vramwatch/vramwatch.db")
