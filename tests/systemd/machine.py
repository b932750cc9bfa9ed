"""A machine that is booted for a test: Debian with a real systemd, in a container without a network.

It has the unified hierarchy of control groups, as machines have today, whatever the host has; what of the
controllers the host keeps for itself is missing in it. Its file system is build/systemd-root, made once by
``make test-systemd``; what a test writes is gone with it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.waiting import wait_until

ROOT = Path("build/systemd-root")
BOOT_WITHIN = 60.0

VRAMWATCH = "/opt/vramwatch/bin/vramwatch"
SITE = "/opt/vramwatch-0.1.0/lib/python3.11/site-packages"
CONFIGURATION = "/etc/vramwatch/config.yaml"

NEEDED = [
    pytest.mark.skipif(
        os.geteuid() != 0 or not (ROOT / ".whole").exists() or shutil.which("systemd-nspawn") is None,
        reason="no machine to boot: make test-systemd, as root, makes one",
    ),
    pytest.mark.timeout(900),
]
"""What every module of tests on a machine is marked with."""


class Machine:
    def __init__(self, leader):
        self._leader = leader

    def run(self, *words, check=True, within=120):
        """Run a command as root inside and return what it did."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def say(self, *words, **options):
        return self.run(*words, **options).stdout.strip()

    def write(self, path, text):
        subprocess.run(
            [
                "nsenter",
                "-t",
                str(self._leader),
                "-a",
                "sh",
                "-c",
                f"mkdir -p $(dirname {path}); cat > {path}",
            ],
            input=text,
            text=True,
            check=True,
        )

    def show(self, name, unit="vramwatch.service"):
        return self.say("systemctl", "show", unit, f"--property={name}", "--value")

    def journal(self):
        return self.say("journalctl", "-u", "vramwatch.service", "--no-pager", "-o", "cat")

    # --- the service on it ---

    def status(self):
        """What the service says of itself."""
        return self.show("StatusText")

    def until_it_says(self, text):
        wait_until(lambda: text in self.status(), f"STATUS {text}: {self.status()}", 60)

    def ask(self, *words):
        """Return what a verb tells as JSON."""
        return json.loads(self.say(VRAMWATCH, *words, "--format", "json"))

    def configure(self, text):
        """Give the service a configuration and what it needs for it, as an administrator does."""
        self.write(CONFIGURATION, text)
        self.run("chown", "root:vramwatch", CONFIGURATION)
        return self.say(VRAMWATCH, "service", "install", "--yes")


@contextlib.contextmanager
def booted(log, *binds):
    """Boot the machine; ``binds``: "--bind=…" options. Its console goes to the file ``log``."""
    with log.open("wb") as console:
        words = ["systemd-nspawn", "-D", str(ROOT), "--volatile=overlay", "--register=no", "--keep-unit"]
        nspawn = subprocess.Popen(
            [*words, f"--machine=vramwatch-{os.getpid()}", "--private-network", "--boot", *binds],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )  # fmt: skip
    try:
        yield Machine(_leader_of(nspawn, log))
    finally:
        nspawn.terminate()  # the machine is shut down: systemd-nspawn(1)
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()


def _leader_of(nspawn, log):
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")

    def is_up():
        assert nspawn.poll() is None, log.read_text(errors="replace")
        found = children.read_text().split()
        if not found:
            return False
        asked = ["nsenter", "-t", found[0], "-a", "systemctl", "is-system-running"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        return said in ("running", "degraded")

    begun = time.monotonic()
    wait_until(is_up, "the machine is up", BOOT_WITHIN)
    print(f"booted in {time.monotonic() - begun:.1f} s")  # noqa: T201 - pytest shows it when a test fails
    return children.read_text().split()[0]
