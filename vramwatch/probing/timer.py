"""Has the probe run every so often where no timer of systemd does: in a process group of its own, bounded."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import vramwatch
from vramwatch.core.errors import StoreError
from vramwatch.core.units import Seconds
from vramwatch.remedying import end_group, run_program
from vramwatch.store import History

RETRY = Seconds(3600.0)
"""Seconds until it is tried again where there was no room, or a run failed; at most until the next."""

PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"),
    *("LD_LIBRARY_PATH", "CUDA_HOME", "HF_HOME", "HF_HUB_OFFLINE"),
)
"""What of the daemon's environment the child gets: the rest may hold secrets."""

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from vramwatch.cli import main; main()"
THIS_PROGRAM = (sys.executable, "-P", "-c", _START, str(Path(vramwatch.__file__).parents[1]))
"""Starts this very vramwatch, from wherever it lies, in whatever folder; a verb follows."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """``environment``: options of the run, as ``VRAMWATCH_PROBE__*``, beside what is passed on."""

    every: Seconds
    timeout: Seconds
    environment: Mapping[str, str]


class ProbeTimer:
    """``look`` is called every minute or so on a thread of its own; the polls go on."""

    def __init__(self, path: Path, plan: Plan | None) -> None:
        """``path``: of the store. ``plan`` None: nothing is to run."""
        self._path = path
        self._plan = plan
        self._tried = float("-inf")  # unix seconds
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def reconfigure(self, plan: Plan | None) -> None:
        self._plan = plan

    def look(self, tell: Callable[[str], None]) -> None:
        """Run the probe if it is due, and wait for it; ``tell`` is told how it failed."""
        plan = self._plan
        if plan is None or self._is_closed:
            return
        try:
            with closing(History.open(self._path)) as history:
                span = history.span()
                made = [each.made for each in history.probe_runs() if each.is_scheduled]
        except StoreError as error:
            logger.error("probe not run because=%r", str(error))
            return
        if span is None or not _is_due(plan, span[1], max(made, default=None), self._tried):
            return
        self._tried = span[1]
        why = run_program(
            (*THIS_PROGRAM, "probe", "--scheduled"), plan.environment, plan.timeout, self._begun
        )
        self._program = None
        if why and not self._is_closed:
            tell(why.removeprefix(f"{sys.executable} "))

    def close(self) -> None:
        """End a run that is under way, with all that it has started."""
        with self._lock:
            self._is_closed = True
            program = self._program
        if program:
            end_group(program)

    def _begun(self, program: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            self._program = program
            is_late = self._is_closed
        if is_late:
            end_group(program)


def _is_due(plan: Plan, now: float, made: float | None, tried: float) -> bool:
    """Whether a run is due at ``now``; unix seconds. ``made``: the last one; ``tried``: the last attempt."""
    return (made is None or now - made >= plan.every) and now - tried >= min(plan.every, RETRY)
