"""A state directory on a full or read-only disk, and no systemd: what is said, and how it ends."""

import pytest

from tests.systemd.machine import NEEDED, VRAMWATCH
from tests.waiting import wait_until

pytestmark = NEEDED

STATE = "/var/lib/vramwatch"

AS_ITS_USER = ("setpriv", "--reuid=vramwatch", "--regid=vramwatch", "--clear-groups")


@pytest.fixture
def disk(machine):
    """Puts a small disk in the place of the state directory."""
    machine.run("systemctl", "stop", "vramwatch.service")
    owner = machine.say("id", "-u", "vramwatch"), machine.say("id", "-g", "vramwatch")

    def mount(size, *options):
        given = ",".join((f"size={size},mode=0750,uid={owner[0]},gid={owner[1]}", *options))
        machine.run("mount", "-t", "tmpfs", "-o", given, "tmpfs", STATE)

    yield mount
    machine.run("systemctl", "stop", "vramwatch.service", check=False)
    machine.run("umount", STATE)
    machine.run("systemctl", "reset-failed", "vramwatch.service", check=False)


def first_end(machine):
    """Start it, and return with which code its first process ended."""
    machine.run("systemctl", "start", "vramwatch.service", check=False)
    wait_until(lambda: machine.show("ExecMainStatus") != "0", "it has ended", 60)
    return machine.show("ExecMainStatus")


def test_a_full_disk_ends_the_start_with_74_and_the_name_of_the_store(machine, disk):
    disk("16k")
    assert first_end(machine) == "74"
    said = f"{STATE}/vramwatch.db: the store cannot be used: its disk is full; make room"
    wait_until(lambda: said in machine.journal(), "it says so", 20)


def test_a_read_only_disk_is_named_before_or_by_the_daemon_and_nothing_is_written(machine, disk):
    disk("1m", "ro")
    code = first_end(machine)
    print(code, machine.journal()[-1500:])  # noqa: T201 - pytest shows it when a test fails
    assert code in ("74", "238")  # 238: systemd itself cannot prepare the directory, systemd.exec(5)
    assert "Read-only file system" in machine.journal()
    assert machine.say("ls", "-A", STATE) == ""
    by_hand = machine.run(*AS_ITS_USER, VRAMWATCH, "run", "--store", f"{STATE}/vramwatch.db", check=False)
    assert by_hand.returncode == 74
    assert "Read-only file system" in by_hand.stderr
    assert "mount its disk for writing" in by_hand.stderr


def test_a_disk_that_fills_does_not_end_it_and_is_said_until_there_is_room(machine, disk):
    disk("12m")
    machine.run("systemctl", "start", "vramwatch.service")
    machine.until_it_says("2 GPUs")
    before = machine.show("MainPID")
    machine.run("dd", "if=/dev/zero", f"of={STATE}/filler", "bs=64k", check=False)
    machine.until_it_says("store")
    machine.run("rm", f"{STATE}/filler")
    wait_until(lambda: "store" not in machine.status(), f"it is over: {machine.status()}", 60)
    assert machine.show("MainPID") == before


def test_where_systemd_does_not_run_the_verb_says_how_to_start_it_by_hand(machine):
    hidden = "mount -t tmpfs none /run/systemd && exec"
    done = machine.run("unshare", "--mount", "sh", "-c", f"{hidden} {VRAMWATCH} service status", check=False)
    assert done.returncode == 1
    assert "systemd does not run here" in done.stderr
    assert "vramwatch run" in done.stderr
