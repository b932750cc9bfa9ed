"""``python -m tests.nvml``: another command over GPUs that are not there."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nvml.client import PATIENCE
from tests.nvml.gpu import GIB

REPORT = """
from pynvml import *
import os, sys
nvmlInit()
for index in range(nvmlDeviceGetCount()):
    rows = nvmlDeviceGetComputeRunningProcesses(nvmlDeviceGetHandleByIndex(index))
    print(*(f"{row.pid}:{row.usedGpuMemory}:{os.path.exists(f'/proc/{row.pid}')}" for row in rows))
sys.exit(3)
"""


@pytest.mark.parametrize("real", [True, False])
def test_the_command_runs_another_over_gpus_with_processes_and_ends_as_it_does(real: bool) -> None:
    options = ["--gpus", "2", "--processes", "3", *(["--real-pids"] if real else [])]
    run = subprocess.run(
        [sys.executable, "-m", "tests.nvml", *options, "--", sys.executable, "-c", REPORT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3, run.stderr
    rows = [[row.split(":") for row in line.split()] for line in run.stdout.splitlines()]
    assert [len(row) for row in rows] == [3, 3]
    assert {alive for line in rows for _, _, alive in line} == {str(real)}
    pids = {int(pid) for line in rows for pid, _, _ in line}
    assert len(pids) == 6
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert 60 * GIB < sum(int(used) for _, used, _ in rows[0]) < 80 * GIB


MOVED = """
from pynvml import *
import time
nvmlInit()
h = nvmlDeviceGetHandleByIndex(0)
read = lambda: [row.usedGpuMemory for row in nvmlDeviceGetComputeRunningProcesses(h)]
first = read()
while read() == first:
    time.sleep(0.01)
"""


def test_the_command_keeps_memory_moving_and_passes_signals_on() -> None:
    moving = [sys.executable, "-m", "tests.nvml", "--gpus", "1", "--processes", "2", "--moving", "--"]
    subprocess.run([*moving, sys.executable, "-c", MOVED], check=True, timeout=PATIENCE)
    wait = subprocess.Popen(
        [*moving, "sh", "-c", "echo started; exec sleep 60"], stdout=subprocess.PIPE, text=True
    )
    assert wait.stdout
    assert wait.stdout.readline() == "started\n"
    wait.terminate()
    assert wait.wait(PATIENCE) == 128 + signal.SIGTERM
    wait.stdout.close()
