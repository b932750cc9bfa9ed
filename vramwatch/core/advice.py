"""What a person can do about an incident, and the commands for it. Pure."""

import shlex
from collections.abc import Mapping

from vramwatch.core.incidents import Incident
from vramwatch.core.model import SubjectKind
from vramwatch.core.scenes import Scene
from vramwatch.core.texts import clean
from vramwatch.core.verdicts import OUT_OF_MEMORY, Cause
from vramwatch.core.whereabouts import Whereabouts

_ADVICE: Mapping[Cause, str] = {
    Cause.LEAK: "A restart gives the memory back and gains as much time again; the fault is in the server",
    Cause.KV_CACHE: "Bound the cache: fewer or shorter sequences, or a smaller share of the memory for it",
    Cause.FRAGMENTATION: (
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True keeps PyTorch's allocator from fragmenting; "
        "torch.cuda.empty_cache() gives back what is not used now"
    ),
    Cause.AUTOGRAD: "Serve under torch.inference_mode(), and keep no tensor that still has its graph",
    Cause.NON_TORCH: (
        "What grows is outside PyTorch's allocator: CUDA contexts, graphs, NCCL, cuBLAS workspaces or "
        "another library"
    ),
    Cause.GHOST: (
        "End whoever still has the device open; if nobody has, only a reset of the GPU gives it back"
    ),
    Cause.PROCESS_COUNT: "Find out why old workers do not end when new ones are started",
    Cause.SPIKE: "Bound what one request may take: batch size, prompt length, image size",
}
"""The remedies of PyTorch are those of its notes on CUDA semantics (memory management) and on autograd."""

_OUT_OF_MEMORY = (
    "Requests have failed; a process that still runs may serve on, or be in a state that only a restart ends"
)


def advice(incident: Incident, there: Whereabouts) -> str:
    """Return a sentence on what can be done; empty where the cause says nothing.

    ``there``: how commands come to the daemon.
    """
    if incident.subject.kind is SubjectKind.VRAMWATCH:
        return ""
    if incident.judgement.pattern == OUT_OF_MEMORY:
        return _OUT_OF_MEMORY
    told = _ADVICE.get(incident.judgement.cause, "")
    return f"{told}{_reset(incident.subject.gpu, there)}" if incident.judgement.cause is Cause.GHOST else told


def _reset(gpu: str, there: Whereabouts) -> str:
    """Return how the device ``gpu`` (a UUID) is reset; empty for a part of one, which cannot be by itself.

    Source: nvidia-smi(1), --gpu-reset with -i; no client may have the device open meanwhile, nor may we.
    """
    if not gpu.startswith("GPU-"):
        return ""
    reset = f"nvidia-smi --gpu-reset -i {clean(gpu)}"
    return f": {there.asking('release')}, then {reset}, then {there.asking('resume')}"


def commands(incident: Incident, scene: Scene | None, whereabouts: Whereabouts) -> tuple[str, ...]:
    """Return the commands to run on the host, the one that explains first; never empty."""
    explain = whereabouts.reading(f"why {incident.id}")
    if incident.subject.kind is SubjectKind.VRAMWATCH:
        return (explain, whereabouts.both("doctor"))
    if incident.judgement.cause is Cause.GHOST:
        return (explain, "fuser -v /dev/nvidia*")
    restart = _restart(scene) if scene else None
    return (explain, restart) if restart else (explain,)


def _restart(scene: Scene) -> str | None:
    """Return the command that restarts what a scene names; None where no supervisor is known."""
    if scene.pod:
        space = ("-n", scene.namespace) if scene.namespace else ()
        return shlex.join(("kubectl", *space, "delete", "pod", scene.pod))
    if scene.container:
        return shlex.join(("docker", "restart", scene.container))
    if scene.unit and scene.unit.endswith(".service"):
        return shlex.join(("systemctl", "restart", scene.unit))
    return None
