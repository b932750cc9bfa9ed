"""What containers and pods are called, from the files on the host."""

import json
from pathlib import Path

import pytest

from tests.edges.procfs_trees import lay_out
from vramwatch.core.model import Container, Pod
from vramwatch.procfs.cgroups import Placement
from vramwatch.procfs.containers import identify

ID = "9f2c1e5b7a3d4c6e8f00112233445566778899aabbccddeeff00112233445566"
UID = "2c48913c-b29f-11e7-9350-020968147796"
IN_POD = Placement(container=ID, runtime="containerd", pod_uid=UID)


def put(host: Path, path: str, content: object) -> None:
    file = host / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_process_outside_of_any_container_has_none(tmp_path):
    assert identify(Placement(unit="ollama.service"), tmp_path) == (None, None)


def test_an_id_without_any_file_stands_for_itself(tmp_path):
    assert identify(IN_POD, tmp_path) == (Container(ID, "containerd"), Pod(UID))


def test_the_kubelets_log_names_say_the_pod_where_the_runtimes_files_are_closed(tmp_path):
    host = lay_out("kubernetes", tmp_path) / "host"
    (host / f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json").unlink()
    assert identify(IN_POD, host)[1] == Pod(UID, "chat-7d9f8c6b5-x2x9z", "prod", "server")


def test_the_folder_of_a_pods_logs_is_enough_and_names_its_only_container(tmp_path):
    put(tmp_path, f"var/log/pods/prod_chat-1_{UID}/server/0.log", "")
    assert identify(IN_POD, tmp_path)[1] == Pod(UID, "chat-1", "prod", "server")
    put(tmp_path, f"var/log/pods/prod_chat-1_{UID}/sidecar/0.log", "")
    assert identify(IN_POD, tmp_path)[1] == Pod(UID, "chat-1", "prod", None)


def test_podman_names_its_containers_those_of_run_rm_too(tmp_path):
    storage = "var/lib/containers/storage/overlay-containers"
    put(tmp_path, f"{storage}/containers.json", [{"id": "other", "names": ["x"]}])
    entry = {"id": ID, "names": ["whisper"], "metadata": json.dumps({"image-name": "quay.io/whisper:1"})}
    put(tmp_path, f"{storage}/volatile-containers.json", [entry])
    container, pod = identify(Placement(container=ID, runtime="podman"), tmp_path)
    assert (container, pod) == (Container(ID, "podman", "whisper", "quay.io/whisper:1"), None)


def test_cri_o_says_the_pod_in_its_bundle(tmp_path):
    annotations = {
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.ImageName": "quay.io/vllm:1",
        "io.kubernetes.container.name": "server",
        "io.kubernetes.pod.name": "chat-1",
        "io.kubernetes.pod.namespace": "prod",
        "io.kubernetes.pod.uid": UID,
    }
    bundle = f"run/containers/storage/overlay-containers/{ID}/userdata/config.json"
    put(tmp_path, bundle, {"annotations": annotations})
    container, pod = identify(Placement(container=ID, runtime="cri-o", pod_uid=UID), tmp_path)
    assert container == Container(ID, "cri-o", "server", "quay.io/vllm:1")
    assert pod == Pod(UID, "chat-1", "prod", "server")


def test_a_bare_id_below_kubepods_learns_its_runtime_from_the_file_that_knows_it(tmp_path):
    host = lay_out("kubernetes", tmp_path) / "host"
    container, _ = identify(Placement(container=ID, runtime="unknown", pod_uid=UID), host)
    assert container is not None
    assert (container.runtime, container.name) == ("containerd", "server")


def test_an_lxc_container_is_called_by_its_name(tmp_path):
    assert identify(Placement(container="web", runtime="lxc"), tmp_path) == (
        Container("web", "lxc", "web"),
        None,
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"Config": 3, "Name": ["x"]}',
        "[" * 100_000,
        '{"Name": "' + "x" * (1 << 20),
    ],
)
def test_a_file_that_is_not_what_it_should_be_says_nothing(tmp_path, content):
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", content)
    assert identify(Placement(container=ID, runtime="docker"), tmp_path)[0] == Container(ID, "docker")


def test_a_name_is_bounded_and_made_harmless(tmp_path):
    name = "/web\x1b[2J\ud800" + "é" * 500
    put(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", {"Name": name, "Config": {}})
    container, _ = identify(Placement(container=ID, runtime="docker"), tmp_path)
    assert container is not None
    assert container.name is not None
    assert container.name.startswith("web [2J")
    assert container.name.isprintable()
    assert len(container.name.encode()) <= 256


def test_a_link_that_leads_out_of_the_host_is_not_followed(tmp_path):
    put(tmp_path / "elsewhere", f"{ID}/config.v2.json", {"Name": "/secret", "Config": {}})
    host = tmp_path / "host"
    (host / "var/lib/docker").mkdir(parents=True)
    (host / "var/lib/docker/containers").symlink_to(tmp_path / "elsewhere")
    assert identify(Placement(container=ID, runtime="docker"), host)[0] == Container(ID, "docker")


def test_a_link_that_stays_on_the_host_is_followed(tmp_path):
    put(tmp_path, f"data/docker/containers/{ID}/config.v2.json", {"Name": "/web", "Config": {}})
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "var/lib/docker").symlink_to("../../data/docker")
    assert identify(Placement(container=ID, runtime="docker"), tmp_path)[0] == Container(ID, "docker", "web")
