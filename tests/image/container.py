"""The image that ``make test-image`` has built, run as an engine runs it: by runc, with what the image itself
says of its user, environment and command. The root is read-only and no capability is left; pids and network
are the host's, as deploy/ has them.

Format of the bundle: config.json of the OCI runtime specification, 1.0.
"""

import contextlib
import json
import os
import subprocess
from pathlib import Path

BUILT = Path("build/image").absolute()
STORAGE = ("--root", BUILT / "storage", "--runroot", BUILT / "run", "--storage-driver", "vfs")
IMAGE = "localhost/vramwatch"


def builder(*words):
    """What buildah says to ``words``."""
    done = subprocess.run(
        ["buildah", *map(str, STORAGE), *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.strip()


class Container:
    """A container that can be started: ``root`` is its file system as this machine sees it."""

    def __init__(self, root, says, bundle):
        self.root, self.says = root, says
        self._bundle = bundle
        self._name = f"vramwatch-{os.getpid()}"  # its control group has it, too
        self._started = None

    def start(self, mounts, environment=(), command=()):
        """Run the image's command, or its entry point with ``command``."""
        said = self.says
        uid, gid = map(int, said["User"].split(":"))
        process = {
            "user": {"uid": uid, "gid": gid},
            "args": [*said["Entrypoint"], *(command or said["Cmd"])],
            "env": [*said["Env"], *environment],
            "cwd": said.get("WorkingDir") or "/",
            "noNewPrivileges": True,
        }
        config = {
            "ociVersion": "1.0.0",
            "process": process,
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind", "ro"]},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "mode=755"],
                },
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
                {
                    "destination": "/run/vramwatch",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": [f"uid={uid}", f"gid={gid}", "mode=755"],
                },
                *(
                    {"destination": inside, "type": "bind", "source": str(outside), "options": ["bind", how]}
                    for inside, (outside, how) in mounts.items()
                ),
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("mount", "ipc", "uts")]},
        }
        (self._bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with (self._bundle / "log").open("wb") as log:
            self._started = subprocess.Popen(
                [*self._runc(), "run", "--bundle", str(self._bundle), self._name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def log(self):
        return (self._bundle / "log").read_text(encoding="utf-8", errors="replace")

    def run(self, *words):
        """Run a command inside, as the image's user; returns what it did."""
        return subprocess.run(
            [*self._runc(), "exec", self._name, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def lives(self):
        """True; ends the test, with its log, if it has ended."""
        assert self._started is not None
        assert self._started.poll() is None, self.log()
        return True

    def pid(self):
        """The pid of its first process, on this machine."""
        said = subprocess.run(
            [*self._runc(), "state", self._name], capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stderr + self.log()
        return json.loads(said.stdout)["pid"]

    def stop(self):
        """End it as engines do, by SIGTERM; returns its exit code."""
        if self._started.poll() is None:
            subprocess.run([*self._runc(), "kill", self._name, "TERM"], check=False)
        return self.ended()

    def ended(self):
        """Wait for it to end; returns its exit code."""
        try:
            return self._started.wait(30)
        except subprocess.TimeoutExpired:
            subprocess.run([*self._runc(), "delete", "--force", self._name], capture_output=True, check=False)
            raise

    def clear(self):
        if self._started is not None and self._started.poll() is None:
            subprocess.run([*self._runc(), "delete", "--force", self._name], capture_output=True, check=False)
            self._started.wait(10)

    def _runc(self):
        return ["runc", "--root", str(self._bundle / "runtime")]


@contextlib.contextmanager
def mounted():
    """The image's file system on this machine, and what the image says of itself."""
    made = builder("from", IMAGE)
    try:
        yield Path(builder("mount", made)), json.loads(builder("inspect", made))["OCIv1"]["config"]
    finally:
        builder("rm", made)
