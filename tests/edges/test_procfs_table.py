"""ProcessTable as the poll meets it: over recorded and composed trees, and over real processes."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edges.procfs_trees import at, lay_out, restate
from vramwatch.core.model import Container, Pod, ProcessFacts, ProcessState, SlurmJob
from vramwatch.procfs import ProcessTable, is_mps_client, is_mps_server
from vramwatch.procfs.table import LOOK_EVERY, REMEMBERED, REMEMBERED_FOR

CONTAINERD_ID = "9f2c1e5b7a3d4c6e8f00112233445566778899aabbccddeeff00112233445566"
POD_UID = "2c48913c-b29f-11e7-9350-020968147796"


def table_of(tree: Path) -> ProcessTable:
    return ProcessTable(tree / "proc", tree / "host")


def facts_of(tree: Path, pid: int) -> ProcessFacts:
    return table_of(tree).facts([pid], at(50))[pid]


@pytest.fixture
def live() -> Iterator[ProcessTable]:
    table = ProcessTable()
    yield table
    table.close()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def wait_for_end(pid: int) -> None:
    """Return once every thread of ``pid`` has ended; it stays a zombie until it is waited for."""
    descriptor = os.pidfd_open(pid)
    try:
        assert select.select([descriptor], [], [], 10)[0]
    finally:
        os.close(descriptor)


# --- who it is ----------------------------------------------------------------------------------


def test_a_rank_in_a_pod_is_told_with_its_title_its_pod_its_container_and_those_above_it(tmp_path):
    facts = facts_of(lay_out("kubernetes", tmp_path), 4100)
    assert (facts.name, facts.title, facts.argv) == (
        "VLLM::Worker_TP",
        "VLLM::Worker_TP0",
        ("VLLM::Worker_TP0",),
    )
    assert (facts.key.boot_id, facts.key.pid, facts.key.start_ticks) == ("boot", 4100, 91200)
    assert facts.started == 1795000000 + 91200 / os.sysconf("SC_CLK_TCK")
    assert facts.namespace_pid == 112
    assert facts.container == Container(
        CONTAINERD_ID, "containerd", "server", "docker.io/vllm/vllm-openai:v0.33.0"
    )
    assert facts.pod == Pod(POD_UID, "chat-7d9f8c6b5-x2x9z", "prod", "server")
    assert facts.unit is None
    assert [ancestor.title for ancestor in facts.ancestors] == [
        "VLLM::EngineCore",
        "/usr/bin/python3 /usr/local/bin/vllm serve meta-llama/Llama-3.1-70B-Instruct "
        "--tensor-parallel-size 2 --api-key ***",
    ]


def test_the_first_process_of_a_container_has_no_ancestors_in_it(tmp_path):
    facts = facts_of(lay_out("kubernetes", tmp_path), 4001)
    assert facts.namespace_pid == 1
    assert facts.parent_pid == 3990
    assert facts.ancestors == ()


def test_of_an_environment_only_what_is_allowed_is_kept(tmp_path):
    facts = facts_of(lay_out("kubernetes", tmp_path), 4001)
    assert facts.environment == {
        "POD_NAME": "chat-7d9f8c6b5-x2x9z",
        "POD_NAMESPACE": "prod",
        "NVIDIA_VISIBLE_DEVICES": "GPU-5a3f9c1e-77aa-4b2c-9d0e-1f2a3b4c5d6e",
    }


def test_a_composed_service_is_told_by_project_and_service_and_keeps_its_blob_name(tmp_path):
    facts = facts_of(lay_out("docker-compose", tmp_path), 2200)
    assert facts.container is not None
    assert (facts.container.runtime, facts.container.name) == ("docker", "llm-ollama-1")
    assert (facts.container.compose_project, facts.container.compose_service) == ("llm", "ollama")
    assert facts.container.image == "ollama/ollama:0.32.1"
    assert facts.argv[2].endswith("sha256-6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa")
    assert [ancestor.argv for ancestor in facts.ancestors] == [("/bin/ollama", "serve")]
    assert facts.pod is None


def test_a_slurm_job_belongs_to_whom_the_kernel_names_whatever_its_environment_says(tmp_path):
    tree = lay_out("slurm", tmp_path)
    assert facts_of(tree, 710).slurm == SlurmJob("981", "batch", "finetune", "ada")
    assert facts_of(tree, 720).slurm == SlurmJob("982", "0", None, "ada")


def test_a_job_without_control_groups_is_known_by_its_environment(tmp_path):
    assert facts_of(lay_out("slurm", tmp_path), 730).slurm == SlurmJob("983", "4", "shell", "ada")


def test_units_of_the_system_and_of_a_user_are_told_apart(tmp_path):
    tree = lay_out("units", tmp_path)
    facts = table_of(tree).facts([800, 810, 820, 830], at(50))
    assert {pid: (each.unit, each.unit_owner, each.user) for pid, each in facts.items()} == {
        800: ("llama@qwen.service", None, "llama"),
        810: ("comfyui.service", "ada", "ada"),
        820: ("app-jupyter@1234.service", "ada", "ada"),
        830: (None, None, "ada"),
    }


def test_an_mps_server_is_told_from_its_control_daemon_and_from_its_clients(tmp_path):
    facts = table_of(lay_out("ghosts", tmp_path)).facts([920, 925, 930], at(50))
    assert [pid for pid, each in facts.items() if is_mps_server(each)] == [920]
    assert [pid for pid, each in facts.items() if is_mps_client(each)] == [930]


def test_a_recorded_namespace_gives_the_pid_that_the_process_itself_sees(tmp_path):
    facts = table_of(lay_out("pid-namespace", tmp_path)).facts([14909, 14910], at(50))
    assert [each.namespace_pid for each in facts.values()] == [1, 2]
    assert [ancestor.pid for ancestor in facts[14910].ancestors] == [14909]
    assert facts[14910].argv == ("sleep", "21")


# --- those who are gone -------------------------------------------------------------------------


def test_a_pid_that_was_never_seen_is_gone_where_every_process_can_be_seen(tmp_path):
    facts = facts_of(lay_out("units", tmp_path), 99)
    assert (facts.state, facts.key.start_ticks, facts.state_since) == (ProcessState.GONE, 0, 50)


def test_a_pid_that_was_never_seen_is_hidden_where_only_a_namespace_can_be_seen(tmp_path):
    assert facts_of(lay_out("pid-namespace", tmp_path), 99).state is ProcessState.HIDDEN


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**32 - 1, 2**70])
def test_what_is_no_pid_at_all_is_gone(live, pid):
    assert live.facts([pid], at(1))[pid].state in (ProcessState.GONE, ProcessState.HIDDEN)


def test_a_process_that_ended_keeps_its_name_and_says_since_when(tmp_path):
    tree = lay_out("units", tmp_path)
    table = table_of(tree)
    before = table.facts([810], at(50))[810]
    (tree / "proc/810/stat").unlink()
    after = table.facts([810], at(51))[810]
    assert (after.state, after.state_since) == (ProcessState.GONE, 51)
    assert (after.key, after.unit) == (before.key, before.unit)
    assert table.facts([810], at(55))[810] is after


def test_a_ghost_is_forgotten_ten_minutes_after_it_was_last_asked_for(tmp_path):
    tree = lay_out("units", tmp_path)
    table = table_of(tree)
    table.facts([810], at(50))
    (tree / "proc/810/stat").unlink()
    assert table.facts([810], at(50 + REMEMBERED_FOR))[810].unit == "comfyui.service"
    table.facts([], at(51 + 2 * REMEMBERED_FOR))
    assert table.facts([810], at(52 + 2 * REMEMBERED_FOR))[810].key.start_ticks == 0


def test_no_more_processes_are_remembered_than_there_is_room_for(tmp_path):
    table = table_of(lay_out("units", tmp_path))
    first = table.facts([810], at(50))[810]
    table.facts(range(10_000, 10_000 + REMEMBERED), at(51))
    assert table.facts([810], at(52))[810] is not first


def test_a_pid_that_was_reused_is_another_process(tmp_path):
    tree = lay_out("units", tmp_path)
    table = table_of(tree)
    before = table.facts([810], at(50))[810]
    restate(tree, 810, name="stranger", start_ticks="555555")
    after = table.facts([810], at(51))[810]
    assert before.key != after.key
    assert (after.name, after.state, after.state_since) == ("stranger", ProcessState.ALIVE, 51)


def test_a_zombie_is_one_from_the_first_look(tmp_path):
    facts = facts_of(lay_out("ghosts", tmp_path), 900)
    assert (facts.state, facts.name, facts.argv) == (ProcessState.ZOMBIE, "python3", ())


def test_a_process_is_stuck_when_two_looks_find_it_in_d_and_it_has_not_moved(tmp_path):
    table = table_of(lay_out("ghosts", tmp_path))
    states = [table.facts([930], at(50 + second))[930].state for second in (0, 1, LOOK_EVERY)]
    assert states == [ProcessState.ALIVE, ProcessState.ALIVE, ProcessState.STUCK]


def test_a_process_that_reads_a_disk_is_not_stuck(tmp_path):
    tree = lay_out("ghosts", tmp_path)
    table = table_of(tree)
    table.facts([930], at(50))
    restate(tree, 930, minor_faults="9999")
    assert table.facts([930], at(50 + LOOK_EVERY))[930].state is ProcessState.ALIVE


def test_a_process_that_moves_again_is_no_longer_stuck(tmp_path):
    tree = lay_out("ghosts", tmp_path)
    table = table_of(tree)
    table.facts([930], at(50))
    table.facts([930], at(60))
    restate(tree, 930, state="S")
    assert table.facts([930], at(61))[930].state is ProcessState.STUCK
    assert table.facts([930], at(70))[930].state is ProcessState.ALIVE


def test_a_process_that_takes_another_name_is_read_again_and_stays_itself(tmp_path):
    tree = lay_out("units", tmp_path)
    table = table_of(tree)
    before = table.facts([820], at(50))[820]
    restate(tree, 820, name="VLLM::EngineCor")
    (tree / "proc/820/cmdline").write_bytes(b"VLLM::EngineCore\0\0\0\0")
    after = table.facts([820], at(50 + LOOK_EVERY))[820]
    assert after.title == "VLLM::EngineCore"
    assert (after.key, after.state_since) == (before.key, 50)


def test_a_process_that_ends_while_it_is_read_is_gone_and_what_was_read_stands(tmp_path, monkeypatch):
    tree = lay_out("units", tmp_path)

    def end(root: str, pid: int) -> dict[str, str]:
        (tree / "proc/810/stat").unlink()
        return {}

    monkeypatch.setattr("vramwatch.procfs.reader.read_environment", end)
    facts = facts_of(tree, 810)
    assert (facts.state, facts.key.start_ticks, facts.name) == (ProcessState.GONE, 100000, "python3")


def test_a_pid_that_is_reused_while_it_is_read_is_read_once_more(tmp_path, monkeypatch):
    tree = lay_out("units", tmp_path)

    def reuse(root: str, pid: int) -> dict[str, str]:
        restate(tree, 810, name="stranger", start_ticks="555555")
        return {}

    monkeypatch.setattr("vramwatch.procfs.reader.read_environment", reuse)
    facts = facts_of(tree, 810)
    assert (facts.state, facts.key.start_ticks, facts.name) == (ProcessState.ALIVE, 555555, "stranger")


@pytest.mark.parametrize("missing", ["status", "cmdline", "cgroup"])
def test_what_cannot_be_read_is_unknown_and_the_rest_stands(tmp_path, missing):
    tree = lay_out("units", tmp_path)
    (tree / "proc/810" / missing).unlink()
    facts = facts_of(tree, 810)
    assert facts.state is ProcessState.ALIVE
    assert facts.name == "python3"


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, b")(", b"810 (x) S", b"1 (a) S " + b"x " * 50])
def test_a_stat_that_is_no_stat_is_no_process(tmp_path, content):
    tree = lay_out("units", tmp_path)
    (tree / "proc/810/stat").write_bytes(content)
    assert facts_of(tree, 810).state is ProcessState.GONE


def test_a_name_with_parentheses_and_escapes_is_read_whole_and_made_harmless(tmp_path):
    tree = lay_out("units", tmp_path)
    restate(tree, 810, name="a) R 1 (\x1b[2J")
    facts = facts_of(tree, 810)
    assert (facts.name, facts.key.start_ticks) == ("a) R 1 ( [2J", 100000)


# --- real processes -----------------------------------------------------------------------------


def test_this_very_process_is_told_as_it_is(live):
    facts = live.facts([os.getpid()], at(1))[os.getpid()]
    assert (facts.uid, facts.parent_pid) == (os.getuid(), os.getppid())
    assert facts.state is ProcessState.ALIVE
    assert facts.ancestors[0].pid == os.getppid() if os.getppid() != 1 else facts.ancestors == ()


def test_a_process_cannot_claim_another_user_by_its_name(live, sleeper):
    """Of a name the kernel escapes newlines in /proc/PID/status, and carriage returns not."""
    other = 7 if os.getuid() == 0 else 0
    name = f"\rUid:{other}\rNSpid:1"
    rename = f"import time; open('/proc/self/comm', 'w').write({name!r}); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", rename], stdout=subprocess.PIPE) as pretender:
        pretender.stdout.readline()
        facts = live.facts([sleeper.pid, pretender.pid], at(1))
        pretender.kill()
    assert facts[pretender.pid].name == f" Uid:{other} NSpid:1"
    assert facts[pretender.pid].uid == os.getuid()
    assert facts[pretender.pid].ancestors == facts[sleeper.pid].ancestors


def test_a_living_process_is_the_same_object_at_every_call(live, sleeper):
    first = live.facts([sleeper.pid], at(1))[sleeper.pid]
    assert live.facts([sleeper.pid], at(2))[sleeper.pid] is first
    assert live.facts([sleeper.pid], at(1 + LOOK_EVERY))[sleeper.pid] is first


def test_a_living_process_costs_no_read_of_proc_between_two_looks(live, sleeper, monkeypatch):
    first = live.facts([sleeper.pid], at(1))[sleeper.pid]
    with monkeypatch.context() as patched:
        patched.delattr(os, "open")
        assert live.facts([sleeper.pid], at(2))[sleeper.pid] is first


def test_an_end_is_seen_at_the_next_call_first_as_a_zombie_then_as_gone(live, sleeper):
    born = live.facts([sleeper.pid], at(1))[sleeper.pid]
    sleeper.kill()
    wait_for_end(sleeper.pid)
    zombie = live.facts([sleeper.pid], at(2))[sleeper.pid]
    sleeper.wait()
    gone = live.facts([sleeper.pid], at(3))[sleeper.pid]
    assert [zombie.state, gone.state] == [ProcessState.ZOMBIE, ProcessState.GONE]
    assert [zombie.state_since, gone.state_since] == [2, 3]
    assert born.argv == zombie.argv == gone.argv == ("sleep", "60")


def test_a_leader_that_ended_before_its_threads_is_a_zombie(live):
    program = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=lambda: (print('up', flush=True), time.sleep(60)), daemon=True).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        stat = Path(f"/proc/{process.pid}/stat")
        while b") Z " not in stat.read_bytes():
            os.sched_yield()
        assert live.facts([process.pid], at(1))[process.pid].state is ProcessState.ZOMBIE
        process.kill()


def test_more_processes_than_descriptors_are_still_followed_to_their_end(sleeper, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (0, 0))
    table = ProcessTable()
    first = table.facts([sleeper.pid], at(1))[sleeper.pid]
    assert first.state is ProcessState.ALIVE
    sleeper.kill()
    sleeper.wait()
    assert table.facts([sleeper.pid], at(2))[sleeper.pid].state is ProcessState.GONE


def open_descriptors() -> set[str]:
    return {descriptor.name for descriptor in Path("/proc/self/fd").iterdir()}


def test_a_table_that_is_closed_leaves_no_descriptor_behind(sleeper):
    before = open_descriptors()
    table = ProcessTable()
    table.facts([sleeper.pid, os.getpid()], at(1))
    assert len(open_descriptors()) > len(before)
    table.close()
    assert open_descriptors() == before
