"""Starts workers on the GPU, hears what they say, and has a rehearsal's driver show what they hold."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.gpu.rig import MIB, Rig

CONTEXT = 256 * MIB
"""What a context is said to take in a rehearsal; a real one is what the driver says."""

PATIENCE = 180.0
"""Seconds until a worker stands: torch's import, a 7B model's random weights."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """The newest that a worker said of itself. Bytes."""

    allocated: int = 0
    reserved: int = 0
    outside: int = 0
    requests: int = 0
    kv: int = 0
    kv_requires_grad: bool = False


class Actor:
    """One worker. ``said``: what it did and when, as it told."""

    def __init__(
        self, rig: Rig, role: str, seconds: float, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.role = role
        self.said: list[dict[str, Any]] = []
        self._gauges = folder / f"{role}-{time.monotonic_ns()}.gauges"
        command = [sys.executable, "-m", "benchmarks.gpu.acting", role, "--device", rig.device]
        command += ["--seconds", str(seconds), "--gauges", str(self._gauges)]
        command += ["--small"] if rig.is_rehearsal else []
        few = {"OMP_NUM_THREADS": "1"} if rig.is_rehearsal else {}
        self._errors: list[str] = []
        self._tokens: queue.Queue[list[float]] = queue.Queue()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **few, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listening = [
            threading.Thread(target=each, daemon=True) for each in (self._hear, self._hear_errors)
        ]
        for each in self._listening:
            each.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def gauges(self) -> Gauges:
        """Return what it last said; nothing yet is zeros."""
        with suppress(OSError, ValueError):
            return Gauges(**json.loads(self._gauges.read_text()))
        return Gauges()

    def shown(self) -> int:
        """Return the bytes that a rehearsal's driver shows of it."""
        gauges = self.gauges()
        has_context = any(each["did"] != "began" for each in self.said) or gauges.reserved > 0
        return CONTEXT * has_context + gauges.reserved + gauges.outside

    def wait_until(self, did: str, patience: float = PATIENCE) -> None:
        """Errors: RuntimeError when it ends before, or says nothing of it."""
        until = time.monotonic() + patience
        while not any(each["did"] == did for each in self.said):
            if self.has_ended() or time.monotonic() > until:
                raise RuntimeError(f"{self.role} did not come to {did!r}: {self.last_words()}")
            time.sleep(0.05)

    def decode(self, seconds: float) -> list[float]:
        """Return what each token took, of so many seconds of decoding. Errors: RuntimeError."""
        assert self.process.stdin
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        try:
            return self._tokens.get(timeout=seconds + PATIENCE)
        except queue.Empty:
            raise RuntimeError(f"{self.role} decoded nothing: {self.last_words()}") from None

    def last_words(self) -> str:
        return self._errors[-1] if self._errors else f"exit status {self.process.poll()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for each in self._listening:
            each.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                with suppress(OSError):
                    stream.close()
        self._gauges.unlink(missing_ok=True)

    def _hear(self) -> None:
        assert self.process.stdout
        for row in self.process.stdout:
            if row.startswith("TOKENS"):
                self._tokens.put([float(each) for each in row.split()[1:]])
            else:
                with suppress(ValueError):
                    self.said.append(json.loads(row))

    def _hear_errors(self) -> None:
        assert self.process.stderr
        for row in self.process.stderr:
            if row.strip():
                self._errors = [*self._errors[-20:], row.strip()]


class Mirror:
    """Meanwhile a rehearsal's driver shows what the actors hold, and nothing else; a real one is let be."""

    def __init__(self, rig: Rig, actors: Callable[[], Sequence[Actor]], every: float = 0.05) -> None:
        self._rig, self._actors, self._every = rig, actors, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="mirror")

    def show(self) -> None:
        shown = {each.pid: each.shown() for each in self._actors() if not each.has_ended()}
        self._rig.shows({pid: held for pid, held in shown.items() if held})

    def __enter__(self) -> Self:
        self.show()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._rig.shows({})

    def _keep(self) -> None:
        while not self._over.wait(self._every):
            self.show()
