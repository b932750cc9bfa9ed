"""Remedies on a real worker: it has cached memory, the daemon has it asked or signalled, the driver verifies.

The daemon is the whole one, with its store, its pipeline over NVML and its socket of workers; that the memory
grew is told to it, for to find that out takes it longer than a part may.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.findings import Figures, Finding, at_most, not_measured, told
from benchmarks.gpu.actors import CONTEXT, PATIENCE
from benchmarks.gpu.reading import looking
from benchmarks.gpu.rig import MIB, Rig
from benchmarks.gpu.steps import Measured, Step
from vramwatch.assembly import assemble, open_feed, tell, treat
from vramwatch.clock import read_boot_id
from vramwatch.config import load
from vramwatch.core.attempts import Attempt, Result
from vramwatch.core.incidents import Subject
from vramwatch.core.model import SubjectKind
from vramwatch.core.verdicts import Cause, Evidence
from vramwatch.daemon import Daemon
from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.store import History, Store

CACHED, CACHED_SMALL = 8 * 2**30, 256 * MIB
TOLD_AT = 6
"""The poll at which the daemon is told of the growth: every list has been read by then."""
WITHIN = 90.0
"""Seconds until an outcome must stand in the store."""
OFF_BY = 64 * MIB
"""Bytes by which what came back may differ from what was cached: contexts and workspaces move meanwhile."""
INCIDENT = "grown-caching"
EXPANDABLE = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@dataclass(frozen=True, slots=True)
class Case:
    """``remedy``: the only one that the daemon has. ``current``: another CUDA device is current meanwhile."""

    name: str
    remedy: str
    is_busy: bool = False
    environment: Mapping[str, str] | None = None
    on_another: bool = False


CASES = (
    Case("ask", "ask"),
    Case("signal", "signal"),
    Case("ask-while-requests-run", "ask", is_busy=True),
    Case("signal-while-requests-run", "signal", is_busy=True),
    Case("expandable-segments", "ask", environment=EXPANDABLE),
    Case("another-current-device", "ask", environment=EXPANDABLE, on_another=True),
)


def steps(part: str, rig: Rig, folder: Path) -> list[Step]:
    return [Step(case.name, 75.0, _step(rig, case)) for case in CASES]


def _step(rig: Rig, case: Case) -> Callable[[float], Measured]:
    def run(_left: float) -> Measured:
        if case.on_another and not rig.others:
            return Measured(
                [not_measured("empty_cache with another current device", "there is one GPU here")]
            )
        size = CACHED_SMALL if rig.is_rehearsal else CACHED
        # The path of a socket may have 107 bytes (unix(7)); that of the folder may have more.
        with tempfile.TemporaryDirectory(prefix="vramwatch-remedies-") as place:
            clinic = Clinic(rig, Path(place), case, size)
            before, after, attempt, latency = clinic.live()
        raw = {"before": before, "after": after, "size": size, "worker": latency}
        return Measured(list(findings(attempt, before - after, size)), raw)

    return run


def findings(attempt: Attempt, fallen: int, size: int) -> Iterator[Finding]:
    """Yield what became of the attempt, and whether the GPU's figure agrees with it. Bytes."""
    outcome = attempt.outcome
    assert outcome is not None
    yield Finding("result", str(outcome.result), str(Result.RECOVERED), outcome.result is Result.RECOVERED)
    if outcome.freed is not None:
        yield told("came back, by the daemon's verification", Figures((outcome.freed / MIB,)), "MiB")
        apart = Figures((abs(outcome.freed - size) / MIB,))
        yield at_most("apart from what was cached", apart, OFF_BY / MIB, "MiB")
        apart = Figures((abs(fallen - outcome.freed) / MIB,))
        yield at_most("apart from what the whole GPU's use fell by", apart, OFF_BY / MIB, "MiB")
    if outcome.seconds is not None:
        yield told("from the attempt to the verified figure", Figures((outcome.seconds,)), "s")
    if outcome.pause is not None:
        yield told("the worker was held up", Figures((outcome.pause * 1000,)), "ms")


class Clinic:
    """A worker that has cached memory, and a daemon that is told so."""

    def __init__(self, rig: Rig, folder: Path, case: Case, size: int) -> None:
        self._rig, self._folder, self._case, self._size = rig, folder, case, size
        self._gauges = folder / "gauges"
        self._socket = folder / "enrol.sock"
        self._store = folder / "vramwatch.db"

    def live(self) -> tuple[int, int, Attempt, str]:
        """Return what the GPU held before and after, the attempt, and how the worker is.

        Errors: RuntimeError where nothing came of it within WITHIN seconds.
        """
        with ExitStack() as stage:
            reception = Reception(self._socket, Admission(), Bounds(report_every=0.2), read_boot_id())
            stage.enter_context(closing(reception))
            worker = stage.enter_context(self._worker())
            stage.enter_context(self._mirrored(worker.pid))
            self._until(lambda: any(each.pid == worker.pid for each in reception.enrolled()), "it enrolled")
            with looking(self._rig, self._folder) as look:
                before = look()
                listed = [each.pid for each in before.holdings]
                if worker.pid not in listed:
                    raise RuntimeError(
                        f"the driver lists pids {listed} and not the worker's, {worker.pid}: "
                        "it counts in another pid namespace, so run this outside of a container"
                    )
                attempt = self._treated(reception)
                after = look()
            how = "alive" if worker.poll() is None else f"ended with {worker.returncode}"
        if how != "alive":
            raise RuntimeError(f"the worker {how}")
        return before.memory.used, after.memory.used, attempt, how

    def _treated(self, reception: Reception) -> Attempt:
        from tests.telling import Scripted

        file = self._folder / "config.yaml"
        file.write_text(
            f"store: {{path: {self._store}}}\npoll: {{driver_share: 0.1}}\n"
            f"control: {{socket: {self._folder / 'control.sock'}, group: null}}\n"
            "owners:\n  - {match: {command: '*benchmarks.gpu.caching*'}, name: caching}\n"
            f"remedies: {{{self._case.remedy}: {{mode: apply, within: 10s}}}}\n"
        )
        config = load(file, {}, {})
        store = Store.open(self._store, "nvml", "gpu")
        feed = open_feed(config, store.newest())
        alerting, outbox = tell(config, store) or (None, None)
        daemon = Daemon(
            feed,
            assemble(config, feed, {}, (reception,)),
            Scripted({TOLD_AT: (self._growth(),)}),
            store,
            alerting=alerting,
            outbox=outbox,
            treatment=treat(config, store, reception),
            workers=reception,
        )
        polls = threading.Thread(target=daemon.run, name="polls")
        polls.start()
        try:
            attempt: Attempt = self._until(self._ended_attempt, "an attempt had ended")
        finally:
            daemon.stop()
            polls.join()
        return attempt

    def _growth(self) -> Any:
        """Return that the worker's memory grew by what it has cached, as a detector would have found."""
        from tests.telling import move

        subject = Subject(self._rig.uuid, SubjectKind.OWNER, "rule:caching")
        grown = Evidence("grew by what it cached", {"growth_bytes": float(self._size)}, 100.0, 3700.0, 61)
        made: Any = move(  # type: ignore[no-untyped-call]
            cause=Cause.FRAGMENTATION, evidence=grown, subject=subject, id=INCIDENT
        )
        return replace(made, scene=replace(made.scene, owner="caching", held_bytes=self._size + CONTEXT))

    def _ended_attempt(self) -> Attempt | None:
        with suppress(Exception):  # no store yet, or nothing in it: it is looked at again
            actions = History.open(self._store).casebook.chain(INCIDENT).actions
            return next((each for each in actions if isinstance(each, Attempt) and each.outcome), None)
        return None

    @contextmanager
    def _worker(self) -> Iterator["subprocess.Popen[str]"]:
        command = [sys.executable, "-m", "benchmarks.gpu.caching", "--device", self._rig.device]
        command += ["--uuid", self._rig.uuid, "--bytes", str(self._size), "--gauges", str(self._gauges)]
        command += ["--busy"] if self._case.is_busy else []
        environment = {**os.environ, "VRAMWATCH_SOCKET": str(self._socket), **(self._case.environment or {})}
        if self._case.on_another:
            command += ["--current", "1"]
            environment["CUDA_VISIBLE_DEVICES"] = f"{self._rig.uuid},{self._rig.others[0]}"
        if self._rig.is_rehearsal:
            environment["OMP_NUM_THREADS"] = "1"
        errors = self._folder / "worker.log"
        with errors.open("w") as log:
            worker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert worker.stdout
            if worker.stdout.readline() != "ready\n":
                last = (errors.read_text().strip().splitlines() or ["it says nothing"])[-1]
                raise RuntimeError(f"the worker did not come to be ready: {last}")
            yield worker
        finally:
            worker.kill()
            worker.communicate()

    @contextmanager
    def _mirrored(self, pid: int) -> Iterator[None]:
        over = threading.Event()

        def keep() -> None:
            while not over.wait(0.02):
                with suppress(OSError, ValueError):
                    held = json.loads(self._gauges.read_text())["reserved"]
                    self._rig.shows({pid: CONTEXT + held})

        mirror = threading.Thread(target=keep, name="mirror")
        if self._rig.is_rehearsal:
            mirror.start()
        try:
            yield
        finally:
            over.set()
            if self._rig.is_rehearsal:
                mirror.join()
            self._rig.shows({})

    @staticmethod
    def _until(found: Callable[[], Any], what: str) -> Any:
        until = time.monotonic() + min(WITHIN, PATIENCE)
        while time.monotonic() < until:
            if value := found():
                return value
            time.sleep(0.1)
        raise RuntimeError(f"{WITHIN:.0f} s went by before {what}")
