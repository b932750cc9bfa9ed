"""What doctor says of a machine: its driver by the tests' driver, the rest by a tree of its own."""

import pytest

from vramwatch.cli.findings import Grade
from vramwatch.cli.machine import clock, look_at
from vramwatch.driver.survey import GpuModes, Survey, survey

SURVEY = Survey("580.65.06", "13.0", ())


@pytest.fixture
def root(tmp_path):
    """A machine with nothing in it."""
    return tmp_path


def put(root, path, text):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def found(root, surveyed=SURVEY):
    return {each.subject: each for each in look_at(root, surveyed)}


def test_the_driver_tells_its_versions_its_modes_and_what_each_call_costs(driver, monkeypatch):
    for name, value in driver.environment().items():
        monkeypatch.setenv(name, value)
    driver.gpus[0].delay("nvmlDeviceGetUtilizationRates", 20_000)
    told = survey()
    assert told.driver.startswith("580")
    assert len(told.gpus) == 2
    first, second = told.gpus
    assert first.calls["utilisation"] > 0.02 > second.calls["utilisation"]
    assert first.persistence in (True, False)


@pytest.mark.parametrize("fault", ["hang", "segfault"])
def test_a_driver_that_hangs_or_crashes_costs_doctor_a_sentence(driver, monkeypatch, fault):
    for name, value in driver.environment().items():
        monkeypatch.setenv(name, value)
    getattr(driver, fault)("nvmlInit*")
    assert isinstance(survey(deadline=3.0), str)


def test_a_library_that_is_newer_than_the_kernel_s_module_is_a_failure(root):
    put(
        root, "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Mon\n"
    )
    told = found(root)["driver"]
    assert told.grade is Grade.FAIL
    assert "the kernel's module is 570.86.10" in told.text
    assert "reboot" in told.remedy


def test_an_open_module_of_the_same_version_is_fine(root):
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    put(root, "proc/driver/nvidia/version", text)
    assert found(root)["driver"].text == "version 580.65.06, CUDA 13.0; the kernel's module is the same"


def test_a_gpu_that_sleeps_between_programs_is_a_warning_with_the_command_that_ends_it(root):
    gpu = GpuModes(0, persistence=False, mig=None, calls={})
    warned = [each for each in look_at(root, Survey("580", "13.0", (gpu,))) if each.grade is Grade.WARN]
    assert "persistence mode is off" in warned[0].text
    assert "nvidia-persistenced" in warned[0].remedy


def test_calls_that_take_long_are_a_warning(root):
    gpu = GpuModes(3, persistence=True, mig=True, calls={"memory": 0.001, "processes": 0.2})
    told = found(root, Survey("580", "13.0", (gpu,)))["GPU 3"]
    assert told.grade is Grade.WARN
    assert "processes 200 ms" in told.text


def test_other_programs_that_ask_the_driver_are_named_once_each(root):
    for pid, name in ((7, "nv-hostengine"), (8, "nvidia_gpu_expo"), (9, "nvidia_gpu_expo"), (10, "bash")):
        put(root, f"proc/{pid}/comm", f"{name}\n")
    assert found(root)["monitors"].text.startswith("DCGM, nvidia_gpu_exporter ask the driver too")


def test_mps_is_named(root):
    put(root, "proc/7/comm", "nvidia-cuda-mps\n")
    assert "MPS runs" in found(root)["MPS"].text


@pytest.mark.parametrize(
    ("option", "is_hidden"),
    [("hidepid=2", True), ("hidepid=invisible", True), ("hidepid=0", False), ("rw", False)],
)
def test_a_proc_that_hides_processes_is_a_warning(root, option, is_hidden):
    put(root, "proc/mounts", f"proc /proc proc rw,nosuid,{option} 0 0\n")
    assert ("processes" in found(root)) == is_hidden


def test_control_groups_of_version_2_are_told_with_the_controller_of_gpu_memory(root):
    put(root, "sys/fs/cgroup/cgroup.controllers", "cpu io memory dmem\n")
    assert found(root)["cgroups"].text == "version 2 with the dmem controller"


def test_control_groups_of_version_1_are_a_warning(root):
    (root / "sys/fs/cgroup/memory").mkdir(parents=True)
    assert found(root)["cgroups"].grade is Grade.WARN


def test_a_machine_about_which_nothing_is_known_gives_no_warning(root):
    assert {each.grade for each in look_at(root, "no driver")} <= {Grade.OK}


def test_the_clock_is_asked_of_the_kernel():
    assert clock().subject == "clock"
