"""Reads all that /proc says of one life of one process, coherently though it may end at any moment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vramwatch.core.model import (
    Ancestor,
    Container,
    Instant,
    Pod,
    ProcessFacts,
    ProcessKey,
    ProcessState,
    SlurmJob,
)
from vramwatch.procfs.cgroups import CGROUP_LIMIT, Placement, parse_cgroup
from vramwatch.procfs.commands import read_command, read_environment
from vramwatch.procfs.containers import identify
from vramwatch.procfs.files import read_bounded
from vramwatch.procfs.identify import IdentifySocket
from vramwatch.procfs.identity import Stat, Status, Users, read_boot_time, read_stat, read_status, started_at

ANCESTORS_KEPT = 8
"""Processes above one that are told: shell, launcher, API server, engine core and some room."""

_ATTEMPTS = 2  # a pid that was reused while we read is read once more; twice in a row is no accident


class FactsReader:
    """Reads ProcessFacts. Keeps what is the same for every process: the boot time and users' names."""

    def __init__(
        self, root: str, host: Path, sees_every_process: bool, redacts: bool, others: IdentifySocket | None
    ) -> None:
        """``others`` is asked of other users' processes; None: what /proc tells everybody must do."""
        self._root = root
        self._host = host
        self._sees_every_process = sees_every_process
        self._redacts = redacts
        self._others = others
        self._users = Users(host)
        self._boot_time = read_boot_time(root)

    def read(self, pid: int, at: Instant) -> tuple[ProcessFacts | None, Stat | None]:
        """Return the facts of ``pid`` and its newest Stat.

        (None, None): it has no entry. (facts, None): it ended while it was read, and is GONE.
        """
        for _ in range(_ATTEMPTS):
            before = read_stat(self._root, pid)
            if before is None:
                break
            facts = self._facts(pid, before, at)
            after = read_stat(self._root, pid)
            if after is None:
                return replace(facts, state=ProcessState.GONE), None
            if after.start_ticks == before.start_ticks:
                return facts, after
        return None, None

    def _facts(self, pid: int, stat: Stat, at: Instant) -> ProcessFacts:
        status = read_status(self._root, pid)
        argv, title = read_command(self._root, pid, self._redacts)
        environment = self._environment(pid, stat, status)
        placement = parse_cgroup(read_bounded(f"{self._root}/{pid}/cgroup", CGROUP_LIMIT) or b"")
        container, pod = self._container(pid, stat, placement)
        user = self._users.name(status.uid)
        return ProcessFacts(
            key=ProcessKey(at.boot_id, pid, stat.start_ticks),
            state=ProcessState.ZOMBIE if stat.state == "Z" else ProcessState.ALIVE,
            state_since=at.boottime,
            name=stat.name,
            argv=argv,
            title=title,
            uid=status.uid,
            user=user,
            parent_pid=stat.parent_pid or None,
            ancestors=self._ancestors(stat, status),
            environment=environment,
            container=container,
            pod=pod,
            unit=placement.unit,
            unit_owner=self._users.name(placement.unit_owner) or _digits(placement.unit_owner),
            slurm=self._slurm(placement, environment, user),
            namespace_pid=status.namespace_pids[-1] if status.namespace_pids else None,
            started=started_at(self._boot_time, stat.start_ticks),
        )

    def _environment(self, pid: int, stat: Stat, status: Status) -> Mapping[str, str]:
        told = read_environment(self._root, pid)
        if told or self._others is None or status.uid == os.geteuid():
            return told
        return self._others.environment(pid, stat.start_ticks) or {}

    def _container(self, pid: int, stat: Stat, placement: Placement) -> tuple[Container | None, Pod | None]:
        container, pod = identify(placement, self._host)
        if container is None or container.name or self._others is None:
            return container, pod
        return self._others.container(pid, stat.start_ticks) or (container, pod)

    def _ancestors(self, stat: Stat, status: Status) -> tuple[Ancestor, ...]:
        """Go up to the container's first process, or to what the machine's init started."""
        found: list[Ancestor] = []
        while len(found) < ANCESTORS_KEPT and not status.is_first_of_its_namespace:
            pid = stat.parent_pid
            above = read_stat(self._root, pid)
            if above is None or (pid == 1 and self._sees_every_process):
                break
            argv, title = read_command(self._root, pid, self._redacts)
            found.append(Ancestor(pid, above.name, argv, title))
            stat, status = above, read_status(self._root, pid)
        return tuple(found)

    def _slurm(
        self, placement: Placement, environment: Mapping[str, str], user: str | None
    ) -> SlurmJob | None:
        """Return the job of the control group, else of the environment.

        Name and user are the job's own words, so they count only where they speak of the same job; and
        whom the kernel knows goes before whom the environment names.
        """
        said = environment.get("SLURM_JOB_ID")
        job = placement.slurm or (SlurmJob(said, environment.get("SLURM_STEP_ID")) if said else None)
        if job is None:
            return None
        told: Mapping[str, str] = environment if said == job.job else {}
        known_user = self._users.name(placement.slurm_uid) or user
        return replace(job, name=told.get("SLURM_JOB_NAME"), user=known_user or told.get("SLURM_JOB_USER"))


def _digits(uid: int | None) -> str | None:
    return None if uid is None else str(uid)
