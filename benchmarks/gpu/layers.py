"""The layers of a GPU's memory as recorded traces at 1 s, with the truth of what was done beside them.

What does not disturb each other is recorded together: a recording has the rows of all processes, and its
sidecar says of each what it did.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.findings import Finding
from benchmarks.gpu.actors import Actor, Mirror
from benchmarks.gpu.rig import Rig
from benchmarks.gpu.roles import ROLES
from benchmarks.gpu.stage import SERVES
from benchmarks.gpu.steps import Measured, Step
from benchmarks.gpu.traces import Deed, Part, Truth, judged, write
from vramwatch.assembly import open_feed
from vramwatch.config import load
from vramwatch.core.model import Ask, Reading

INTERVAL = 1.0
STEADY = 66.0
"""Seconds of steady state, and a little: at a release every 8 s, eight release cycles."""
SMALL_STEADY = 6.0
STARTING = 30.0
"""Seconds a worker may take before it is steady: torch, the context, a model."""
LAZY, EAGER = {"CUDA_MODULE_LOADING": "LAZY"}, {"CUDA_MODULE_LOADING": "EAGER"}
EXPANDABLE = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@dataclass(frozen=True, slots=True)
class Player:
    """One worker of a recording: its role, and the cause a detector must give it (None: silence)."""

    role: str
    cause: str | None = None
    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.name or self.role


@dataclass(frozen=True, slots=True)
class Play:
    """One recording. ``killed``: the owner that is killed in mid-recording."""

    name: str
    players: tuple[Player, ...]
    purpose: str = "tuning"
    killed: str | None = None
    starting: float = STARTING


JUDGING = "judging"
PLAYS: Mapping[str, tuple[Play, ...]] = {
    "layers-1": (
        Play(
            "context-and-workspaces",
            (
                Player("context", None, "context_lazy", LAZY),
                Player("context", None, "context_eager", EAGER),
                Player("first_matmul"),
                Player("graph_capture"),
                Player("many_streams"),
            ),
        ),
        Play("serving-7b", (Player("serving"),), JUDGING, starting=60.0),
        Play("long-conversation", (Player("long_conversation"),)),
        Play(
            "variable-shapes",
            (
                Player("variable_shapes", "fragmentation"),
                Player("variable_shapes", None, "variable_shapes_expandable", EXPANDABLE),
            ),
            JUDGING,
        ),
    ),
    "layers-2": (
        Play(
            "retained-and-grad", (Player("retained", "kv_cache"), Player("grad_left_on", "autograd")), JUDGING
        ),
        Play("leaks", (Player("leak_2", "leak"), Player("leak_20", "leak"))),
        Play("leak-outside", (Player("leak_outside", "non_torch"),)),
        Play(
            "two-processes-one-killed",
            (Player("hold", None, "hold_stays"), Player("hold", None, "hold_killed")),
            killed="hold_killed",
        ),
    ),
}


def steps(part: str, rig: Rig, folder: Path) -> list[Step]:
    steady = SMALL_STEADY if rig.is_rehearsal else STEADY
    return [Step(play.name, steady + play.starting, _step(rig, folder, play, steady)) for play in PLAYS[part]]


def _step(rig: Rig, folder: Path, play: Play, steady: float) -> Callable[[float], Measured]:
    def run(_left: float) -> Measured:
        rows, truth = record(rig, folder, play, steady)
        recording, _ = write(folder, truth, rows)
        lines = _replayed(recording)
        found = [*findings(truth, rows), *verdicts(truth, judged(lines))]
        return Measured(found, {"recording": recording.name, "transitions": lines})

    return run


def findings(truth: Truth, rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what each worker held at first and at last, by the driver's figure."""
    for part in truth.parts:
        held = [int(row["used_bytes"]) for row in rows if row["pid"] == part.pid and row["used_bytes"] != ""]
        if not held:
            yield Finding(part.owner, "the driver listed no bytes of it", "listed", False)
            continue
        yield Finding(
            f"{part.owner}, first, highest, last",
            ", ".join(f"{each / 2**20:.0f}" for each in (held[0], max(held), held[-1]))
            + f" MiB in {len(held)} s",
        )


def verdicts(truth: Truth, found: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Yield what the detectors called each worker beside what it was."""
    for part in truth.parts:
        causes = found.get(part.owner, set())
        wanted = {part.cause} if part.cause else set()
        said = ", ".join(sorted(causes)) or "silent"
        reached = None if truth.is_rehearsal else causes == wanted  # small growth is none to be found
        yield Finding(f"{part.owner}, judged", said, part.cause or "silent", reached)


def record(rig: Rig, folder: Path, play: Play, steady: float) -> tuple[list[dict[str, Any]], Truth]:
    """Return the rows of the GPU and of every worker, and the truth. Errors: RuntimeError.

    Readings begin before the workers do, so that their contexts are seen to come.
    """
    rows: list[dict[str, Any]] = []
    deeds: list[Deed] = []
    with ExitStack() as stage:
        actors: dict[str, Actor] = {}
        stage.enter_context(Mirror(rig, lambda: list(actors.values())))
        read = stage.enter_context(closing(_Readings(rig, folder)))
        rows += read.rows({})
        for player in play.players:
            seconds = steady + play.starting + 600.0
            actors[player.owner] = stage.enter_context(
                Actor(rig, player.role, seconds, folder, player.environment)
            )
        steady_from = _until_all_stand(read, actors, rows, play.starting)
        middle, end = steady_from + steady / 2, steady_from + steady
        due = time.monotonic()
        is_killed = False
        while time.time() < end:
            if play.killed and not is_killed and time.time() >= middle:
                is_killed = True
                actors[play.killed].kill()
                deeds.append(Deed(time.time(), actors[play.killed].pid, "killed by SIGKILL"))
            for owner, actor in actors.items():
                if actor.has_ended() and owner != play.killed:
                    raise RuntimeError(f"{owner} ended: {actor.last_words()}")
            rows += read.rows(actors)
            due += INTERVAL
            time.sleep(max(0.0, due - time.monotonic()))
        for actor in actors.values():
            deeds += [Deed(each["at"], actor.pid, each["did"]) for each in actor.said]
        listed = {row["pid"] for row in rows if row["used_bytes"] != ""}
        parts = tuple(
            Part(
                player.role,
                actors[player.owner].pid,
                player.owner,
                player.cause,
                " ".join((ROLES[player.role].__doc__ or "").split()),
                player.environment,
                (steady_from, end),
                actors[player.owner].pid in listed,
            )
            for player in play.players
        )
    scene = rig.scene
    ordered = tuple(sorted(deeds, key=lambda deed: deed.at))
    truth = Truth(
        play.name,
        play.purpose,
        scene.is_rehearsal,
        scene.device,
        scene.driver,
        scene.torch,
        INTERVAL,
        parts,
        ordered,
    )
    return rows, truth


STANDS = {
    "context": "made the context",
    "first_matmul": "first matmul",
    "graph_capture": "captured a graph",
    "many_streams": "matmul on stream 15",
    "hold": "holds its memory",
}
"""What a worker says when it stands; the others: SERVES."""


def _until_all_stand(
    read: "_Readings", actors: Mapping[str, Actor], rows: list[dict[str, Any]], patience: float
) -> float:
    """Return when (unix seconds) the last came to its steady state; it is recorded meanwhile."""
    due = time.monotonic()
    until = due + 3 * patience  # what is slow is no reason to fail; it is the budget's
    for owner, actor in actors.items():
        said = STANDS.get(actor.role, SERVES)
        while not any(each["did"] == said for each in actor.said):
            if actor.has_ended() or time.monotonic() > until:
                raise RuntimeError(f"{owner} did not come to {said!r}: {actor.last_words()}")
            rows += read.rows(actors)
            due += INTERVAL
            time.sleep(max(0.0, due - time.monotonic()))
    return time.time()


class _Readings:
    """Reads the GPU through the real reader, and each worker's own figures."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        file = folder / "look.yaml"
        file.write_text(f"store: {{path: {folder / 'none.db'}}}\n")
        self._uuid = rig.uuid
        self._feed = open_feed(load(file, {}, {}), None)
        self._births: dict[int, float] = {}

    def close(self) -> None:
        self._feed.source.close()

    def rows(self, actors: Mapping[str, Actor]) -> list[dict[str, Any]]:
        """Return one row of the GPU, and one of each worker that lives, all of one time."""
        reading = self._reading()
        memory, at = reading.memory, f"{time.time():.3f}"
        common = {"time": at, "gpu": self._uuid, "total_bytes": memory.total}
        whole = {"pid": "", "used_bytes": memory.used, "reserved_bytes": memory.reserved}
        if reading.utilization is not None:
            whole["utilization"] = reading.utilization
        claims = {claim.pid: claim.used for claim in reading.claims or ()}
        found = [common | whole]
        for owner, actor in actors.items():
            used = claims.get(actor.pid)
            if not actor.has_ended() and (used is not None or actor.pid in self._births):
                found.append(common | self._worker(owner, actor, used))
        ours = {actor.pid for actor in actors.values()}
        found += [
            common | {"pid": pid, "used_bytes": "" if used is None else used, "owner": "others"}
            for pid, used in claims.items()
            if pid not in ours
        ]
        return found

    def _worker(self, owner: str, actor: Actor, used: int | None) -> dict[str, Any]:
        if actor.pid not in self._births:
            self._births[actor.pid] = psutil.Process(actor.pid).create_time()
        gauges = actor.gauges()
        return {
            "pid": actor.pid,
            "used_bytes": "" if used is None else used,
            "process_start": f"{self._births[actor.pid]:.2f}",
            "owner": owner,
            "torch_reserved_bytes": gauges.reserved,
            "torch_allocated_bytes": gauges.allocated,
            "engine_kv_bytes": gauges.kv,
            "requests_total": gauges.requests,
            "kv_requires_grad": int(gauges.kv_requires_grad),
        }

    def _reading(self) -> Reading:
        """Errors: RuntimeError where the GPU cannot be read."""
        for _ in range(20):
            readings = self._feed.source.read(self._feed.clock.now(), Ask())
            for each in readings.gpus:
                if each.gpu.uuid == self._uuid and each.claims is not None:
                    return each
            time.sleep(0.2)
        raise RuntimeError(f"the GPU could not be read: {readings.missing}")


def _replayed(recording: Path) -> list[str]:
    """Return what ``vramwatch replay`` says of a recording, line by line. Errors: CalledProcessError."""
    words = [sys.executable, "-m", "vramwatch", "replay", "--format", "ndjson", str(recording)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [line for line in said.splitlines() if line]
