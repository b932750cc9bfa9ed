"""Runs go to the daemon that listens, else to a file; a schedule begins them; with real torch."""

import signal
import subprocess
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner

from tests.waiting import wait_until
from vramwatch.cli import main
from vramwatch.core.errors import StoreError
from vramwatch.probe import keeping
from vramwatch.store import History

pytestmark = pytest.mark.timeout(600)
"""Each run imports torch in a process of its own, on a machine that may be busy."""

QUICK = ("--prompt", "16", "--tokens", "4", "--requests", "2", "--device", "cpu")
PATIENCE_WITH_TORCH = 480.0
"""Seconds; it is imported by a process of low priority, on a machine that may be busy."""

SCHEDULE = f"{{every: 10m, python: {sys.executable}, prompt: 16, tokens: 4, requests: 1, device: cpu}}"


@pytest.fixture
def daemon(tmp_path):
    """Starts a daemon on a simulated server; returns its configuration and store."""
    running = []

    def start(probe="{}"):
        config, store = tmp_path / "config.yaml", tmp_path / "vramwatch.db"
        config.write_text(
            f"control: {{socket: {tmp_path}/control.sock}}\nhttp: {{listen: 'off'}}\n"
            f"source: {{simulated: {{}}}}\nstore: {{path: {store}}}\nprobe: {probe}\n"
        )
        argv = [sys.executable, "-m", "vramwatch", "run", "--config", str(config), "--source", "simulated"]
        running.append(subprocess.Popen([*argv, "--store", str(store)], stderr=subprocess.DEVNULL))
        wait_until((tmp_path / "control.sock").exists, "the daemon listens")
        return config, store

    yield start
    for each in running:
        each.send_signal(signal.SIGTERM)
        assert each.wait(30.0) == 0


def runs(store):
    try:
        with closing(History.open(store)) as history:
            return history.probe_runs()
    except StoreError:
        return []


@pytest.mark.needs_torch
def test_a_run_is_kept_in_the_history_of_the_daemon_and_listed_from_there(daemon) -> None:
    config, store = daemon()
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--config", str(config)])
    assert answer.exit_code == 0
    (run,) = runs(store)
    assert f"kept as {run.id} in the daemon's history" in answer.stderr
    assert keeping.all_kept(keeping.folder()) == []
    listed = CliRunner().invoke(main, ["probe", "--list", "--config", str(config)])
    assert "in history, by hand" in listed.stdout


@pytest.mark.needs_torch
def test_without_a_daemon_a_run_is_kept_in_a_file_and_it_is_said_why(tmp_path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"control: {{socket: {tmp_path}/none.sock}}\nstore: {{path: {tmp_path}/none.db}}\n")
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--config", str(config)])
    assert "no daemon listens" in answer.stderr
    (kept,) = keeping.all_kept(keeping.folder())
    listed = CliRunner().invoke(main, ["probe", "--list", "--config", str(config)])
    assert kept.id in listed.stdout
    assert "a file of yours" in listed.stdout


@pytest.mark.needs_torch
def test_a_daemon_with_a_schedule_has_the_probe_run_and_keeps_the_result(daemon) -> None:
    _, store = daemon(SCHEDULE)
    (run,) = wait_until(lambda: runs(store), "the run is kept", PATIENCE_WITH_TORCH, every=0.2)
    assert run.is_scheduled
    assert run.asked["tokens"] == 4
    assert run.first.ended == "complete"
