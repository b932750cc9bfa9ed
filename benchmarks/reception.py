"""The socket of workers under attack: what floods cost, and whether a signal ever hits a wrong process."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.findings import Figures, Finding, at_most, told
from tests.floods import ATTACKERS, busy, flood
from tests.pid_reuse import cycles
from vramwatch.core.units import MIB

CONNECTIONS, CYCLES = 10_000, 10_000
GROWN_MIB, LATE_MILLISECONDS = 16.0, 100.0


def measure() -> Iterator[Finding]:
    """Yield what a flood costs, and what became of the canaries that had the pids of workers."""
    with tempfile.TemporaryDirectory() as folder:
        cost = flood(Path(folder) / "enrol.sock", CONNECTIONS)
    name = f"{CONNECTIONS} connections that flood and lie"
    yield at_most(f"{name}: memory", Figures((cost["grown_bytes"] / MIB,)), GROWN_MIB, "MiB")
    before = Figures((cost["late_before_seconds"] * 1000,))
    yield told("without them: 99th percentile of a poll's delay", before, "ms")
    beside = f"beside {ATTACKERS} processes that only take processor time: the same"
    yield told(beside, Figures((busy() * 1000,)), "ms")
    late = Figures((cost["late_seconds"] * 1000,))
    yield at_most(f"{name}: 99th percentile of a poll's delay", late, LATE_MILLISECONDS, "ms")
    kept = bool(cost["enrolled"])
    yield Finding(f"{name}: who enrolled before stays", "yes" if kept else "no", "yes", kept)
    became = cycles(CYCLES)
    hit = became.get("canaries that were hit", 0)
    words = ", ".join(f"{times} {what}" for what, times in became.items())
    yield Finding(f"{CYCLES} enrolments, each pid used again", words, "no canary hit", hit == 0)
