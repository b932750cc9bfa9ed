"""What it costs a worker to be enrolled: processor time alone and in requests, and how soon it answers."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, told
from vramwatch.clock import read_boot_id
from vramwatch.core.model import ProcessKey
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.sdk.wire import Clear

SPAN = 60.0  # seconds
SHARE_GOAL = 0.1  # percent of one core
ACKNOWLEDGED_GOAL = 50.0  # milliseconds
TIMES = 50
PERCENT, MILLI, MICRO = 100, 1_000, 1_000_000

IDLE = """
import json, sys, time
from vramwatch.sdk import enroll
enroll(name="bench")
time.sleep(2)
began, used = time.monotonic(), time.process_time()
time.sleep(float(sys.argv[1]))
print(json.dumps((time.process_time() - used) / (time.monotonic() - began)))
"""

LOOP = """
import hashlib, json, sys, time
from contextlib import nullcontext
from vramwatch.sdk import enroll
worker = enroll(name="bench")
block = b"x" * 2_000_000
def step(request, safe_point):
    began = time.thread_time()
    with request():
        hashlib.sha256(block).digest()
    safe_point()
    return time.thread_time() - began
bare, marked = [], []
until = time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    bare.append(step(nullcontext, lambda: None))
    marked.append(step(worker.request, worker.safe_point))
def each(request, safe_point, times=100_000):
    began = time.thread_time()
    for _ in range(times):
        with request(): pass
        safe_point()
    return (time.thread_time() - began) / times
middle = len(bare) // 2
print(json.dumps([sorted(bare)[middle], sorted(marked)[middle], each(worker.request, worker.safe_point)]))
"""

DEEP = """
import ctypes
from vramwatch.sdk import enroll
worker = enroll(name="bench", cooldown=0.0)
usleep = ctypes.CDLL(None).usleep
while True:
    with worker.request(): usleep(2_000_000)
    worker.safe_point()
"""


def measure() -> Iterator[Finding]:
    """Yield the share of a core with a daemon and without, the cost of a request, the time to an answer."""
    with tempfile.TemporaryDirectory(prefix="vramwatch-worker-") as folder:
        path = Path(folder) / "enrol.sock"
        nobody = _share(path, SPAN)
        with closing(Reception(path, Admission(), Bounds(), read_boot_id())) as reception:
            yield at_most(
                "worker: enrolled and reporting", Figures((_share(path, SPAN),)), SHARE_GOAL, "% of a core"
            )
            yield at_most("worker: without a daemon", Figures((nobody,)), SHARE_GOAL, "% of a core")
            bare, marked, each = json.loads(_run(LOOP, path, SPAN / 2))
            yield told("worker: a step of a loop, bare", Figures((bare * MILLI,)), "ms")
            yield told("worker: the same step, marked and enrolled", Figures((marked * MILLI,)), "ms")
            yield told("worker: request() and safe_point()", Figures((each * MICRO,)), "µs")
            taken = Figures(tuple(_acknowledged(reception, path)))
        yield at_most("worker: ask to acknowledgement, main thread in C", taken, ACKNOWLEDGED_GOAL, "ms")


def _share(path: Path, seconds: float) -> float:
    return float(json.loads(_run(IDLE, path, seconds))) * PERCENT


def _run(text: str, path: Path, seconds: float) -> str:
    command = [sys.executable, "-c", text, str(seconds)]
    return subprocess.run(command, env=_environment(path), capture_output=True, text=True, check=True).stdout


def _environment(path: Path) -> dict[str, str]:
    return {**os.environ, "VRAMWATCH_SOCKET": str(path)}


def _acknowledged(reception: Reception, path: Path) -> Iterator[float]:
    with subprocess.Popen([sys.executable, "-c", DEEP], env=_environment(path)) as worker:
        try:
            while not (key := _key(reception, worker.pid)):
                time.sleep(0.05)
            for turn in range(TIMES):
                yield _asked(reception, key, f"turn-{turn}") * MILLI
                time.sleep(0.6)  # a worker may say so many messages a second
        finally:
            worker.kill()


def _key(reception: Reception, pid: int) -> ProcessKey | None:
    return next((key for key in reception.enrolled() if key.pid == pid), None)


def _asked(reception: Reception, key: ProcessKey, id: str) -> float:
    began = time.monotonic()
    reception.ask(key, Clear(id, ("gc",)))
    while not any(answer.id == id for _, answer in reception.answers()):
        time.sleep(0.0005)
    return time.monotonic() - began
