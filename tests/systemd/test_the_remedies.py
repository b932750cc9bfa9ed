"""The remedy "command" in the service's own sandbox: a real polkit lets it restart one unit and no other."""

import json
import threading
from pathlib import Path

import pytest

from tests.nvml.gpu import Process
from tests.systemd.machine import NEEDED, VRAMWATCH
from tests.waiting import wait_until
from vramwatch.core.units import GIB, MIB

pytestmark = NEEDED

RULE = Path("deploy/polkit/50-vramwatch-restart.rules")

BASE, GROWTH = 10 * GIB, 300 * MIB
"""What the server holds at its start, and what it gains a second."""

CONFIGURATION = """\
control: {socket: /run/vramwatch/control.sock}
detection: {detectors: {fast_path: {starting: 0s, blocks: 3}}}
remedies:
  spread: 0s
  look_again: 10s
  command:
    mode: apply
    argv: [/usr/bin/systemctl, restart, chat.service]
    owners: ['*chat*']
"""

SERVER = """\
[Service]
User=nobody
ExecStart=/usr/bin/sleep infinity
"""


@pytest.fixture
def chat(machine, driver):
    """A server of another user whose memory, as the driver shows it, grows from its start."""
    for name in ("chat", "other"):
        machine.write(f"/etc/systemd/system/{name}.service", SERVER)
    machine.write(f"/etc/polkit-1/rules.d/{RULE.name}", RULE.read_text())
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "chat.service", "other.service")
    is_over = threading.Event()

    def grow():
        pid, held = 0, BASE
        while not is_over.wait(1.0):
            present = int(machine.show("MainPID", "chat.service"))
            held = held + GROWTH if present == pid else BASE
            pid = present
            driver.gpus[0].set_processes([Process(pid, held)] if pid else [])

    growing = threading.Thread(target=grow)
    growing.start()
    yield machine
    is_over.set()
    growing.join()
    driver.gpus[0].set_processes([])


def test_a_leak_is_ended_by_restarting_the_one_unit_that_polkit_lets_it(chat):
    machine = chat
    assert "remedies.conf" not in machine.configure(CONFIGURATION)  # no capability is needed for it
    machine.until_it_says("2 GPUs")
    before = machine.show("MainPID", "chat.service")
    refused = machine.run(
        "setpriv", "--reuid=vramwatch", "--clear-groups", "systemctl", "restart", "other.service", check=False
    )
    assert refused.returncode
    wait_until(lambda: machine.show("MainPID", "chat.service") not in (before, "0"), "it is restarted", 240)

    def told():
        incidents = [
            json.loads(row) for row in machine.say(VRAMWATCH, "incidents", "--format", "ndjson").splitlines()
        ]
        return machine.say(VRAMWATCH, "why", incidents[0]["incident"]) if incidents else ""

    wait_until(lambda: "recovered" in told(), f"the attempt stands in why: {told()}", 120)
    print(told())  # noqa: T201 - pytest shows it when a test fails
    assert "run /usr/bin/systemctl restart chat.service" in told()
    assert machine.show("MainPID", "other.service") != "0"
