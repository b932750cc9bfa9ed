"""Where the logs of containers lie on the host, and what the containers are called.

Sources: Docker's json-file driver keeps ID/ID-json.log beside the container's config.v2.json (moby
daemon/logs.go); the kubelet has a runtime write NAMESPACE_POD_UID/CONTAINER/RESTART.log (kubernetes
pkg/kubelet/kuberuntime/helpers.go, BuildContainerLogsDirectory and buildContainerLogsPath).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vramwatch.procfs.containers import docker_name
from vramwatch.procfs.files import names_under

_DOCKER = "var/lib/docker/containers"
_PODS = "var/log/pods"
_FOLDERS_LIMIT = 4096
_RESTARTS_LIMIT = 64  # the kubelet keeps the logs of a container's last lives alone

_ID = re.compile(r"[0-9a-f]{64}")
_POD_FOLDER = re.compile(r"(?P<namespace>[a-z0-9.-]+)_(?P<pod>[a-z0-9.-]+)_(?P<uid>[0-9a-f-]+)")
_POD_CONTAINER = re.compile(r"[a-z0-9-]{1,63}")
_RESTART = re.compile(r"(\d{1,6})\.log")


@dataclass(frozen=True, slots=True)
class ContainerLog:
    """One container's log file. ``path`` is relative to the host's root."""

    path: str
    names: tuple[str, ...]  # what it can be asked for by: best first
    is_cri: bool  # else it is of Docker's json-file driver
    container: str | None = None  # 64 hexadecimal digits; None: the file's place does not say


class ContainerLogs:
    """Lists the logs below ``host``. Asks Docker's files once a container for its name."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._docker: dict[str, str | None] = {}

    def found(self) -> Iterator[ContainerLog]:
        """Yield every container's present log, in no order; none where the folders cannot be read."""
        yield from self._of_docker()
        yield from self._of_pods()

    def _of_docker(self) -> Iterator[ContainerLog]:
        ids = [name for name in names_under(self._host, _DOCKER, _FOLDERS_LIMIT) if _ID.fullmatch(name)]
        for gone in self._docker.keys() - set(ids):
            del self._docker[gone]
        for each in ids:
            if self._docker.get(each) is None:  # may not have been written yet
                self._docker[each] = docker_name(self._host, each)
            name = self._docker[each]
            if name is not None:
                yield ContainerLog(f"{_DOCKER}/{each}/{each}-json.log", (name,), False, each)

    def _of_pods(self) -> Iterator[ContainerLog]:
        for folder in names_under(self._host, _PODS, _FOLDERS_LIMIT):
            pod = _POD_FOLDER.fullmatch(folder)
            for name in names_under(self._host, f"{_PODS}/{folder}", _RESTARTS_LIMIT) if pod else ():
                restart = self._newest(f"{_PODS}/{folder}/{name}") if _POD_CONTAINER.fullmatch(name) else None
                if pod and restart is not None:
                    full = f"{pod['namespace']}/{pod['pod']}/{name}"
                    yield ContainerLog(f"{_PODS}/{folder}/{name}/{restart}.log", (full, name), True)

    def _newest(self, folder: str) -> int | None:
        """Return the number of the newest life that has a log in ``folder``."""
        found = map(_RESTART.fullmatch, names_under(self._host, folder, _RESTARTS_LIMIT))
        return max((int(match[1]) for match in found if match), default=None)
