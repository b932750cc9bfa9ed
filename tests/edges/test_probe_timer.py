"""The probe as a child of the daemon: begun when it is due, bounded, ended with the daemon."""

import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import vramwatch
from tests.drifting import probe_run
from tests.polls import START, poll
from vramwatch.core.units import Seconds
from vramwatch.probing.timer import Plan, ProbeTimer, _is_due
from vramwatch.store import Store
from vramwatch.store.desk import Desk

HOUR = 3600.0
SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
PLAN = Plan(Seconds(24 * HOUR), Seconds(60.0), {"PATH": "/usr/bin:/bin"})


@pytest.fixture
def store(tmp_path):
    """A store with one poll, at START + 1."""
    with closing(Store.open(tmp_path / "vramwatch.db", "nvml", "test")) as there:
        there.write(poll(1))
        yield there


@pytest.fixture
def said(monkeypatch):
    """What the child was, in place of a real one: told by name as it would be begun."""
    begun = []
    monkeypatch.setattr("vramwatch.probing.timer.run_program", lambda argv, *rest: begun.append(argv))
    return begun


def test_without_a_schedule_nothing_is_begun(store, said):
    ProbeTimer(store.path, None).look(said.append)
    assert said == []


def test_it_is_begun_at_once_where_none_was_made_and_not_again_while_none_is_due(store, said):
    timer = ProbeTimer(store.path, PLAN)
    timer.look(said.append)
    timer.look(said.append)
    (argv,) = said
    assert argv[-2:] == ("probe", "--scheduled")


@pytest.mark.parametrize(("ago", "count"), [(23 * HOUR, 0), (25 * HOUR, 1)])
def test_a_restart_begins_none_before_its_time(store, said, ago, count):
    run = replace(probe_run(), made=START + 1 - ago, is_scheduled=True)
    Desk(store).write_probe_run(run, 1)
    ProbeTimer(store.path, PLAN).look(said.append)
    assert len(said) == count


def test_one_that_came_to_nothing_is_tried_again_in_an_hour():
    assert not _is_due(PLAN, 100 * HOUR, None, 99.5 * HOUR)
    assert _is_due(PLAN, 100 * HOUR, None, 99 * HOUR)


def test_a_run_under_way_is_ended_with_the_daemon_and_is_no_failure(store, monkeypatch):
    monkeypatch.setattr("vramwatch.probing.timer.THIS_PROGRAM", SLEEPER)
    timer, failures = ProbeTimer(store.path, PLAN), []
    thread = threading.Thread(target=timer.look, args=(failures.append,))
    thread.start()
    while timer._program is None and thread.is_alive():
        time.sleep(0.01)
    timer.close()
    thread.join(20.0)
    assert not thread.is_alive()
    assert failures == []


def test_one_that_takes_too_long_is_ended_and_told(store, monkeypatch):
    monkeypatch.setattr("vramwatch.probing.timer.THIS_PROGRAM", SLEEPER)
    failures = []
    ProbeTimer(store.path, replace(PLAN, timeout=Seconds(0.5))).look(failures.append)
    (why,) = failures
    assert "did not end within" in why


def test_the_child_is_the_vramwatch_that_begins_it_and_no_other_that_is_installed(tmp_path):
    own = tmp_path / "vramwatch"
    shutil.copytree(Path(vramwatch.__file__).parent, own, ignore=shutil.ignore_patterns("__pycache__"))
    (own / "__init__.py").write_text('__version__ = "9.9.9"\n')
    begins = (
        "import subprocess, sys; sys.path.insert(0, sys.argv[1]); from vramwatch.probing import timer; "
        "subprocess.run([*timer.THIS_PROGRAM, '--version'], cwd='/', check=True)"
    )
    told = subprocess.run(
        [sys.executable, "-P", "-c", begins, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[-1] == "9.9.9"
