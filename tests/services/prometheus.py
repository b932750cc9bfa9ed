"""A real Prometheus on loopback, from Debian's package, and the daemon that it scrapes."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.ports import free_port
from tests.services.alertmanager import PATHS, ROOT
from tests.waiting import wait_until

RULES = ROOT / "deploy" / "prometheus"


def program(name):
    """Return the path of a program of the package, or skip."""
    found = shutil.which(name, path=PATHS)
    if found is None:
        pytest.skip(f"no {name}: run `make test-services`, or apt-get install prometheus")
    return found


def promtool(*words, **options):
    return subprocess.run(
        [program("promtool"), *words], capture_output=True, text=True, check=False, **options
    )


class Prometheus:
    """One Prometheus that scrapes ``targets`` each second, under the shipped rules and configuration."""

    def __init__(self, folder, *targets, tells=(), token=None):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.folder = folder
        folder.mkdir()
        config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES / "rules.yml")]
        (managers,) = config["alerting"]["alertmanagers"]
        managers["static_configs"][0]["targets"] = list(tells)
        (scraped,) = config["scrape_configs"]
        scraped["static_configs"][0]["targets"] = list(targets)
        if token:
            scraped["authorization"] = {"credentials_file": str(token)}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    @contextmanager
    def running(self):
        command = [
            program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={urllib.parse.urlsplit(self.url).netloc}",
        ]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: self._is_ready(process), "Prometheus is ready", every=0.1)
            yield self
        finally:
            process.kill()
            process.wait()

    def query(self, expression):
        """Return what an instant query answers: (labels, value). Errors: AssertionError where it is none."""
        asked = urllib.parse.urlencode({"query": expression})
        answer = self._ask(f"/api/v1/query?{asked}")
        assert answer["status"] == "success", (expression, answer)
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def metadata(self):
        """Return what Prometheus knows of each metric by its name: kind and meaning."""
        return {name: told[0] for name, told in self._ask("/api/v1/metadata")["data"].items()}

    def firing(self):
        """Return the labels of the alerts that fire."""
        alerts = self._ask("/api/v1/alerts")["data"]["alerts"]
        return [each["labels"] for each in alerts if each["state"] == "firing"]

    def _ask(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=5.0) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def _is_ready(self, process):
        assert process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1.0) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def simulated_server(folder, **sections):
    """Run the daemon on the simulated server, from six hours ago to now in seconds; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    config = {
        "source": {"simulated": {"start": "6h", "speed": 3600}},
        "poll": {"interval": "5s", "slowest": "5s"},
        "store": {"path": str(folder / "history.db")},
        "control": {"socket": str(folder / "control.sock"), "group": None},
        "http": {"listen": address, **sections.pop("http", {})},
        **sections,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "vramwatch", "run", "--config", str(folder / "config.yaml")]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stderr=log, env=dict(os.environ), cwd=Path.cwd())
    try:
        yield address
    finally:
        daemon.kill()
        daemon.wait()
