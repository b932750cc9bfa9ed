"""A machine that is booted for a test: Debian with a real systemd, in a container without a network.

Its file system is build/systemd-root, made once by ``make test-systemd``; what a test writes is gone with it.
"""

import contextlib
import subprocess
import time
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path("build/systemd-root")
BOOT_WITHIN = 60.0


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


@contextlib.contextmanager
def booted(log, *binds):
    """Boot the machine; ``binds``: "--bind=…" options. Its console goes to the file ``log``."""
    with log.open("wb") as console:
        words = ["systemd-nspawn", "-D", str(ROOT), "--volatile=overlay", "--register=no", "--keep-unit"]
        nspawn = subprocess.Popen(
            [*words, "--private-network", "--boot", *binds],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
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
