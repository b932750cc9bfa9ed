"""What it costs a worker to be enrolled: processor time alone and in requests, and how soon it answers."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, not_measured, told
from vramwatch.clock import read_boot_id
from vramwatch.core.model import ProcessKey
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.sdk.wire import Clear

SPAN = 60.0  # seconds
SHARE_GOAL = 0.1  # percent of one core
RATIO_GOAL = 1.01  # of CPU time: less cannot be told on a machine that others use
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


GENERATE = """
import json, statistics, sys, time
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from vramwatch.sdk.integrations.transformers import enrolled
torch.set_num_threads(1)
shape = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8}
shape |= {"num_attention_heads": 8, "vocab_size": 1000}
plain, marked = (LlamaForCausalLM(LlamaConfig(**shape)).eval() for _ in range(2))
enrolled(marked, name="bench")
prompt = torch.ones(1, 32, dtype=torch.long)
def seconds(model):
    began = time.thread_time()
    model.generate(prompt, max_new_tokens=32, do_sample=False, pad_token_id=0)
    return time.thread_time() - began
seconds(plain), seconds(marked)
ratios, until = [], time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    pair = (seconds(plain), seconds(marked)) if len(ratios) % 2 else (seconds(marked), seconds(plain))[::-1]
    ratios.append(pair[1] / pair[0])
print(json.dumps(statistics.median(ratios)))
"""

TORCH = ("torch", "transformers")


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
            yield _generate(path)
            taken = Figures(tuple(_acknowledged(reception, path)))
        yield at_most("worker: ask to acknowledgement, main thread in C", taken, ACKNOWLEDGED_GOAL, "ms")


def _generate(path: Path) -> Finding:
    """Each in turn in one process: a model as it is, and one whose ``generate`` and caches are followed."""
    name = "worker: a generate loop, marked and tracked, over the bare one"
    if any(importlib.util.find_spec(each) is None for each in TORCH):
        return not_measured(name, "needs " + " and ".join(TORCH))
    return at_most(name, Figures((float(json.loads(_run(GENERATE, path, SPAN))),)), RATIO_GOAL)


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
