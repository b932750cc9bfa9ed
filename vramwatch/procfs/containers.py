"""What a container and its pod are called, from the files that runtimes and the kubelet leave on the host.

Every file is looked for below ``host``, bounded, and never followed outside of it. Most can be read by
root alone, so that a missing one is normal: then the id is known and the name is not.

Formats: Docker's config.v2.json (moby daemon/container/container.go); containers.json of
containers/storage (store.go), used by Podman and CRI-O; config.json of the OCI runtime specification
with the annotations of containerd (internal/cri/annotations) and of the kubelet
(pkg/kubelet/types/labels.go); the log links of the kubelet (pkg/kubelet/kuberuntime/legacy.go and
kuberuntime_container.go, BuildPodLogsDirectory).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vramwatch.core.model import Container, Pod
from vramwatch.procfs.cgroups import NAME_LIMIT, Placement
from vramwatch.procfs.files import names_under, read_regular_under
from vramwatch.procfs.texts import cut, printable

_FILE_LIMIT = 1 << 20
_NAMES_LIMIT = 4096  # a node runs at most some hundred pods

_CONTAINERD_TASKS = (
    "run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io",
)
_STORAGE = ("var/lib/containers/storage/overlay-containers", "run/containers/storage/overlay-containers")
_STORAGE_LISTS = ("containers.json", "volatile-containers.json")  # the second holds those of ``run --rm``

_LOG_LINK = re.compile(r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<container>[^_]+)-(?P<id>[0-9a-f]{64})\.log")
_LOG_FOLDER = re.compile(r"(?P<namespace>[^_]+)_(?P<pod>[^_]+)_(?P<uid>[^_]+)")


@dataclass(frozen=True, slots=True)
class _Names:
    """What one file said. ``runtime``: the runtime that such a file belongs to."""

    runtime: str | None = None
    name: str | None = None
    image: str | None = None
    labels: Mapping[str, str | None] | None = None
    pod: str | None = None
    namespace: str | None = None
    pod_uid: str | None = None
    pod_container: str | None = None


def identify(placement: Placement, host: Path) -> tuple[Container | None, Pod | None]:
    """Return the container and the pod that ``placement`` lies in, with the names that ``host`` knows.

    Reads a handful of files; meant to be asked once a process.
    """
    if placement.runtime == "lxc" and placement.container:
        return Container(placement.container, "lxc", name=placement.container), _pod(
            placement, _Names(), host
        )
    if placement.container is None:
        return None, _pod(placement, _Names(), host)
    names = _first_known(placement, host)
    labels = names.labels or {}
    container = Container(
        id=placement.container,
        runtime=_runtime(placement, names),
        name=names.name,
        image=names.image,
        compose_project=labels.get("com.docker.compose.project"),
        compose_service=labels.get("com.docker.compose.service"),
    )
    return container, _pod(placement, names, host)


def _runtime(placement: Placement, names: _Names) -> str:
    if placement.runtime and placement.runtime != "unknown":
        return placement.runtime
    return names.runtime or "unknown"


def _first_known(placement: Placement, host: Path) -> _Names:
    readers: dict[str | None, tuple[Callable[[Path, str], _Names | None], ...]] = {
        "docker": (_from_docker,),
        "containerd": (_from_containerd,),
        "cri-o": (_from_storage_bundle,),
        "podman": (_from_storage_list,),
    }
    everyone = (_from_docker, _from_containerd, _from_storage_bundle, _from_storage_list)
    for read in readers.get(placement.runtime, everyone):
        names = read(host, placement.container or "")
        if names is not None:
            return names
    return _Names()


def docker_name(host: Path, container: str) -> str | None:
    """Return what Docker calls ``container``, an id; None where it knows none, or we may not read it."""
    names = _from_docker(host, container)
    return names.name if names else None


def _from_docker(host: Path, container: str) -> _Names | None:
    document = _document(host, f"var/lib/docker/containers/{container}/config.v2.json")
    if document is None:
        return None
    config = _mapping(document.get("Config"))
    labels = _mapping(config.get("Labels"))
    return _from_kubelet_keys(
        "docker",
        labels,
        name=_text(document.get("Name"), strip="/"),
        image=_text(config.get("Image")),
    )


def _from_containerd(host: Path, container: str) -> _Names | None:
    for folder in _CONTAINERD_TASKS:
        document = _document(host, f"{folder}/{container}/config.json")
        if document is not None:
            said = _mapping(document.get("annotations"))
            return _Names(
                runtime="containerd",
                name=_text(said.get("io.kubernetes.cri.container-name")),
                image=_text(said.get("io.kubernetes.cri.image-name")),
                labels=_labels(said),
                pod=_text(said.get("io.kubernetes.cri.sandbox-name")),
                namespace=_text(said.get("io.kubernetes.cri.sandbox-namespace")),
                pod_uid=_text(said.get("io.kubernetes.cri.sandbox-uid")),
                pod_container=_text(said.get("io.kubernetes.cri.container-name")),
            )
    return None


def _from_storage_bundle(host: Path, container: str) -> _Names | None:
    """CRI-O writes the kubelet's labels into the bundle; Podman's bundle names nobody."""
    for folder in _STORAGE:
        document = _document(host, f"{folder}/{container}/userdata/config.json")
        said = _mapping(document.get("annotations")) if document else {}
        if "io.kubernetes.cri-o.ContainerType" in said:
            return _from_kubelet_keys(
                "cri-o",
                said,
                name=_text(said.get("io.kubernetes.container.name")),
                image=_text(said.get("io.kubernetes.cri-o.ImageName")),
            )
    return None


def _from_storage_list(host: Path, container: str) -> _Names | None:
    for file in _STORAGE_LISTS:
        listed = _parsed(host, f"{_STORAGE[0]}/{file}")
        for entry in listed if isinstance(listed, list) else ():
            known = _mapping(entry)
            if known.get("id") == container:
                names = known.get("names")
                first = names[0] if isinstance(names, list) and names else None
                image = _mapping(_load(_raw_text(known.get("metadata")))).get("image-name")
                return _Names(runtime="podman", name=_text(first), image=_text(image))
    return None


def _from_kubelet_keys(runtime: str, said: Mapping[str, Any], name: str | None, image: str | None) -> _Names:
    return _Names(
        runtime=runtime,
        name=name,
        image=image,
        labels=_labels(said),
        pod=_text(said.get("io.kubernetes.pod.name")),
        namespace=_text(said.get("io.kubernetes.pod.namespace")),
        pod_uid=_text(said.get("io.kubernetes.pod.uid")),
        pod_container=_text(said.get("io.kubernetes.container.name")),
    )


def _labels(said: Mapping[str, Any]) -> Mapping[str, str | None]:
    wanted = ("com.docker.compose.project", "com.docker.compose.service")
    return {label: _text(said.get(label)) for label in wanted}


def _pod(placement: Placement, names: _Names, host: Path) -> Pod | None:
    uid = placement.pod_uid or names.pod_uid
    if uid is None:
        return None
    if names.pod and names.namespace:
        return Pod(uid, names.pod, names.namespace, names.pod_container)
    return _pod_of_log_link(uid, placement.container, host) or _pod_of_log_folder(uid, host)


def _pod_of_log_link(uid: str, container: str | None, host: Path) -> Pod | None:
    """Find POD_NAMESPACE_CONTAINER-ID.log among the links; the kubelet cuts over-long names, ids first."""
    for name in names_under(host, "var/log/containers", _NAMES_LIMIT) if container else ():
        match = _LOG_LINK.fullmatch(name)
        if match and match["id"] == container:
            return Pod(uid, match["pod"], match["namespace"], match["container"])
    return None


def _pod_of_log_folder(uid: str, host: Path) -> Pod:
    """Find NAMESPACE_POD_UID among the folders; with one container, its folder says its name as well."""
    for name in names_under(host, "var/log/pods", _NAMES_LIMIT):
        match = _LOG_FOLDER.fullmatch(name)
        if match and match["uid"] == uid:
            containers = names_under(host, f"var/log/pods/{name}", _NAMES_LIMIT)
            only = containers[0] if len(containers) == 1 else None
            return Pod(uid, match["pod"], match["namespace"], only)
    return Pod(uid)


def _document(host: Path, relative: str) -> Mapping[str, Any] | None:
    parsed = _parsed(host, relative)
    return parsed if isinstance(parsed, dict) else None


def _parsed(host: Path, relative: str) -> Any:
    return _load(read_regular_under(host, relative, _FILE_LIMIT))


def _load(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _raw_text(value: Any) -> bytes | None:
    return value.encode("utf-8", "replace") if isinstance(value, str) else None


def _text(value: Any, strip: str = "") -> str | None:
    """Return a name as it may be shown and stored; None for what is no text or empty."""
    if not isinstance(value, str):
        return None
    return cut(printable(value.encode("utf-8", "replace")), NAME_LIMIT).strip(strip or None) or None
