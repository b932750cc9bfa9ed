"""Run a command on a machine with GPUs that are not there.

    python -m tests.nvml --gpus 8 --processes 8 --moving --real-pids -- nvtop

The exit code is the command's; 128 + n if signal n ended it.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import pi, sin

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import MIB, Process

FIRST_UNREAL_PID = 2**22  # PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h): no process has it
QUANTUM = 2 * MIB  # in which the driver hands out memory
FILLED = 0.8  # part of each GPU that is in use
SWING = 0.1  # by which a moving process grows and shrinks, as part of itself
TURN = 60.0  # seconds from one peak to the next
STEP = 0.25  # seconds between movements
AWAITED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}  # a terminal sends SIGINT to the command as well


def main(arguments: Sequence[str]) -> int:
    """Return the command's exit code."""
    wanted = _parse(arguments)
    count = wanted.gpus * wanted.processes
    unreal = nullcontext(list(range(FIRST_UNREAL_PID, FIRST_UNREAL_PID + count)))
    with _sleepers(count) if wanted.real_pids else unreal as pids, FakeDriver(gpus=wanted.gpus) as driver:
        _fill(driver, pids, seconds=0.0)
        command = _start(wanted.command, driver)
        seconds = 0.0
        while command.poll() is None:
            came = signal.sigtimedwait(AWAITED, STEP)
            if came and came.si_signo == signal.SIGTERM:
                command.terminate()
            elif came is None and wanted.moving:
                seconds += STEP
                _fill(driver, pids, seconds)
    return command.returncode if command.returncode >= 0 else 128 - command.returncode


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.nvml", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpus", type=int, default=8, help="how many (default: 8)")
    parser.add_argument("--processes", type=int, default=8, help="how many on each GPU (default: 8)")
    parser.add_argument("--moving", action="store_true", help="let memory grow and shrink")
    parser.add_argument("--real-pids", action="store_true", help="start a sleeping process for each pid")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --")
    return parser.parse_args(arguments)


@contextmanager
def _sleepers(count: int) -> Iterator[list[int]]:
    """Give the pids of ``count`` processes that wait, and end when this one does, however it does."""
    started = [subprocess.Popen(["cat"], stdin=subprocess.PIPE) for _ in range(count)]
    try:
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.communicate()


def _fill(driver: FakeDriver, pids: Sequence[int], seconds: float) -> None:
    """Share each GPU among its part of ``pids``, as it stands after ``seconds`` of movement."""
    each = len(pids) // len(driver.gpus) if driver.gpus else 0
    with driver.changing():
        for slot, gpu in enumerate(driver.gpus):
            shares = pids[slot * each : (slot + 1) * each]
            size = FILLED * gpu.total / each if each else 0
            gpu.set_processes(
                Process(
                    pid,
                    round(size * (1 + SWING * sin(2 * pi * (seconds / TURN + rank / (2 * each)))) / QUANTUM)
                    * QUANTUM,
                )
                for rank, pid in enumerate(shares)
            )


def _start(command: Sequence[str], driver: FakeDriver) -> subprocess.Popen[bytes]:
    """Start ``command``; from before its start, the AWAITED signals wait here to be fetched."""
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)

    environment = {**os.environ, **driver.environment()}
    return subprocess.Popen(command, env=environment, preexec_fn=unblock)  # noqa: PLW1509 (no threads here)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
