"""What the watcher itself takes: memory, descriptors, and nothing on the GPU."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.findings import Figures, Finding, at_most, told
from benchmarks.gpu.actors import Actor, Mirror
from benchmarks.gpu.rig import MIB, Rig
from benchmarks.gpu.steps import Measured, Step
from benchmarks.house import House
from benchmarks.processes import descendants, rss_bytes

MEMORY_GOAL = 110.0  # MiB, of the daemon and its reader together, as in benchmarks/cost.py
RISE_GOAL = 2.0  # MiB, between the second and the last quarter
MAKES_A_CONTEXT = ("libcuda.so", "libcudart.so")
"""Who maps one of these may make a context; the driver's management library is another."""
EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """Of the daemon and its children, at one moment. Bytes; ``at``: seconds since the first."""

    at: float
    rss: int
    descriptors: int
    listed: tuple[int, ...]  # pids that nvidia-smi lists on the GPU
    pids: tuple[int, ...]  # ours


def steps(part: str, rig: Rig, folder: Path) -> list[Step]:
    seconds = 8.0 if rig.is_rehearsal else 120.0
    return [Step("two-minutes-at-200ms", seconds + 90.0, _watched(rig, folder, seconds))]


def _watched(rig: Rig, folder: Path, seconds: float) -> Callable[[float], Measured]:
    def run(_left: float) -> Measured:
        house = House(folder, {}, "200ms")
        with ExitStack() as stage:
            actor = stage.enter_context(Actor(rig, "hold", 3600.0, folder))
            stage.enter_context(Mirror(rig, lambda: [actor]))
            actor.wait_until("holds its memory")
            time.sleep(1.0)
            before = tuple(_listed(rig))
            first = house.polls()
            daemon = stage.enter_context(house.daemon())
            house.wait_for_another_reading()
            began = time.monotonic()
            looks = [_look(rig, daemon, began)]
            while time.monotonic() - began < seconds:
                time.sleep(EVERY)
                looks.append(_look(rig, daemon, began))
            mapped = sorted(_mapped([daemon.pid, *descendants(daemon.pid)]))
        polls = house.polls() - first  # the last of them are stored when the daemon ends
        raw = {"looks": [asdict(each) for each in looks], "before": before, "mapped": mapped}
        return Measured(list(findings(looks, before, mapped, polls)), raw)

    return run


def findings(
    looks: Sequence[Look], before: Sequence[int], mapped: Sequence[str], polls: int
) -> Iterator[Finding]:
    """Yield memory and its rise, descriptors, and whether any process of ours was on the GPU.

    Where nvidia-smi counts pids of another namespace, ours could not be known among them: so it is also
    told whether it listed any more processes with the daemon than ``before`` it.
    """
    yield told("watched", Figures((looks[-1].at,)), "s")
    yield told("polls, from its start to its end", Figures((float(polls),)))
    resident = Figures(tuple(each.rss / MIB for each in looks))
    yield at_most("resident memory, daemon and reader", resident, MEMORY_GOAL, "MiB")
    yield at_most("its rise, last quarter over second", Figures((rise(looks),)), RISE_GOAL, "MiB")
    counts = Figures(tuple(float(each.descriptors) for each in looks))
    yield told("file descriptors, both", counts)
    half = len(looks) // 2
    more = max(each.descriptors for each in looks[half:]) - max(
        each.descriptors for each in looks[: half + 1]
    )
    yield at_most("more of them in the second half", Figures((float(max(0, more)),)), 0)
    ours = {pid for each in looks for pid in each.pids if pid in each.listed}
    yield Finding("our pids among the GPU's processes", _pids(ours), "none", not ours)
    extra = {pid for each in looks for pid in each.listed} - set(before)
    yield Finding("processes that nvidia-smi lists since", _pids(extra), "none", not extra)
    yield Finding("libraries that make a context, mapped", ", ".join(mapped) or "none", "none", not mapped)


def rise(looks: Sequence[Look]) -> float:
    """Return MiB by which the last quarter's median is above the second's; the first is the start."""
    quarter = max(1, len(looks) // 4)
    second = looks[quarter : 2 * quarter] or looks[-1:]
    return (median(each.rss for each in looks[-quarter:]) - median(each.rss for each in second)) / MIB


def _pids(pids: set[int]) -> str:
    return ", ".join(map(str, sorted(pids))) or "none"


def _look(rig: Rig, daemon: "subprocess.Popen[bytes]", began: float) -> Look:
    """Errors: OSError when the daemon or its reader has ended."""
    pids = (daemon.pid, *descendants(daemon.pid))
    return Look(
        time.monotonic() - began,
        sum(map(rss_bytes, pids)),
        sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        tuple(_listed(rig)),
        pids,
    )


def _listed(rig: Rig) -> Iterator[int]:
    for uuid, pid in rig.ask("--query-compute-apps=gpu_uuid,pid"):
        if uuid == rig.uuid and pid.isdecimal():
            yield int(pid)


def _mapped(pids: Sequence[int]) -> set[str]:
    """Return the libraries that pids map and with which a context is made."""
    found: set[str] = set()
    for pid in pids:
        maps = Path(f"/proc/{pid}/maps").read_text()
        found.update(name for name in MAKES_A_CONTEXT if name in maps)
    return found
