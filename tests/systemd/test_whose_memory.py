"""What `status` prints, in each profile, for a server in a container, one in a pod, and one of another user.

No container runtime runs here: control groups, files and processes are those that Docker, containerd and the
kubelet leave on a host, composed after their sources as vramwatch/procfs/containers.py names them.
"""

import json
import re
from pathlib import Path

import pytest

from tests.nvml.gpu import Process
from tests.systemd.machine import NEEDED, VRAMWATCH
from tests.waiting import wait_until
from vramwatch.core.units import GIB

pytestmark = NEEDED

PAGE = Path("tests/fixtures/engine_pages/vllm-0.33.txt")

CONTAINER, POD_CONTAINER = "3f2a" * 16, "9c1d" * 16
POD = "0f5e7a3c-1b2d-4c6e-8f90-123456789abc"

ENGINE = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(Path("/srv/page.txt").read_bytes() if self.path == "/metrics" else b"")
    def log_message(self, *words):
        pass
HTTPServer(("0.0.0.0", 8000), Page).serve_forever()
"""

PROXY = """
import socket, threading
def pass_on(one, other):
    while part := one.recv(65536):
        other.sendall(part)
    other.shutdown(socket.SHUT_WR)
with socket.create_server(("127.0.0.1", 18000)) as listening:
    while True:
        one, _ = listening.accept()
        other = socket.create_connection(("172.17.0.2", 8000))
        threading.Thread(target=pass_on, args=(one, other), daemon=True).start()
        threading.Thread(target=pass_on, args=(other, one), daemon=True).start()
"""

BRIDGE = """
set -e
ip netns add box
ip link add host0 type veth peer name box0 netns box
ip addr add 172.17.0.1/16 dev host0
ip link set host0 up
ip -n box addr add 172.17.0.2/16 dev box0
ip -n box link set box0 up
ip -n box link set lo up
ip link set lo up
"""

AS_NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"


def start(machine, unit, command, *options):
    machine.run("systemd-run", f"--unit={unit}", *options, "sh", "-c", f"exec {command}")


def main_pid(machine, unit, name):
    """Return the pid of what runs as ``name`` in the control group of ``unit``, once it does."""

    def found():
        group = machine.say("systemctl", "show", unit, "--property=ControlGroup", "--value")
        pids = machine.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=False).stdout.split()
        return [pid for pid in pids if machine.say("cat", f"/proc/{pid}/comm") == name]

    return int(wait_until(found, f"{unit} runs", 30)[0])


@pytest.fixture(scope="module")
def servers(machine, driver):
    """Three servers on the first GPU; returns their pids: in a container, in a pod, bare."""
    machine.write("/srv/page.txt", PAGE.read_text())
    machine.write("/srv/vllm", ENGINE)
    machine.write("/srv/proxy.py", PROXY)
    machine.run("sh", "-c", BRIDGE)

    # Docker: a scope of its own, a network of its own, a port that is published, names that root alone reads.
    docker = f"/var/lib/docker/containers/{CONTAINER}/config.v2.json"
    machine.write(docker, json.dumps({"ID": CONTAINER, "Name": "/chat", "Config": {"Image": "vllm:1"}}))
    machine.run("chmod", "710", "/var/lib/docker")
    engine = f"{AS_NOBODY} python3 /srv/vllm serve m"
    scope = f"docker-{CONTAINER}.scope"
    start(machine, "containerd-shim", f"systemd-run --scope --unit={scope} ip netns exec box {engine}")
    machine.run("cp", "/usr/bin/python3", "/usr/bin/docker-proxy")
    passes = "-proto tcp -host-ip 127.0.0.1 -host-port 18000 -container-ip 172.17.0.2 -container-port 8000"
    start(machine, "docker-proxy", f"docker-proxy /srv/proxy.py {passes}")

    # containerd under a kubelet: a scope below the pod's slice, a link to its log with pod and namespace.
    log = f"/var/log/containers/ranker-7d9f8b6c5d-x2x4z_prod_server-{POD_CONTAINER}.log"
    machine.write("/var/log/pods/server.log", "")
    machine.run("mkdir", "-p", "/var/log/containers")
    machine.run("ln", "-s", "/var/log/pods/server.log", log)
    slice_, inner = (
        f"kubepods-burstable-pod{POD.replace('-', '_')}.slice",
        f"cri-containerd-{POD_CONTAINER}.scope",
    )
    server = f"{AS_NOBODY} sleep 3601"
    start(machine, "kubelet-shim", f"systemd-run --scope --slice={slice_} --unit={inner} {server}")

    job = ("--setenv=SLURM_JOB_ID=77", "--setenv=SLURM_JOB_NAME=train")
    start(machine, "slurmstepd", "sleep 3602", "--uid=65534", *job)

    pids = (
        main_pid(machine, scope, "python3"),
        main_pid(machine, inner, "sleep"),
        int(machine.show("MainPID", "slurmstepd.service")),
    )
    sizes = zip(pids, (30, 20, 10), strict=True)
    driver.gpus[0].set_processes([Process(pid, size * GIB) for pid, size in sizes])
    yield pids
    driver.gpus[0].set_processes([])


def shown(machine, until):
    """Return what `status` prints, once ``until`` stands there."""
    said = ""

    def stands():
        nonlocal said
        said = machine.say(VRAMWATCH, "status")
        return until in said

    wait_until(stands, f"{until}: {said}", 60)
    return said


def rows(said):
    """Return the rows of owners: the name, what is held, and what stands after it; not how it has changed."""
    found = re.findall(r"^  . (.+?)  +(\d+\.\d GiB) .*?(pid \d.*)$", said, re.MULTILINE)
    return [" ".join(row) for row in found]


def test_in_the_profile_observe_names_are_shown_as_far_as_proc_tells_and_what_is_hidden_line_by_line(
    machine, servers
):
    contained, podded, bare = servers
    said = shown(machine, "10.0 GiB")
    print(said)  # noqa: T201 - pytest shows it when a test fails
    assert rows(said) == [
        f"vllm m 30.0 GiB pid {contained}",
        f"prod/ranker 20.0 GiB pid {podded}",
        f"slurmstepd.service 10.0 GiB pid {bare}",
    ]
    assert said.split("tells it:\n")[1].splitlines() == [
        f"  the name of container 3f2a3f2a3f2a, pid {contained}",
        f"  the address at which vllm tells its figures, pid {contained}, unless its command names the port",
        f"  the environment of pids {contained}, {podded} and {bare}: the name of a Slurm job, the rank",
    ]
    assert "Hidden in the profile observe; vramwatch service install --profile identify tells it:" in said


@pytest.fixture
def keeper(machine):
    """The pid of a process of another user that has a GPU's device file open, and is not on the GPU."""
    machine.run("sh", "-c", "touch /dev/nvidia0 && chmod 666 /dev/nvidia0")
    start(machine, "keeper", "sleep 3603 9</dev/nvidia0", "--uid=65534")
    yield int(machine.show("MainPID", "keeper.service"))
    machine.run("systemctl", "stop", "keeper.service")


@pytest.fixture
def haunt(machine, driver):
    """Return what makes a ghost, a process that was seen, is over and is still listed, and tells its pid."""

    def make():
        start(machine, "dying", "sleep 3604", "--uid=65534")
        pid = int(machine.show("MainPID", "dying.service"))
        driver.gpus[1].set_processes([Process(pid, 5 * GIB)])
        shown(machine, f"pid {pid}")
        machine.run("systemctl", "stop", "dying.service")
        shown(machine, f"pid {pid}, gone")
        return pid

    yield make
    driver.gpus[1].set_processes([])


def test_who_keeps_a_ghost_s_memory_is_named_as_hidden_in_observe_and_told_in_identify(
    machine, keeper, haunt
):
    keeps = f"sleep (pid {keeper}, "
    hidden = f"who keeps the memory of the ghost pid {haunt()}"
    assert f"  {hidden}" in machine.say(VRAMWATCH, "status").split("tells it:\n")[1].splitlines()
    told = machine.run(VRAMWATCH, "doctor", check=False).stdout
    assert (
        "warn  ghosts: of other users' processes the daemon cannot see who has a GPU's device files" in told
    )
    assert "-> vramwatch service install --profile identify adds a helper that tells it" in told
    wait_until(lambda: "processes could not be read" in machine.journal(), "that it cannot see is said", 120)
    assert keeps not in machine.journal()
    machine.run(VRAMWATCH, "service", "install", "--yes", "--profile", "identify")
    machine.until_it_says("2 GPUs")
    haunt()  # seen by the daemon that runs now: of whom it never saw, a container cannot say that he is over
    wait_until(lambda: keeps in machine.journal(), "who keeps it is said", 200)
    assert "ghosts" not in machine.run(VRAMWATCH, "doctor", check=False).stdout
    assert "who keeps the memory" not in machine.say(VRAMWATCH, "status")
    machine.run(VRAMWATCH, "service", "install", "--yes", "--profile", "observe")


def test_in_the_profile_identify_nothing_of_them_is_hidden(machine, servers):
    contained, podded, bare = servers
    machine.run(VRAMWATCH, "service", "install", "--yes", "--profile", "identify")
    machine.run("systemctl", "stop", "vramwatch.service")
    machine.run("sh", "-c", "rm /var/lib/vramwatch/vramwatch.db*")  # who has a name keeps it for its life
    machine.run("systemctl", "start", "vramwatch.service")
    said = shown(machine, "KV")
    print(said)  # noqa: T201 - pytest shows it when a test fails
    assert rows(said) == [
        f"chat 30.0 GiB pid {contained}, KV 99% full, 5 waiting",
        f"prod/ranker 20.0 GiB pid {podded}",
        f"nobody/train 10.0 GiB pid {bare}",
    ]
    assert "Hidden" not in said
