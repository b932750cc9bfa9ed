"""Names without generated suffixes: pods without hashes, units without instances."""

import re

# The alphabet of generated suffixes: k8s.io/apimachinery/pkg/util/rand, alphanums.
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
_GENERATED = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # Knative: <service>-<generation>-deployment-<hash>-<random>
        rf"(?P<name>.+)-\d{{5}}-deployment-{_SAFE}{{6,10}}-{_SAFE}{{5}}",
        # CronJob: the scheduled time in minutes since the epoch, then the Job's own suffix
        rf"(?P<name>.+)-\d{{8}}-{_SAFE}{{5}}",
        # Deployment: pod-template-hash, an encoded 32-bit number, then the ReplicaSet's suffix
        rf"(?P<name>.+)-{_SAFE}{{6,10}}-{_SAFE}{{5}}",
        # DaemonSet, Job and ReplicaSet: names.SimpleNameGenerator of k8s.io/apiserver
        rf"(?P<name>.+)-{_SAFE}{{5}}",
        # StatefulSet: one ordinal
        r"(?P<name>.+)-\d{1,5}",
    )
)

_UNIT = re.compile(r"(?P<prefix>[^@]+)(?:@(?P<instance>.*))?\.service", re.DOTALL)
# Made for one run by systemd-run: src/run/run.c, make_transient_unit_name.
_TRANSIENT = re.compile(r"run-(?:u\d+|r[0-9a-f]{32}|p\d+-i\d+)\.service")
LAUNCHERS = frozenset(
    {
        "docker.service",
        "snap.docker.dockerd.service",
        "podman.service",
        "containerd.service",
        "crio.service",
        "kubelet.service",
        "k3s.service",
        "k3s-agent.service",
        "rke2-server.service",
        "rke2-agent.service",
        "slurmd.service",
    }
)
"""Units that start containers and jobs: what runs in a container or a job of theirs is not their work."""

# They keep other people's processes and are not themselves the workload.
_HOSTS = LAUNCHERS | {
    "user@.service",
    "cron.service",
    "crond.service",
    "atd.service",
    "ssh.service",
    "sshd.service",
}


def workload_name(pod: str) -> str:
    """Return a pod's name without the suffixes that its controller generated; else as it is.

    "chat-66b6c48dd5-x7k2p" -> "chat", "chat-0" -> "chat", "chat-28930471-x7k2p" -> "chat". One ordinal
    is taken off and no more: "llama-3-0" is a replica of "llama-3".
    """
    found = (pattern.fullmatch(pod) for pattern in _GENERATED)
    return next((match["name"] for match in found if match), pod)


def unit_group(unit: str | None) -> str | None:
    """Return the unit that people know, an instance as its template; None for what is no service.

    "llama@7.service" -> "llama@.service". Scopes and transient services have generated names, and a
    container runtime, a kubelet, cron or sshd only keeps the processes of others.
    """
    named = _UNIT.fullmatch(unit) if unit else None
    if unit is None or named is None or _TRANSIENT.fullmatch(unit):
        return None
    group = unit if named["instance"] is None else f"{named['prefix']}@.service"
    return None if group in _HOSTS else group
