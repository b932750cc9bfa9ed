"""doctor --remedies: the whole path from enrolment to memory that came back, with a worker made for it.

Its resident memory stands for the GPU's: what is rehearsed is the way there, not the driver.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import psutil

import vramwatch
from vramwatch.cli.findings import Finding, Grade
from vramwatch.clock import read_boot_id
from vramwatch.config import Config
from vramwatch.core.attempts import Apply, Outcome, RemedyName, Result
from vramwatch.core.couriers import Courier, Reach
from vramwatch.core.model import ProcessKey
from vramwatch.core.ports import Workers
from vramwatch.core.units import MIB, show_bytes
from vramwatch.core.verification import Trial, answered, carried_out, read, verdict
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.remedies.ask import Ask
from vramwatch.remedies.command import Command
from vramwatch.remedies.signal import Signal
from vramwatch.remedying import Hands, Remedy
from vramwatch.sdk.wire import Clear
from vramwatch.treating.treatment import FAST

HELD = 64 * MIB
"""What the worker holds, and gives back when asked."""

WITHIN = 10.0
"""Seconds that a step may take: each takes milliseconds where nothing is wrong."""

SIGNALLED = "SIGURG"

WORKER = f"""
import signal, sys
from vramwatch.sdk import enroll
held = []
def hold():
    held.append(bytearray(b"x") * {HELD})
hold()
worker = enroll(
    name="doctor", on_pressure=held.clear, clears=("callback",), remedies=("ask", "signal:{SIGNALLED}"),
    idle_after=0.1, cooldown=0,
)
with worker.request():
    pass
for line in sys.stdin:
    hold()
    print("holds", flush=True)
"""
BYSTANDER = "import sys; sys.stdin.read()"


def rehearse(config: Config, control: Path) -> Iterator[Finding]:
    """Yield what was found at each step; ``control``: the daemon's socket, beside which workers enrol.

    Two processes are started and ended; no other is touched.
    """
    with ExitStack() as stage:
        folder = Path(stage.enter_context(tempfile.TemporaryDirectory(prefix="vramwatch-doctor-")))
        path = folder / "workers.sock"
        reception = stage.enter_context(
            closing(Reception(path, Admission(), Bounds(report_every=0.2), read_boot_id()))
        )
        worker = stage.enter_context(_program(WORKER, path))
        bystander = stage.enter_context(_program(BYSTANDER, path))
        yield from _steps(reception, worker, bystander)
    yield from _programs(config)
    socket = config.workers.place(control)
    if socket.exists():
        yield Finding(
            "workers' socket", Grade.OK, f"{socket} is there; see vramwatch status for who enrolled"
        )
    else:
        yield Finding("workers' socket", Grade.WARN, f"{socket} is not there", "vramwatch run makes it")


def _steps(
    reception: Reception, worker: "subprocess.Popen[str]", bystander: "subprocess.Popen[str]"
) -> Iterator[Finding]:
    began = time.monotonic()
    key = _until(lambda: next((each for each in reception.enrolled() if each.pid == worker.pid), None))
    if key is None:
        yield Finding("enrol", Grade.FAIL, f"a worker did not enrol within {WITHIN:g} s", "see the SDK's log")
        return
    yield Finding("enrol", Grade.OK, f"a worker enrolled after {1000 * (time.monotonic() - began):.0f} ms")
    yield _tried(reception, key, Ask(mode="apply", clears=("callback",)), "ask")
    if worker.stdin is None or worker.stdout is None:
        return
    worker.stdin.write("again\n")
    worker.stdin.flush()
    worker.stdout.readline()
    yield _tried(reception, key, Signal(mode="apply", signal=SIGNALLED), "signal")
    yield _spared(reception, key, bystander)


def _tried(reception: Workers, key: ProcessKey, remedy: Remedy, name: str) -> Finding:
    """Return what came of a remedy, judged as an attempt is: by what the kernel says, not the worker."""
    before = _resident(key.pid)
    apply = Apply(
        f"doctor-{name}", "doctor", "", "", RemedyName(name), (key,), frozenset(), name, before, HELD // 2
    )
    began = time.monotonic()
    report = remedy.carry_out(apply, Hands(reception, _nobody))
    trial = carried_out(Trial(apply, began, WITHIN, WITHIN), began, report.fault, refused=report.refused)
    outcome = None
    while outcome is None:
        now = time.monotonic()
        for who, answer in reception.answers():
            trial = answered(trial, who, answer, now)
        trial = read(trial, _resident(key.pid), now)
        outcome = verdict(trial, now)
        if outcome is None:
            time.sleep(FAST)
    return _finding(name, outcome)


def _nobody(reach: Reach, secrets: Iterable[str]) -> Courier:
    raise RuntimeError("neither ask nor signal speaks HTTP")


def _finding(name: str, outcome: Outcome) -> Finding:
    if outcome.result is Result.RECOVERED:
        return Finding(
            name, Grade.OK, f"{show_bytes(outcome.freed)} came back, and that was seen from outside"
        )
    return Finding(
        name, Grade.FAIL, f"{outcome.result}: {outcome.detail}", "docs/remedies.md says what it means"
    )


def _spared(reception: Workers, key: ProcessKey, bystander: "subprocess.Popen[str]") -> Finding:
    """Return whether who has not enrolled, and what was not consented to, is refused."""
    stranger = ProcessKey(key.boot_id, bystander.pid, 1)
    refusals = (
        reception.ask(stranger, Clear("doctor", ("gc",))),
        reception.signal(stranger, SIGNALLED),
        reception.signal(key, "SIGTERM"),
    )
    if all(refusals) and bystander.poll() is None:
        return Finding("consent", Grade.OK, "who has not enrolled, or named a signal, is not reached")
    return Finding("consent", Grade.FAIL, "a process was reached without its consent", "switch remedies off")


def _programs(config: Config) -> Iterator[Finding]:
    """Yield whether the operator's programs are there; they are not run."""
    remedies, permit = config.remedies.remedies(), config.remedies.permit
    command = next((each for each in remedies if isinstance(each, Command)), None)
    named: Iterable[tuple[str, Sequence[str] | None]] = (
        ("command", command.argv if command else None),
        ("permit", permit.argv if permit else None),
    )
    for name, argv in named:
        if argv is None:
            continue
        if shutil.which(argv[0]):
            yield Finding(name, Grade.OK, f"{argv[0]} is there; it was not run")
        else:
            yield Finding(
                name, Grade.FAIL, f"{argv[0]} cannot be run", "write its whole path, and chmod +x it"
            )


def _program(text: str, socket: Path) -> "subprocess.Popen[str]":
    home = str(Path(vramwatch.__file__).parents[1])
    environment = {**os.environ, "VRAMWATCH_SOCKET": str(socket), "PYTHONPATH": home}
    environment.pop("VRAMWATCH_DISABLE", None)
    return _Ended(
        [sys.executable, "-c", text],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


class _Ended(subprocess.Popen[str]):
    """A process that ends with its context."""

    def __exit__(self, *what: object) -> None:
        self.kill()
        super().__exit__(None, None, None)


def _until(found: Callable[[], ProcessKey | None]) -> ProcessKey | None:
    end = time.monotonic() + WITHIN
    while time.monotonic() < end:
        if (key := found()) is not None:
            return key
        time.sleep(0.01)
    return None


def _resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
