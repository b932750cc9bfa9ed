"""Those who connect to the socket of workers to do harm, and what a reception among them costs."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

from vramwatch.reception import Admission, Bounds, Reception
from vramwatch.sdk.wire import LIMIT, Device, Report, encode

ATTACKERS = 3

QUIET = 2.0
"""Seconds for which the same is measured without attackers."""

BESIDE = 15.0
"""Seconds for which it is measured beside processes that only take processor time."""

TICK = 0.005
"""Seconds after which the thread that stands for the polls wants to run again."""


def flood(path: Path, connections: int) -> dict[str, float]:
    """Return what ``connections`` attempts of several processes cost a reception in this process.

    ``grown_bytes``: of resident memory, at most. ``late_seconds``: the 99th percentile of how late a thread
    was that wants to run every few milliseconds; ``late_before_seconds``: the same without the flood.
    ``enrolled``: honest workers that stayed throughout. ``failed``: attackers that came to no end.
    """
    from tests.workers import Line, Other

    reception = Reception(path, Admission(), Bounds(), "boot")
    try:
        with Other(path, "enrol") as honest, Line(path):
            _settle()
            before = _resident()
            until = time.monotonic() + QUIET
            quiet, _ = _poll(lambda: time.monotonic() < until)
            attackers = [
                subprocess.Popen(
                    [sys.executable, "-m", __name__, str(path), str(connections // ATTACKERS), str(n)]
                )
                for n in range(ATTACKERS)
            ]
            late, most = _poll(lambda: any(each.poll() is None for each in attackers))
            return {
                "grown_bytes": float(most - before),
                "late_seconds": late,
                "late_before_seconds": quiet,
                "enrolled": float(any(key.pid == honest.pid for key in reception.enrolled())),
                "failed": float(sum(each.returncode != 0 for each in attackers)),
            }
    finally:
        reception.close()


def busy() -> float:
    """Return how late the same thread is beside as many processes that take processor time and connect to
    nothing, 99th percentile in seconds: what a flood would cost a reception that did not exist.
    """
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(ATTACKERS)]
    try:
        until = time.monotonic() + BESIDE
        late, _ = _poll(lambda: time.monotonic() < until)
    finally:
        for each in hogs:
            each.kill()
            each.wait()
    return late


def _poll(goes_on) -> tuple[float, int]:
    """Stand for the polls while it goes on; return the 99th percentile of lateness, and the most memory."""
    delays, most = [], 0
    while goes_on():
        due = time.monotonic() + TICK
        time.sleep(TICK)
        delays.append(time.monotonic() - due)
        most = max(most, _resident())
    return sorted(delays)[len(delays) * 99 // 100], most


def _settle() -> None:
    time.sleep(0.2)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def attack(path: Path, connections: int, seed: int) -> None:
    """Connect again and again, hold what can be held, and say all that a worker must not."""
    chance = random.Random(seed)
    report = encode(Report(1, devices=tuple(Device(f"GPU-{n:036}", reserved=2**62) for n in range(32))))
    held: list[socket.socket] = []
    made = 0
    while made < connections:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(str(path))
            made += 1
            held.append(one)
        for _ in range(chance.randrange(8)):
            said = chance.choice((b"x" * 60_000, b'{"type":"hello"}', report, b"[" * LIMIT, b"{}", b"\xff"))
            with contextlib.suppress(OSError):
                one.send(said)
        while len(held) > 200:
            held.pop(chance.randrange(len(held))).close()


if __name__ == "__main__":
    attack(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
