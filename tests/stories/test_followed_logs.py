"""A daemon that follows a log: the way from a line of another program to the store, as a user runs it."""

import os
import signal
import stat
import sys
from contextlib import closing

import pytest

from tests.nvml.gpu import Process
from tests.stories.test_the_daemon import House, stop, wait_until
from vramwatch.core.model import EventKind
from vramwatch.store import History

CANARY = "sk-canary-hunter2"
LINE = (
    f"user asked: {CANARY} -> torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. "
    "GPU 0 has a total capacity of 79.14 GiB of which 14.75 MiB is free."
)
FAKE = """\
#!{python}
import json, os, sys, time
print(os.getpid(), file=open({pids!r}, "a"))
while not os.path.exists({go!r}):
    time.sleep(0.02)
for message in ({line!r}, "all is well", "out of memory \\xff garbage"):
    print(json.dumps({{"MESSAGE": message, "_PID": "{pid}", "_SYSTEMD_UNIT": "llama.service"}}), flush=True)
time.sleep(1000)
"""


@pytest.fixture
def go(tmp_path):
    return tmp_path / "go"


@pytest.fixture
def house(tmp_path, driver, go):
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "journalctl"
    names = {"pids": str(tmp_path / "pids"), "go": str(go), "line": LINE, "pid": os.getpid()}
    script.write_text(FAKE.format(python=sys.executable, **names))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    driver.gpus[1].set_processes([Process(os.getpid(), 1 << 30)])
    return House(tmp_path, {**driver.environment(), "PATH": f"{folder}:{os.environ['PATH']}"})


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_line_becomes_an_event_with_its_gpu_and_its_text_is_nowhere(house, driver, go, tmp_path):
    house.write_config("200ms", logs="{units: [llama.service]}")
    with house.running("--set", "log.level=debug") as daemon:
        house.until_ready()
        go.touch()
        told = []
        wait_until(lambda: told.extend(events(house)) or told, "the event is stored")
        child = int((tmp_path / "pids").read_text().split()[0])
        assert is_alive(child)
        said = stop(daemon)
    assert not is_alive(child)
    assert told[0].gpu == driver.gpus[1].uuid
    assert f"engine=torch unit=llama.service pid={os.getpid()} tried_bytes=20971520" in told[0].detail
    assert "follows the journal of llama.service" in said
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("history.db*"))
    assert b"tried_bytes=20971520" in kept
    for word in (CANARY, "Tried to allocate", "user asked"):
        assert word not in said
        assert word.encode() not in kept


def test_a_killed_daemon_comes_back_and_follows_again(house, driver, go, tmp_path):
    house.write_config("200ms", logs="{units: [llama.service]}")
    with house.running() as daemon:
        house.until_ready()
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
    with house.running() as daemon:
        house.until_ready()
        go.touch()
        wait_until(lambda: events(house), "the event is stored")
        stop(daemon)
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)  # of the killed daemon: the real one ends when nobody reads


def events(house):
    with closing(History.open(house.store)) as history:
        return [row.event for row in history.events(0, 4e9) if row.event.kind is EventKind.OUT_OF_MEMORY]
