"""Each run in a process of its own, so that nothing leaks from one into the next."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import vramwatch
from vramwatch.core.errors import UsageError
from vramwatch.probe.experiment import Experiment, to_json
from vramwatch.probe.results import Ended, Result, read

Progress = Callable[[str, int, int], None]

_PROGRAM = """\
import importlib.util, runpy, sys
place = sys.argv.pop(1)
init = place + "/__init__.py"
spec = importlib.util.spec_from_file_location("vramwatch", init, submodule_search_locations=[place])
sys.modules["vramwatch"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module("vramwatch.probe.child", run_name="__main__", alter_sys=True)
"""
"""Finds this very vramwatch and nothing beside it: the interpreter has libraries of its own."""

KILLED = -9
"""What the kernel's out-of-memory killer leaves as an exit status."""


def run(experiment: Experiment, progress: Progress, python: str | None = None) -> Result:
    """Run ``experiment`` in a fresh process of the interpreter ``python`` (default: this one).

    A run that breaks is a result that says so. Errors: UsageError where it was refused, with what is
    accepted, or where there is no such interpreter.
    """
    argv = [python or sys.executable, "-c", _PROGRAM, str(Path(vramwatch.__file__).parent)]
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise UsageError(
            f"{argv[0]}: cannot be run ({error.strerror}); "
            "name a Python that has torch: --python, probe.python"
        ) from error
    with child:
        assert child.stdin  # noqa: S101 -- asked for above
        with _draining(child) as said:
            child.stdin.write(json.dumps(to_json(experiment)))
            child.stdin.close()
            result = _answer(child, progress)
        if result is not None:
            return result
    last = said.last() or f"exit status {child.returncode}"
    if child.returncode == KILLED:
        return Result(experiment, Ended.OUT_OF_MEMORY, "the kernel killed it: the machine's memory ran out")
    return Result(experiment, Ended.FAILED, last)


def _answer(child: "subprocess.Popen[str]", progress: Progress) -> Result | None:
    """Return the result that the child tells; None: it ended without one. Errors: UsageError."""
    assert child.stdout  # noqa: S101 -- asked for above
    for row in child.stdout:
        message = json.loads(row)
        if "refused" in message:
            raise UsageError(message["refused"])
        if "result" in message:
            return read(message["result"])
        progress(message["doing"], message["done"], message["of"])
    return None


class _draining:
    """Reads standard error beside standard output, for a full pipe would hold the child up; keeps its end."""

    MOST = 50
    """Lines kept."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._rows: list[str] = []
        self._child = child
        self._thread = threading.Thread(target=self._drain, name="probe-stderr", daemon=True)

    def __enter__(self) -> "_draining":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def last(self) -> str:
        return next((row.strip() for row in reversed(self._rows) if row.strip()), "")

    def _drain(self) -> None:
        assert self._child.stderr  # noqa: S101 -- asked for where it was started
        for row in self._child.stderr:
            self._rows = [*self._rows[-self.MOST :], row]
