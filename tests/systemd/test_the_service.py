"""The service as an administrator meets it, on a machine without a network: installed from the archive,
started, killed, hung, reloaded, taken away. ``make test-systemd`` runs it; skipped where there is no machine.
"""

import json
import time

import pytest

from tests.systemd.machine import NEEDED, SITE, VRAMWATCH
from tests.waiting import wait_until

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

pytestmark = NEEDED


def test_it_is_installed_and_runs_as_a_user_of_its_own_and_says_how_it_stands(machine):
    machine.until_it_says("2 GPUs, 0 open incidents, last poll")
    said = machine.say(VRAMWATCH, "service", "status")
    assert said.splitlines()[0].startswith("vramwatch.service: active (running)")
    assert "profile: observe" in said
    pid = machine.show("MainPID")
    assert machine.say("stat", "-c", "%U", f"/proc/{pid}") == "vramwatch"
    assert "CapEff:\t0000000000000000" in machine.say("cat", f"/proc/{pid}/status")


ITS_OWN = (
    "/var/lib/vramwatch", "/run/vramwatch", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock",
    "/srv/nvml",
)  # fmt: skip
"""Where the service may write: its state, its sockets, what is private to it; where everybody may, as systemd
leaves /run with ProtectSystem=strict as it is; and the tests' driver."""


def test_whoever_has_taken_it_over_writes_nowhere_else_and_gains_nothing(machine):
    """In its own mount namespace and as its user: what a process that was taken over has."""
    pid = machine.show("MainPID")
    search = "find / ( -path /proc -o -path /sys ) -prune -o -type d -writable -print"
    user = machine.say("id", "-u", "vramwatch")
    found = machine.run(
        "nsenter", "-t", pid, "-m", "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
        *search.split(), check=False,
    ).stdout.splitlines()  # fmt: skip
    assert "/var/lib/vramwatch" in found
    assert [each for each in found if not each.startswith(ITS_OWN)] == []
    state = machine.say("cat", f"/proc/{pid}/status")
    for line in ("CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in state


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
    machine.until_it_says("blind since")
    machine.run("sleep", "35")  # longer than WatchdogSec: what must not happen needs its time
    assert machine.status().startswith("blind since")
    driver.clear_faults()
    machine.until_it_says("2 GPUs")
    assert machine.show("MainPID") == before
    assert machine.show("NRestarts") == "0"


WATCHDOG = 30.0
"""WatchdogSec= of the unit, seconds."""


def stored_at(machine):
    """Return when the newest stored reading was read, unix seconds."""
    told = machine.say(VRAMWATCH, "status", "--store", "/var/lib/vramwatch/vramwatch.db", "--format", "json")
    return json.loads(told)["time"]


def works_again_within(machine, signalled, before, limit):
    """Wait until another process is READY and has stored a reading; return after how many seconds it had."""

    def is_ready():
        return machine.show("MainPID") not in (before, "0") and machine.show("ActiveState") == "active"

    wait_until(is_ready, "it is ready again", limit + 10)
    ready = time.time() - signalled
    wait_until(lambda: stored_at(machine) > signalled, "a reading is stored again", limit + 10)
    stored = stored_at(machine) - signalled
    print(f"READY after {ready:.1f} s, a stored reading of {stored:.1f} s after")  # noqa: T201 - see it with -s
    assert max(ready, stored) <= limit
    return stored


def test_a_daemon_that_stands_still_is_restarted_by_the_watchdog(machine):
    before, restarts = machine.show("MainPID"), int(machine.show("NRestarts"))
    machine.run("kill", "-STOP", before)
    works_again_within(machine, time.time(), before, 2 * WATCHDOG)
    assert int(machine.show("NRestarts")) == restarts + 1
    assert "Watchdog timeout" in machine.journal()


def test_kill_9_is_followed_by_a_reading_within_the_watchdog_s_time_and_five_seconds(machine):
    before = machine.show("MainPID")
    machine.run("kill", "-9", before)
    works_again_within(machine, time.time(), before, WATCHDOG + 5)
    assert "daemon_stopped" in machine.say(VRAMWATCH, "history", "--since", "1h", "--format", "json")


def test_the_limits_of_the_unit_are_those_of_its_control_group(machine):
    shown = "MemoryHigh", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "CPUWeight", "IOWeight"
    assert [machine.show(each) for each in shown] == ["201326592", "268435456", "128", "250ms", "20", "20"]
    group = f"/sys/fs/cgroup{machine.show('ControlGroup')}"
    controllers = machine.say("cat", "/sys/fs/cgroup/cgroup.controllers").split()
    missing = {"memory", "cpu", "io", "pids"} - set(controllers)
    if missing:
        pytest.skip(
            f"NOT TESTED: the host's control groups are of version 1 and keep {', '.join(sorted(missing))}"
        )
    told = {name: machine.say("cat", f"{group}/{name}") for name in ("memory.max", "cpu.max", "io.weight")}
    assert told == {"memory.max": "268435456", "cpu.max": "25000 100000", "io.weight": "default 20"}


def test_it_keeps_within_its_limits_by_itself(machine):
    pid = machine.show("MainPID")
    begun = time.time()
    wait_until(lambda: stored_at(machine) > begun, "it reads", 60)
    family = machine.say("sh", "-c", f"echo {pid} $(cat /proc/{pid}/task/{pid}/children)").split()

    def ticks():
        stats = [machine.say("sh", "-c", f"cut -d')' -f2 /proc/{each}/stat").split() for each in family]
        return sum(int(each[11]) + int(each[12]) for each in stats)  # utime, stime: proc_pid_stat(5)

    before, begun = ticks(), time.monotonic()
    machine.run("sleep", "10")
    share = (ticks() - before) / 100 / (time.monotonic() - begun)
    rss = machine.say("sh", "-c", f"grep -h VmRSS {' '.join(f'/proc/{each}/status' for each in family)}")
    held = sum(int(each) for each in rss.split() if each.isdecimal()) * 1024
    print(f"{share:.1%} of a core, {held / 2**20:.0f} MiB")  # noqa: T201 - see it with -s
    assert share < 0.25
    assert held < 192 * 2**20


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
    machine.until_it_says("2 GPUs")


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
    machine.until_it_says("2 GPUs")
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


HANDED_IN = """\
[Service]
LoadCredential=hook:/root/hook
"""


def test_a_secret_that_systemd_hands_in_is_known_to_root_s_shell_and_to_no_member_of_the_group(machine):
    machine.write("/root/hook", "http://192.0.2.1/hush-hush\n")
    machine.write("/etc/systemd/system/vramwatch.service.d/override.conf", HANDED_IN)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "vramwatch.service")
    before = machine.say("cat", "/etc/vramwatch/config.yaml")
    channels = "channels: {hook: {webhook: {url: 'credential:hook'}}}\n"
    said = machine.configure(f"{before}\n{channels}")
    assert "write    /etc/systemd/system/vramwatch.service.d/network.conf" in said
    machine.until_it_says("2 GPUs")
    assert "configuration ok" in machine.say(VRAMWATCH, "check")
    member = ("setpriv", "--reuid=65534", "--regid=vramwatch", "--clear-groups")  # may read the configuration
    refused = machine.run(*member, VRAMWATCH, "check", check=False)
    assert refused.returncode == 78
    assert "root alone can read it beside; run the same command with sudo" in refused.stderr
    assert "hush" not in machine.journal()
    machine.configure(f"{before}\n")
    machine.run("rm", "/etc/systemd/system/vramwatch.service.d/override.conf", "/root/hook")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "vramwatch.service")


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
    for subject in ("ghosts", "environment", "containers", "addresses"):
        assert f"warn  {subject}: of other users' processes the daemon cannot see" in said
    assert said.count("-> vramwatch service install --profile identify adds a helper that tells it") == 4
    look = f"cat /proc/{foreign}/environ"
    assert machine.run(
        "setpriv", "--reuid=vramwatch", "--clear-groups", "sh", "-c", look, check=False
    ).returncode


def test_in_the_profile_identify_a_helper_tells_it_and_nothing_more(machine, foreign):
    machine.run(VRAMWATCH, "service", "install", "--yes", "--profile", "identify")
    machine.until_it_says("2 GPUs")
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
    machine.until_it_says("2 GPUs")
    day = machine.say("date", "-u", "+%Y-%m-%d")
    said = machine.say(VRAMWATCH, "service", "rollback", "--yes")
    assert "link     /opt/vramwatch -> /opt/vramwatch-0.0.9" in said
    assert f"what was kept since {day} is not in the history of the version before" in said
    assert machine.say("readlink", "/opt/vramwatch") == "/opt/vramwatch-0.0.9"
    machine.until_it_says("2 GPUs")
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
    machine.until_it_says("2 GPUs")
    told = machine.say(VRAMWATCH, "history", "--at", "2026-11-20T03:12:00Z", "--format", "json")
    assert json.loads(told)
    assert "GPU-old" in told
    kept = machine.say("sh", "-c", "ls -l /var/lib/vramwatch/vramwatch.db.schema-1.*")
    assert kept.startswith("-rw-r----- 1 vramwatch vramwatch")


def test_it_is_taken_away_again_and_its_history_stays(machine):
    machine.run(VRAMWATCH, "service", "uninstall", "--yes")
    assert machine.run("systemctl", "cat", "vramwatch.service", check=False).returncode != 0
    assert machine.say("ls", "/var/lib/vramwatch/vramwatch.db")
