"""What the path of a control group says of its processes: container, pod, unit, Slurm job. Pure.

Formats: cgroups(7) for /proc/PID/cgroup; the forms of the paths are named at each expression.
A path is what its owner made it: someone with a delegated subtree can name groups as they like there,
so a name read from it says where a process counts itself, and is no proof against a hostile user.
"""

import re
from dataclasses import dataclass, replace

from vramwatch.core.model import SlurmJob
from vramwatch.core.workloads import LAUNCHERS
from vramwatch.procfs.texts import cut, printable

CGROUP_LIMIT = 1 << 16
"""Bytes of /proc/PID/cgroup that are read: at most some 14 hierarchies of a path each."""

NAME_LIMIT = 256
"""Bytes of a unit's or container's name that are kept; NAME_MAX of Linux is 255."""

_DEPTH_LIMIT = 64  # groups of a path that are looked at; systemd in a container in a container has about 12

_HIERARCHIES = ("", "name=systemd", "memory", "devices", "pids", "cpuset", "cpu")
"""Controllers, best first: v2, then the v1 hierarchy that systemd keeps, then those that runtimes use."""

_CONTAINER = re.compile(
    r"""(?: (?:.*:)? (?P<prefix> docker | cri-containerd | nerdctl | crio(?:-conmon)?
                               | libpod(?:-(?:conmon|payload))? ) [-:] )?
        (?P<id> [0-9a-f]{64} ) (?:\.scope)?""",
    re.VERBOSE,
)
"""PREFIX-ID.scope of the systemd driver, PREFIX-ID or ID of the cgroupfs driver, SLICE:PREFIX:ID where
runc is given a systemd path without the systemd driver (containerd cri, getCgroupsPath);
libpod-payload-ID is Podman's --cgroups=split, which Quadlet uses (podman container_internal_linux.go)."""

_RUNTIMES = {
    "docker": "docker",
    "cri": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
}
_RUNTIME_FOLDERS = {"docker": "docker"}
"""The parent of a bare ID that tells the runtime; below kubepods it can be any."""

_LXC_PAYLOAD = re.compile(r"lxc\.payload[.-](?P<name>.+)")  # lxc 4 and later, lxc src/lxc/cgroups/cgfsng.c

_POD = re.compile(r"(?:^|-)pod(?P<uid>[0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:\.slice|:|$)")
"""podUID of the cgroupfs driver and …-podUID.slice of the systemd driver, which writes _ for -
(kubelet cm/cgroup_manager_linux.go); a static pod's UID is a digest without dashes."""

_USER_MANAGER = re.compile(r"user@(?P<uid>\d+)\.service")
_SLURM_ROOT = re.compile(r"slurm(?:_.+)?|(?:.+_)?slurmstepd\.scope")
"""/slurm/uid_N/job_N/step_S of v1, /system.slice/[NODE_]slurmstepd.scope/job_N/step_S of v2
(slurm plugins/cgroup)."""
_SLURM_PART = re.compile(r"(?P<kind>uid|job|step)_(?P<value>[\w.+-]{1,64})")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a control group lies. ``None`` where its path does not say."""

    container: str | None = None  # 64 hexadecimal digits, or the name of an LXC container
    runtime: str | None = None  # docker, containerd, cri-o, podman, lxc, unknown
    pod_uid: str | None = None  # with dashes
    unit: str | None = None
    unit_owner: int | None = None  # uid of the user manager that the unit belongs to
    slurm: SlurmJob | None = None
    slurm_uid: int | None = None


def parse_cgroup(raw: bytes) -> Placement:
    """Return what the lines of /proc/PID/cgroup say together, the best hierarchy first for each fact."""
    paths: dict[str, str] = {}
    for line in raw.split(b"\n"):
        _, _, rest = line.partition(b":")
        controllers, separator, path = rest.partition(b":")
        if separator:
            for controller in controllers.split(b","):
                paths.setdefault(printable(controller), printable(path))
    order = [name for name in _HIERARCHIES if name in paths] + sorted(paths.keys() - set(_HIERARCHIES))
    found = Placement()
    for name in order:
        found = _complete(found, place(paths[name]))
    return _without_launcher(found)


def place(path: str) -> Placement:
    """Return what one path of a control group says: ``/system.slice/ollama.service``."""
    groups = path.removesuffix(" (deleted)").strip("/").split("/")[-_DEPTH_LIMIT:]
    container, runtime = _innermost_container(groups)
    unit, unit_owner = _innermost_unit(groups)
    slurm, slurm_uid = _slurm_job(groups)
    return _without_launcher(
        Placement(container, runtime, _pod_uid(groups), unit, unit_owner, slurm, slurm_uid)
    )


def _complete(found: Placement, other: Placement) -> Placement:
    """Fill what ``found`` does not know from ``other``; facts that belong together stay together."""
    container = found if found.container else other
    unit = found if found.unit else other
    job = found if found.slurm else other
    return Placement(
        container=container.container,
        runtime=container.runtime,
        pod_uid=found.pod_uid or other.pod_uid,
        unit=unit.unit,
        unit_owner=unit.unit_owner,
        slurm=job.slurm,
        slurm_uid=job.slurm_uid,
    )


def _without_launcher(placement: Placement) -> Placement:
    if placement.unit in LAUNCHERS and (placement.container or placement.slurm):
        return replace(placement, unit=None, unit_owner=None)
    return placement


def _innermost_container(groups: list[str]) -> tuple[str | None, str | None]:
    """Return id and runtime of the last container on the way: Docker in Docker counts as the inner one."""
    found: tuple[str | None, str | None] = (None, None)
    parent = ""
    for group in groups:
        if match := _CONTAINER.fullmatch(group):
            prefix = (match["prefix"] or "").partition("-")[0]
            found = match["id"], _RUNTIMES.get(prefix) or _RUNTIME_FOLDERS.get(parent, "unknown")
        elif match := _LXC_PAYLOAD.fullmatch(group):
            found = cut(match["name"], NAME_LIMIT), "lxc"
        elif parent == "lxc":
            found = cut(group, NAME_LIMIT), "lxc"
        parent = group
    return found


def _pod_uid(groups: list[str]) -> str | None:
    for group in reversed(groups):
        if match := _POD.search(group):
            return match["uid"].replace("_", "-")
    return None


def _innermost_unit(groups: list[str]) -> tuple[str | None, int | None]:
    """Return the last service on the way and, below a user manager, whose it is."""
    unit: str | None = None
    unit_owner: int | None = None
    manager: int | None = None
    for group in groups:
        if match := _USER_MANAGER.fullmatch(group):
            manager = int(match["uid"])
        elif group.endswith(".service") and len(group) > len(".service"):
            # systemd puts _ before a name that the kernel would take for a file of its own (cg_escape)
            unit, unit_owner = cut(group.removeprefix("_"), NAME_LIMIT), manager
    return unit, unit_owner


def _slurm_job(groups: list[str]) -> tuple[SlurmJob | None, int | None]:
    parts: dict[str, str] = {}
    inside = False
    for group in groups:
        inside = inside or _SLURM_ROOT.fullmatch(group) is not None
        if inside and (match := _SLURM_PART.fullmatch(group)):
            parts.setdefault(match["kind"], match["value"])
    if "job" not in parts:
        return None, None
    uid = parts.get("uid", "")
    return SlurmJob(parts["job"], parts.get("step")), int(uid) if uid.isdecimal() else None
