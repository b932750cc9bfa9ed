"""Our ledger beside nvidia-smi; what a poll costs, beside peers; what watching costs a generate loop."""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.findings import Figures, Finding, at_most, not_measured, told
from benchmarks.gpu.actors import Actor, Mirror
from benchmarks.gpu.intervals import Interval, paired, quantile
from benchmarks.gpu.rig import MIB, Rig
from benchmarks.gpu.steps import Measured, NotFinishedError, Step
from benchmarks.house import House
from vramwatch.assembly import assemble, open_feed
from vramwatch.config import load
from vramwatch.core.model import Ledger

TRIES = 20
"""Looks at the books until memory stands still meanwhile."""

MILLI, MICRO, PERCENT = 1e3, 1e6, 100
RESOLVED = 0.5
"""Percent of a generate loop: the most that watching may cost, and what the pairs must tell from nothing."""

INTERVALS = ("1s", "200ms")

PEERS_PYTHON = Path("build/peers/bin/python")
PEER_CALLS = {"nvitop": "take_snapshots", "gpustat": "new_query"}
PEER = """
import importlib, json, sys, time
module, function = sys.argv[1:]
call = getattr(importlib.import_module(module), function)
call()
wall, cpu = [], []
for _ in range(20):
    began, used = time.perf_counter(), time.process_time()
    call()
    wall.append(time.perf_counter() - began)
    cpu.append(time.process_time() - used)
    time.sleep(0.05)
print(json.dumps([wall, cpu]))
"""


def steps(part: str, rig: Rig, folder: Path) -> list[Step]:
    small = rig.is_rehearsal
    polls = 20 if small else 200
    found = [Step(f"ledger-{count}", 30.0 + 8.0 * count, _ledger(rig, folder, count)) for count in (0, 1, 8)]
    found.append(Step("calls", 60.0, lambda _: _calls(rig, folder, polls)))
    found.append(Step("peers", 60.0, lambda _: _peers(rig, folder)))
    for interval in INTERVALS:
        found.append(Step(f"loop-{interval}", 60.0, _loop(rig, folder, interval)))
    return found


# --- the books beside nvidia-smi ------------------------------------------------------------------


def _ledger(rig: Rig, folder: Path, count: int) -> Callable[[float], Measured]:
    def run(_left: float) -> Measured:
        with _workers(rig, folder, count) as actors, looking(rig, folder) as look:
            before, gpus, apps, seconds = _both(rig, look)
        ours = {each.pid: each.held for each in before.holdings}
        theirs = {int(pid): int(used) for uuid, pid, used in apps if uuid == rig.uuid and used.isdecimal()}
        figures = dict(zip(("total", "used", "free", "reserved"), map(int, gpus[0][1:]), strict=True))
        own = {name: getattr(before.memory, name) for name in figures}
        raw = {"nvidia-smi": figures, "vramwatch": own, "pids": theirs, "our pids": ours}
        raw |= {"unattributed": before.unattributed, "why": [str(each) for each in before.explanations]}
        raw["actors"] = [each.pid for each in actors]
        return Measured([*compared(own, figures, ours, theirs), *_named(before, seconds, count)], raw)

    return run


def compared(
    own: Mapping[str, int],
    figures: Mapping[str, int],
    ours: Mapping[int, int | None],
    theirs: Mapping[int, int],
) -> Iterator[Finding]:
    """Yield how far our bytes are from nvidia-smi's MiB, of the GPU and of each process both list."""
    for name, mib in figures.items():
        yield at_most(
            f"{name}, apart from nvidia-smi's {mib} MiB", Figures((_apart(own[name], mib),)), 0, "MiB"
        )
    shared = sorted(set(ours) & set(theirs))
    same_pids = set(ours) == set(theirs)
    yield Finding(
        "processes, ours and nvidia-smi's",
        f"{len(ours)}, {len(theirs)}",
        "the same pids",
        same_pids,
    )
    apart = [_apart(held, theirs[pid]) for pid in shared if (held := ours[pid]) is not None]
    if apart:
        yield at_most("each process, at most apart from nvidia-smi's", Figures((max(apart),)), 0, "MiB")
    else:
        yield Finding("each process", "nvidia-smi tells the bytes of none")


def _apart(held: int, mib: int) -> float:
    """Return whole MiB between bytes and a figure that may have been cut or rounded to MiB."""
    return float(int(abs(held / MIB - mib)))


def _named(ledger: Ledger, seconds: float, count: int) -> Iterator[Finding]:
    why = ", ".join(str(each) for each in ledger.explanations) or "no reason given"
    yield told("reserved", Figures((ledger.memory.reserved / MIB,)), "MiB")
    yield Finding("unattributed", f"{ledger.unattributed / MIB:.0f} MiB ({why})")
    yield at_most("time between our reading and the last of nvidia-smi's", Figures((seconds,)), 1.0, "s")


def _both(rig: Rig, look: Callable[[], Ledger]) -> tuple[Ledger, list[list[str]], list[list[str]], float]:
    """Return our books and nvidia-smi's answers, taken while memory stood still. Errors: RuntimeError."""
    fields = "uuid,memory.total,memory.used,memory.free,memory.reserved"
    for _ in range(TRIES):
        before, began = look(), time.monotonic()
        gpus = [row for row in rig.ask(f"--query-gpu={fields}") if row[0] == rig.uuid]
        apps = rig.ask("--query-compute-apps=gpu_uuid,pid,used_memory")
        seconds, after = time.monotonic() - began, look()
        if _books(before) == _books(after):
            return before, gpus, apps, seconds
    raise RuntimeError(f"memory did not stand still in {TRIES} looks; others use this GPU")


def _books(ledger: Ledger) -> object:
    return ledger.memory, sorted((each.pid, each.held or 0) for each in ledger.holdings)


@contextmanager
def looking(rig: Rig, folder: Path) -> Iterator[Callable[[], Ledger]]:
    """Give what reads the GPU's books, process list and all. Errors: RuntimeError if it cannot."""
    file = folder / "look.yaml"
    file.write_text(f"store: {{path: {folder / 'none.db'}}}\npoll: {{driver_share: 0.1}}\n")
    config = load(file, {}, {})
    feed = open_feed(config, None)

    def look() -> Ledger:
        """Every look is by a pipeline of its own, which begins with every list."""
        pipeline = assemble(config, feed, {})
        for _ in range(TRIES):
            poll = pipeline.turn(feed.clock.now())
            found = [each for each in poll.ledgers if each.gpu.uuid == rig.uuid]
            if found and found[0].listed is not None:
                return found[0]
            time.sleep(0.2)
        raise RuntimeError(f"no GPU was read: {poll.missing}")

    with closing(feed.source):
        yield look


@contextmanager
def _workers(rig: Rig, folder: Path, count: int, role: str = "hold") -> Iterator[list[Actor]]:
    """Give ``count`` workers at work; in a rehearsal the driver shows them."""
    with ExitStack() as stage:
        actors: list[Actor] = []
        stage.enter_context(Mirror(rig, lambda: list(actors)))
        for _ in range(count):
            actors.append(stage.enter_context(Actor(rig, role, 3600.0, folder)))
        for each in actors:
            each.wait_until("holds its memory")
        time.sleep(1.0)  # each has told its gauges
        yield actors


# --- what a poll costs ----------------------------------------------------------------------------


def _calls(rig: Rig, folder: Path, polls: int) -> Measured:
    with _workers(rig, folder, 1):
        told_by = json.loads(_python("-m", "benchmarks.gpu.calls", str(polls)))
    found = [
        Finding(
            name,
            f"{each['calls']:.0f} a poll; {each['wall'] * MICRO:.1f} µs, CPU {each['cpu'] * MICRO:.1f} µs",
        )
        for name, each in sorted(told_by["functions"].items())
    ]
    calls = sum(each["calls"] for each in told_by["functions"].values())
    found.append(told("calls a poll that reads every list", Figures((calls,))))
    for clock in ("wall", "cpu"):
        figures = Figures(tuple(each * MILLI for each in told_by["poll"][clock]))
        found.append(told(f"a whole poll, {clock}", figures, "ms"))
    return Measured(found, told_by)


def _peers(rig: Rig, folder: Path) -> Measured:
    found, raw = [], {}
    with _workers(rig, folder, 1):
        for module, function in PEER_CALLS.items():
            python = _python_with(module)
            if python is None:
                found.append(
                    not_measured(module, f"neither in {PEERS_PYTHON} nor here; make bench installs it")
                )
                continue
            said = subprocess.run(
                [python, "-c", PEER, module, function], capture_output=True, text=True, check=True
            )
            raw[module] = json.loads(said.stdout)
            for clock, values in zip(("wall", "cpu"), raw[module], strict=True):
                found.append(
                    told(
                        f"{module}.{function}, {clock}", Figures(tuple(each * MILLI for each in values)), "ms"
                    )
                )
    return Measured(found, raw)


def _python_with(module: str) -> str | None:
    if PEERS_PYTHON.exists():
        return str(PEERS_PYTHON)
    return sys.executable if importlib.util.find_spec(module) else None


def _python(*words: str) -> str:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout


# --- what it costs a generate loop ----------------------------------------------------------------


def _loop(rig: Rig, folder: Path, interval: str) -> Callable[[float], Measured]:
    """Pairs of the same loop without and with a daemon, the order in turn; they are kept over runs."""
    kept = folder / f"loop-{interval}.pairs"
    seconds, most = (0.5, 3) if rig.is_rehearsal else (5.0, 400)

    def run(left: float) -> Measured:
        # The first of the two leaves the other its half of what is left.
        until = time.monotonic() + (left / 2 if interval == INTERVALS[0] else left)
        pairs: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
        with ExitStack() as stage:
            actor = stage.enter_context(Actor(rig, "decode", 3600.0, folder))
            stage.enter_context(Mirror(rig, lambda: [actor]))
            actor.wait_until("the model is loaded")
            actor.decode(seconds)
            house = House(folder, {}, interval)
            while len(pairs) < most and not _is_resolved(pairs):
                began = time.monotonic()
                pairs.append(_pair(actor, house, seconds, is_watched_first=len(pairs) % 2 == 1))
                kept.write_text(json.dumps(pairs))
                if time.monotonic() + 1.5 * (time.monotonic() - began) > until:
                    break
        found = list(loop_findings(pairs))
        if len(pairs) < most and not _is_resolved(pairs):
            raise NotFinishedError(
                f"{len(pairs)} pairs do not resolve {RESOLVED} %; the next run adds more", found
            )
        return Measured(found, {"pairs": pairs})

    return run


def _pair(actor: Actor, house: House, seconds: float, *, is_watched_first: bool) -> dict[str, Any]:
    """Return the tokens' seconds of both halves: "bare" and "watched"."""
    halves: dict[str, Any] = {}
    for is_watched in (is_watched_first, not is_watched_first):
        with ExitStack() as stage:
            if is_watched:
                stage.enter_context(house.daemon())
                house.wait_for_another_reading()
            halves["watched" if is_watched else "bare"] = summary(actor.decode(seconds))
    return halves


def summary(tokens: Sequence[float]) -> dict[str, float]:
    """Return tokens a second, and the median and 99th percentile of a token's seconds."""
    return {
        "rate": len(tokens) / sum(tokens),
        "p50": quantile(tokens, 0.5),
        "p99": quantile(tokens, 0.99),
    }


def changes(pairs: Sequence[dict[str, Any]]) -> dict[str, Interval]:
    """Return by how much watching changes each figure, in percent."""
    return {
        name: paired([(pair["bare"][name], pair["watched"][name]) for pair in pairs])
        for name in ("rate", "p50", "p99")
    }


def _is_resolved(pairs: Sequence[dict[str, Any]]) -> bool:
    return bool(pairs) and changes(pairs)["rate"].resolves(RESOLVED)


WORDS = {"rate": "tokens per second", "p50": "inter-token latency, p50", "p99": "inter-token latency, p99"}


def loop_findings(pairs: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Yield what the loop does by itself, and what watching changes; the goal is of the rate alone."""
    if not pairs:
        return
    rate = Figures(tuple(pair["bare"]["rate"] for pair in pairs))
    yield told("the loop by itself", rate, "tokens/s")
    for name, change in changes(pairs).items():
        if name != "rate":
            yield Finding(f"{WORDS[name]}, watched", change.show())
            continue
        reached = change.low >= -RESOLVED if change.resolves(RESOLVED) else None
        goal = f"≥ -{RESOLVED} %, the whole interval"
        unresolved = "" if change.resolves(RESOLVED) else "; not resolved"
        yield Finding(f"{WORDS[name]}, watched", change.show() + unresolved, goal, reached)
