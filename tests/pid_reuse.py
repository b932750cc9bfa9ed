"""Enrolments and ends with every pid used again at once: is ever a process signalled that did not consent?

Runs itself in a pid namespace of its own, whose next pid it decides (ns_last_pid of proc_sys_kernel(5)): root
alone can. Every canary has the pid that the worker before it had, and no handler, so that the signal would
kill it; meanwhile another thread sends that signal, without a pause, to every worker that ever enrolled.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.workers import Line
from vramwatch.clock import read_boot_id
from vramwatch.core.model import ProcessKey
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.sdk.wire import Hello

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
PID = 9000
SIGNAL = "SIGUSR1"
REMEMBERED = 32
"""Ended workers that are signalled on and on."""

TOGETHER = 0.002
"""Seconds for which a canary lives, in which it can be hit."""


def cycles(count: int) -> dict[str, int]:
    """Return what became of ``count`` cycles, by name. Errors: CalledProcessError."""
    done = subprocess.run(
        [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            sys.executable,
            "-m",
            __name__,
            str(count),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return told


def _run(count: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "enrol.sock"
        reading, writing = os.pipe()
        if not (spawner := os.fork()):
            _spawn(path, count, writing)
        os.close(writing)
        reception = Reception(path, Admission(), Bounds(total=1024, per_user=1024), read_boot_id())
        heard: Counter[str] = Counter()
        is_over = threading.Event()
        hammer = threading.Thread(target=_hammer, args=(reception, heard, is_over))
        hammer.start()
        with os.fdopen(reading) as told:
            became = json.loads(told.read())
        is_over.set()
        hammer.join()
        os.waitpid(spawner, 0)
        reception.close()
    return {**became, **{f"signal: {what}": times for what, times in heard.items()}}


def _hammer(reception: Reception, heard: "Counter[str]", is_over: threading.Event) -> None:
    known: dict[ProcessKey, None] = {}
    while not is_over.is_set():
        known.update(dict.fromkeys(reception.enrolled()))
        for key in [*known][:-REMEMBERED]:
            del known[key]
        for key in known:
            why_not = reception.signal(key, SIGNAL)
            heard["sent" if why_not is None else " ".join(why_not.split()[2:])] += 1
        time.sleep(0)


def _spawn(path: Path, count: int, writing: int) -> None:
    while not path.exists():
        time.sleep(0.01)
    became: Counter[str] = Counter()
    for number in range(count):
        worker = _fork_at(PID, lambda number=number: _work(path, has_child=number % 4 == 0))
        _, status = os.waitpid(worker, 0)
        became["workers enrolled"] += status == 0
        canary = _fork_at(PID, lambda: time.sleep(TOGETHER))
        became["pids used again"] += canary == worker
        _, status = os.waitpid(canary, 0)
        became["canaries that lived" if status == 0 else "canaries that were hit"] += 1
        while became["workers enrolled"] and _reap():
            pass
    os.write(writing, json.dumps(became).encode())
    os._exit(0)


def _reap() -> bool:
    """Take note of a grandchild that has ended; return whether there was one."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _fork_at(pid: int, do) -> int:
    LAST_PID.write_text(str(pid - 1))
    child = os.fork()
    if child:
        return child
    try:
        do()
        os._exit(0)
    except BaseException:  # whatever it is, it must not go on as its parent does
        os._exit(1)


def _work(path: Path, *, has_child: bool) -> None:
    """Enrol, and end at once; or leave a child that holds the connection for a while longer."""
    signal.signal(getattr(signal, SIGNAL), lambda *_: None)
    line = Line(path)
    line.enrol(Hello(remedies=(f"signal:{SIGNAL}",)))
    if has_child and not os.fork():
        signal.signal(getattr(signal, SIGNAL), signal.SIG_DFL)
        time.sleep(5 * TOGETHER)
        os._exit(0)
    time.sleep(0.0005)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run(int(sys.argv[1]))) + "\n")
