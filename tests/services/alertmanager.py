"""A real Alertmanager on loopback, from Debian's package; whoever has none is told how to get it."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "alertmanager"
PATHS = os.pathsep.join((os.environ.get("PATH", ""), str(ROOT / "build" / "services" / "usr" / "bin")))


SHARED = "usr/share"
TEMPLATE = "prometheus/alertmanager/default.tmpl"


def in_its_place(words):
    """Return a command that runs ``words`` where Debian's Alertmanager finds its templates.

    It opens them by an absolute path, /usr/share/prometheus, and where its package was unpacked and not
    installed they are elsewhere: there they are mounted over /usr/share, for this process alone.
    """
    shared = ROOT / "build" / "services" / SHARED
    if Path("/", SHARED, TEMPLATE).exists() or not (shared / TEMPLATE).exists():
        return words
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    mounting = f'mount --bind "$0" /{SHARED} && exec "$@"'
    return ["unshare", "--mount", *as_root, "sh", "-c", mounting, str(shared), *words]


def program(name):
    """Return the path of a program of the package, or skip."""
    found = shutil.which(name, path=PATHS)
    if found is None:
        pytest.skip(f"no {name}: run `make test-services`, or apt-get install prometheus-alertmanager")
    return found


class Peer:
    """One Alertmanager; what it knows is forgotten when it ends."""

    def __init__(self, folder, config, *, joins=None, clustered=False):
        self.netloc = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.netloc}"
        self.gossip = f"127.0.0.1:{free_port()}" if clustered else ""
        self.folder = folder
        folder.mkdir()
        (folder / "config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._command = [
            program("prometheus-alertmanager"),
            f"--config.file={folder / 'config.yml'}",
            f"--web.listen-address={self.netloc}",
            f"--cluster.listen-address={self.gossip}",
            *([f"--cluster.peer={joins}"] if joins else []),
            *(["--cluster.settle-timeout=10s", "--cluster.peer-timeout=2s"] if clustered else []),
        ]
        self._starts = 0
        self._process = None

    def start(self):
        """Start it with an empty memory, and wait until it takes alerts."""
        self._starts += 1
        storage = f"--storage.path={self.folder / str(self._starts)}"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(in_its_place([*self._command, storage]), stdout=log, stderr=log)
        wait_until(self._is_ready, every=0.1)

    def stop(self):
        self._process.kill()
        self._process.wait()

    def alerts(self):
        """Return the alerts that stand."""
        return self.ask("/api/v2/alerts")

    def ask(self, path, content=None):
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            return json.loads(answer.read())

    def _is_ready(self):
        assert self._process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1.0) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def started(*peers):
    begun = []
    try:
        for each in peers:
            each.start()
            begun.append(each)
        yield peers
    finally:
        for each in begun:
            each.stop()


def telling(listener, group_by=("incident",), **route):
    """Return a configuration that tells ``listener`` of everything, as soon as may be."""
    waits = {"group_wait": "500ms", "group_interval": "1s", "repeat_interval": "1h"}
    hook = {"url": f"{listener.url}/page", "send_resolved": True}
    return {
        "route": {"receiver": "page", "group_by": list(group_by), **waits, **route},
        "receivers": [{"name": "page", "webhook_configs": [hook]}],
    }


def example(name, listener):
    """Return an example of ``deploy/`` that tells ``listener`` at ``/RECEIVER`` instead, and sooner."""
    config = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    for receiver in config["receivers"]:
        kinds = [key for key in receiver if key.endswith("_configs")]
        sends = all(each.get("send_resolved") for kind in kinds for each in receiver.pop(kind))
        hook = {"url": f"{listener.url}/{receiver['name']}", "send_resolved": sends}
        receiver["webhook_configs"] = [hook]
    config["route"] |= {"group_wait": "2s", "group_interval": "1s"}
    return config


def redirected(name, listener, folder):
    """Return the same with its receivers as they are written, but for addresses and keys."""
    config = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    address, key = folder / "address", folder / "key"
    address.write_text(f"{listener.url}/slack", encoding="utf-8")
    key.write_text("0" * 32, encoding="utf-8")
    for receiver in config["receivers"]:
        for each in receiver.get("slack_configs", ()):
            each["api_url_file"] = str(address)
        for each in receiver.get("pagerduty_configs", ()):
            each |= {"routing_key_file": str(key), "url": f"{listener.url}/pagerduty"}
    config["route"] |= {"group_wait": "2s", "group_interval": "1s"}
    return config


def notices(listener):
    """Return what was told so far: (receiver, status, the names of the alerts in it)."""
    return [
        (each.path[1:], each.json["status"], sorted(map(name_of, each.json["alerts"])))
        for each in list(listener.got)
    ]


def name_of(alert):
    labels = alert["labels"]
    return f"{labels.get('incident', labels['alertname'])} {labels['severity']} {alert['status']}"
