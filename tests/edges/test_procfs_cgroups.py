"""What the paths of control groups say, in every form that runtimes and systemd write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch.core.model import SlurmJob
from vramwatch.procfs.cgroups import NAME_LIMIT, Placement, parse_cgroup, place

ID = "9f2c1e5b7a3d4c6e8f00112233445566778899aabbccddeeff00112233445566"
OUTER = "0" * 63 + "1"
UID = "2c48913c-b29f-11e7-9350-020968147796"
UID_ = UID.replace("-", "_")
STATIC = "99dcb84d2a34f7e338778606703258c4"


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/docker/{ID}", "docker"),
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope", "docker"),
        (f"/ecs/task/{ID}", "unknown"),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd"),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope", "containerd"),
        (
            f"/system.slice/containerd.service/kubepods-burstable-pod{UID_}.slice:cri-containerd:{ID}",
            "containerd",
        ),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{ID}.scope",
            "cri-o",
        ),
        (f"/kubepods/burstable/pod{UID}/crio-{ID}", "cri-o"),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope", "cri-o"),
        (f"/kubepods/burstable/pod{UID}/{ID}", "unknown"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "podman"),
        (f"/libpod_parent/libpod-{ID}", "podman"),
        (f"/../../kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope", "containerd"),
        (f"/docker/{OUTER}/docker/{ID}", "docker"),
        (f"/lxc.payload.web/system.slice/docker-{ID}.scope", "docker"),
        (f"/docker/{ID} (deleted)", "docker"),
    ],
)
def test_a_container_is_known_in_every_form_of_its_path_and_the_innermost_counts(path, runtime):
    placement = place(path)
    assert (placement.container, placement.runtime) == (ID, runtime)
    assert placement.unit is None


@pytest.mark.parametrize(
    "path", ["/lxc.payload.web/init.scope", "/lxc/web", "/lxc/web/ns/x", "/lxc.payload-web"]
)
def test_an_lxc_container_is_known_by_its_name(path):
    assert (place(path).container, place(path).runtime) == ("web", "lxc")


@pytest.mark.parametrize(
    ("path", "uid"),
    [
        (f"/kubepods/burstable/pod{UID}/{ID}", UID),
        (f"/kubepods/besteffort/pod{UID}/{ID}", UID),
        (f"/kubepods/pod{UID}/{ID}", UID),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/docker-{ID}.scope",
            UID,
        ),
        (f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope", UID),
        (f"/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}", UID),
        (f"/docker/{OUTER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/{ID}", UID),
        (f"/docker/{OUTER}/kubelet/kubepods/pod{UID}/{ID}", UID),
        (f"/kubepods.slice/kubepods-pod{STATIC}.slice/cri-containerd-{ID}.scope", STATIC),
        (f"/kubepods/burstable/pod{UID}/{OUTER}/docker/{ID}", UID),
    ],
)
def test_a_pod_is_known_by_its_uid_in_every_class_and_driver(path, uid):
    assert (place(path).pod_uid, place(path).container) == (uid, ID)


@pytest.mark.parametrize(
    ("path", "unit", "owner"),
    [
        ("/system.slice/ollama.service", "ollama.service", None),
        ("/system.slice/system-vllm.slice/vllm@70b.service", "vllm@70b.service", None),
        ("/system.slice/outer.service/inner.service", "inner.service", None),
        ("/system.slice/docker.service", "docker.service", None),
        ("/system.slice/_memory.service", "memory.service", None),
        ("/user.slice/user-7.slice/user@7.service/app.slice/comfy.service", "comfy.service", 7),
        ("/user.slice/user-7.slice/user@7.service/app.slice/app-foo@1234.service", "app-foo@1234.service", 7),
        ("/user.slice/user-7.slice/user@7.service/init.scope", None, None),
        ("/user.slice/user-7.slice/session-3.scope", None, None),
        ("/system.slice/.service", None, None),
        ("/", None, None),
    ],
)
def test_a_unit_is_the_innermost_service_and_a_users_own_has_its_owner(path, unit, owner):
    assert (place(path).unit, place(path).unit_owner) == (unit, owner)


def test_a_quadlet_is_both_a_unit_and_a_container():
    placement = place(f"/system.slice/llama.service/libpod-payload-{ID}")
    assert (placement.unit, placement.container, placement.runtime) == ("llama.service", ID, "podman")


@pytest.mark.parametrize(
    ("path", "job", "uid"),
    [
        ("/slurm/uid_1000/job_12345/step_0/task_3", SlurmJob("12345", "0"), 1000),
        ("/slurm_node7/uid_1000/job_12345/step_batch", SlurmJob("12345", "batch"), 1000),
        ("/system.slice/slurmstepd.scope/job_12345/step_0/user/task_0", SlurmJob("12345", "0"), None),
        ("/system.slice/gpu7_slurmstepd.scope/job_12345/step_extern/user", SlurmJob("12345", "extern"), None),
        ("/system.slice/slurmstepd.scope/system", None, None),
        ("/user.slice/job_12345/step_0", None, None),
    ],
)
def test_a_slurm_job_is_known_in_both_versions(path, job, uid):
    assert (place(path).slurm, place(path).slurm_uid) == (job, uid)


def test_hybrid_hierarchies_are_put_together_and_the_launchers_unit_is_not_the_jobs():
    lines = b"9:name=systemd:/system.slice/slurmd.service\n4:memory:/slurm/uid_7/job_8/step_9\n0::/\n"
    assert parse_cgroup(lines) == Placement(slurm=SlurmJob("8", "9"), slurm_uid=7)


def test_a_carriage_return_in_a_groups_name_begins_no_hierarchy():
    raw = b"4:memory:/user.slice/x\r0::/system.slice/ollama.service/y\n0::/system.slice/real.service\n"
    assert parse_cgroup(raw).unit == "real.service"


def test_a_container_of_v1_is_found_in_any_hierarchy():
    lines = f"12:rdma:/\n3:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/system.slice/docker.service\n".encode()
    assert parse_cgroup(lines) == Placement(container=ID, runtime="docker")


@given(st.binary(max_size=2000))
def test_any_bytes_at_all_give_a_placement(raw):
    assert isinstance(parse_cgroup(raw), Placement)


@given(st.text(max_size=2000))
def test_any_path_gives_bounded_printable_names(path):
    placement = parse_cgroup(b"0::" + f"/lxc.payload.{path}/{path}.service".encode("utf-8", "replace"))
    for name in (placement.container, placement.unit):
        assert name is None or (len(name.encode()) <= NAME_LIMIT and name.isprintable())
