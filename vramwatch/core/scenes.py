"""Who held what when an incident moved: what a message needs beside the judgement."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vramwatch.core.model import Holding, Ledger, SubjectKind


@dataclass(frozen=True, slots=True)
class Scene:
    """One Gpu at one poll, with whoever an incident is about. None: not known; bytes.

    ``held_bytes``: what its Subject holds: an Owner's processes together, the unattributed bytes, or all
    that is used. ``pid`` and what follows it: the process that grows, else the largest of the Owner; of
    unattributed bytes the ghost that holds most of them.
    """

    gpu: str  # as people call it: "0", "0:2"
    gpu_name: str
    total_bytes: int | None = None
    used_bytes: int | None = None
    held_bytes: int | None = None
    owner: str | None = None
    team: str | None = None
    pid: int | None = None
    program: str | None = None
    user: str | None = None
    unit: str | None = None
    container: str | None = None
    pod: str | None = None
    namespace: str | None = None
    job: str | None = None
    engine: str | None = None
    model: str | None = None
    image: str | None = None


def scene_of(
    ledgers: Sequence[Ledger], gpu: str, kind: SubjectKind, owner: str | None, pid: int | None
) -> Scene | None:
    """Return the scene of a Subject in one poll's ``ledgers``; None: its Gpu was not read.

    ``gpu``: a UUID; ``owner``: an Owner's key, where ``kind`` is OWNER.
    """
    ledger = next((each for each in ledgers if each.gpu.uuid == gpu), None)
    if ledger is None:
        return None
    scene = Scene(
        ledger.gpu.ordinal, ledger.gpu.name, ledger.memory.total, ledger.memory.used, ledger.memory.used
    )
    if kind is SubjectKind.UNATTRIBUTED:
        held = max(0, ledger.unattributed) + ledger.ghost_bytes
        ghost = _ghost_of(ledger, held)
        scene = replace(scene, held_bytes=held)
        return _with_process(scene, ghost) if ghost else scene
    if kind is not SubjectKind.OWNER:
        return scene
    theirs = [each for each in ledger.holdings if each.tenant.owner.key == owner]
    told = [each.held for each in theirs if each.held is not None]
    scene = replace(scene, held_bytes=sum(told) if told else None)
    named = next((each for each in theirs if each.pid == pid), theirs[0] if theirs else None)
    return _with_process(scene, named) if named else scene


def _ghost_of(ledger: Ledger, held: int) -> Holding | None:
    """Return the ghost that holds at least half of the ``held`` bytes that no living process does."""
    ghosts = [each for each in ledger.holdings if each.ghost and each.held is not None]
    largest = max(ghosts, key=lambda each: each.held or 0, default=None)
    return largest if largest and 2 * (largest.held or 0) >= held else None


def nameless(scene: Scene) -> Scene:
    """Return what ``scene`` says of its Gpu alone, and of nobody there."""
    return Scene(scene.gpu, scene.gpu_name, scene.total_bytes, scene.used_bytes, scene.held_bytes)


def remembering(scene: Scene | None, before: Scene | None) -> Scene | None:
    """Return ``scene`` with the names it had before, where its processes have gone meanwhile."""
    if scene is None or before is None:
        return scene or before
    if scene.owner is not None:
        return scene
    return replace(
        before, total_bytes=scene.total_bytes, used_bytes=scene.used_bytes, held_bytes=scene.held_bytes
    )


def _with_process(scene: Scene, holding: Holding) -> Scene:
    """Return ``scene`` with the names of one process of it; the texts are redacted where they are read."""
    facts, engine, owner = holding.tenant.facts, holding.tenant.engine, holding.tenant.owner
    container, pod = facts.container, facts.pod
    return replace(
        scene,
        owner=owner.name,
        team=owner.team,
        pid=holding.pid,
        program=facts.name or None,
        user=facts.user or (None if facts.uid is None else str(facts.uid)),
        unit=facts.unit,
        container=(container.name or container.id[:12]) if container else None,
        pod=(pod.name or pod.uid) if pod else None,
        namespace=pod.namespace if pod else None,
        job=facts.slurm.job if facts.slurm else None,
        engine=engine.engine if engine else None,
        model=engine.model if engine else None,
        image=container.image if container else None,
    )
