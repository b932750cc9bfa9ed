"""What is in deploy/ for containers and Kubernetes, held against the program and against itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from vramwatch import __version__
from vramwatch.config import load
from vramwatch.quantities import Address

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")


def manifest(name, folder=BASE):
    return yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def pod():
    return manifest("daemonset")["spec"]["template"]["spec"]


@pytest.fixture
def monitor():
    return manifest("podmonitor", DEPLOY / "kubernetes" / "monitoring")


@pytest.fixture
def config(tmp_path):
    """The configuration of the ConfigMap, with a token where the secret would lie."""
    token = tmp_path / "token"
    token.write_text("s3same", encoding="utf-8")
    token.chmod(0o440)
    text = manifest("configmap")["data"]["config.yaml"].replace("/etc/vramwatch-token/token", str(token))
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, {}, {})


def test_the_configuration_of_the_pod_is_one_and_its_paths_are_mounted(config, pod):
    (container,) = pod["containers"]
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert config.http.listen == Address("0.0.0.0", 9478)
    assert mounts[str(config.store.path.parent)] == "history"
    assert mounts[str(config.control.socket.parent)] == "sockets"
    assert mounts[str(config.workers.socket.parent)] == "sockets"
    written = manifest("configmap")["data"]["config.yaml"]
    assert mounts[str(Path(yaml.safe_load(written)["http"]["token_file"]).parent)] == "token"
    assert container["args"] == ["run", "--config", "/etc/vramwatch/config.yaml"]
    assert mounts["/etc/vramwatch"] == "config"


def test_every_mount_has_its_volume_and_every_volume_is_mounted(pod):
    containers = [*pod["containers"], *pod["initContainers"]]
    mounted = {each["name"] for one in containers for each in one["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}


def test_the_daemon_in_the_pod_is_the_user_of_the_image_and_has_no_capability(pod):
    (container,) = pod["containers"]
    own, all_of_it = container["securityContext"], pod["securityContext"]
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"]
    assert own["allowPrivilegeEscalation"] is False
    assert all_of_it["runAsNonRoot"]
    user = f"{all_of_it['runAsUser']}:{all_of_it['runAsGroup']}"
    assert re.search(rf"^USER {user}$", CONTAINERFILE, re.MULTILINE)


def test_the_pod_sees_the_pids_of_the_host_and_has_no_way_to_the_api(pod):
    assert pod["hostPID"]
    assert pod["automountServiceAccountToken"] is False
    kinds = {manifest(path.stem)["kind"] for path in BASE.glob("*.yaml")}
    assert kinds == {"Namespace", "ConfigMap", "DaemonSet", "Kustomization"}


def test_probes_and_monitor_ask_the_port_and_the_paths_that_there_are(pod, monitor, config):
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == config.http.listen.port
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness", "startup")]
    assert {each["path"] for each in probes} == {"/-/healthy", "/-/ready"}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert {each["port"] for each in (*probes, endpoint)} == {port["name"]}
    assert endpoint["honorLabels"]


def test_the_monitor_chooses_the_pods_and_sends_their_token(pod, monitor):
    labels = manifest("daemonset")["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    assert labels[monitor["spec"]["jobLabel"]] == "vramwatch"  # as the rules have it
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (token,) = (each["secret"] for each in pod["volumes"] if each["name"] == "token")
    assert endpoint["authorization"]["credentials"] == {"name": token["secretName"], "key": "token"}
    assert not token["defaultMode"] & 0o007


def test_image_and_manifests_are_of_this_version(pod):
    images = {each["image"] for each in (*pod["containers"], *pod["initContainers"])}
    assert images == {f"vramwatch:{__version__}"}
    (image,) = manifest("kustomization")["images"]
    assert image["newTag"] == __version__


def test_what_the_image_is_built_of_is_there_and_handed_to_the_builder():
    root = DEPLOY.parent
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert "vramwatch" in sources
    assert all((root / source).exists() for source in sources)
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").split()
    assert {each[1:] for each in ignored if each.startswith("!")} == sources


@pytest.mark.parametrize("folder", ["base", "monitoring"])
def test_kustomize_builds_the_manifests(folder):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    command = [kubectl, "kustomize", str(DEPLOY / "kubernetes" / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unknown command" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(done.stdout)]
    assert kinds == [
        "Namespace",
        "ConfigMap",
        "DaemonSet",
        *(["PodMonitor"] if folder == "monitoring" else []),
    ]
