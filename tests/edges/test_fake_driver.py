"""What the test driver says of GPUs, their memory and processes, through pynvml in other processes."""

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nvml import state
from tests.nvml.client import LIST, LIST_CALL, MEMORY, MEMORY_CALL, Client, attached
from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, MIB, Process

# --- what a GPU is, and its memory ----------------------------------------------------------------


def test_pynvml_finds_the_gpus_and_what_they_are(driver: FakeDriver, client: Client) -> None:
    gpu = driver.gpus[0]
    gpu.set_sensors(utilization=37, temperature=66, power=412_000, persistence=False)
    assert client.ask("nvmlSystemGetDriverVersion()") == "580.95.05"
    assert client.ask("nvmlSystemGetNVMLVersion()") == "13.580.95.05"
    assert client.ask("nvmlSystemGetCudaDriverVersion_v2()") == 13000
    assert client.ask("nvmlDeviceGetCount()") == 2
    assert client.ask("nvmlDeviceGetUUID(h)") == gpu.uuid
    assert client.ask("nvmlDeviceGetName(h)") == "NVIDIA H100 80GB HBM3"
    assert client.ask("nvmlDeviceGetIndex(h)") == 0
    assert client.ask("nvmlDeviceGetMinorNumber(h)") == 0
    assert client.ask("nvmlDeviceGetPciInfo(h).busId") == gpu.pci == "00000000:10:00.0"
    assert client.ask("nvmlDeviceGetUtilizationRates(h)") == {"gpu": 37, "memory": 0}
    assert client.ask("nvmlDeviceGetTemperature(h, 0)") == 66
    assert client.ask("nvmlDeviceGetTemperatureV(h, 0)") == 66
    assert client.ask("nvmlDeviceGetPowerUsage(h)") == 412_000
    assert client.ask("nvmlDeviceGetPersistenceMode(h)") == 0
    assert client.ask("nvmlErrorString(9)") == "Driver Not Loaded"


def test_a_gpu_is_found_by_uuid_and_by_bus_id_in_both_spellings(driver: FakeDriver, client: Client) -> None:
    second = driver.gpus[1]
    assert client.ask(f"nvmlDeviceGetIndex(nvmlDeviceGetHandleByUUID('{second.uuid}'))") == 1
    assert client.ask(f"nvmlDeviceGetIndex(nvmlDeviceGetHandleByPciBusId('{second.pci}'))") == 1
    assert client.ask(f"nvmlDeviceGetIndex(nvmlDeviceGetHandleByPciBusId('{second.pci[4:]}'))") == 1
    assert client.code("nvmlDeviceGetHandleByUUID('GPU-nobody')") == pynvml.NVML_ERROR_NOT_FOUND
    assert client.code("nvmlDeviceGetHandleByIndex(2)") == pynvml.NVML_ERROR_INVALID_ARGUMENT


def test_the_old_memory_call_counts_the_reserved_bytes_as_used_and_the_new_one_does_not(
    driver: FakeDriver, client: Client
) -> None:
    driver.gpus[0].set_memory(total=80 * GIB, reserved=512 * MIB)
    driver.gpus[0].set_used(10 * GIB)
    free = 80 * GIB - 512 * MIB - 10 * GIB
    assert client.ask("nvmlDeviceGetMemoryInfo(h)") == {
        "total": 80 * GIB,
        "free": free,
        "used": 10 * GIB + 512 * MIB,
    }
    assert client.ask(MEMORY) == {
        "version": pynvml.nvmlMemory_v2,
        "total": 80 * GIB,
        "reserved": 512 * MIB,
        "free": free,
        "used": 10 * GIB,
    }


def test_a_wrong_struct_version_is_refused(client: Client) -> None:
    mismatch = pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
    assert client.code("nvmlDeviceGetMemoryInfo(h, version=0x01000028)") == mismatch
    assert client.code("nvmlDeviceGetRunningProcessDetailList(h, 0x1000020, 0)") == mismatch


def test_used_follows_the_processes_until_it_is_set(driver: FakeDriver, client: Client) -> None:
    gpu = driver.gpus[0]
    gpu.set_processes([Process(10, GIB), Process(11, 2 * GIB), Process(12, None)])
    gpu.set_memory(overhead=100 * MIB)
    assert client.ask(MEMORY)["used"] == 3 * GIB + 100 * MIB
    gpu.set_used(20 * GIB)
    assert client.ask(MEMORY)["used"] == 20 * GIB
    gpu.set_used(None)
    assert client.ask(MEMORY)["used"] == 3 * GIB + 100 * MIB


def test_unified_memory_reads_as_the_drivers_of_such_machines_say_it(
    driver: FakeDriver, client: Client
) -> None:
    gpu = driver.gpus[0]
    gpu.set_processes([Process(10, 512 * MIB)])
    gpu.set_memory(total=0, reserved=0)
    gpu.set_used(0)
    assert client.ask("nvmlDeviceGetMemoryInfo(h)") == {"total": 0, "free": 0, "used": 0}
    gpu.fail("nvmlDeviceGetMemoryInfo*", pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert client.code(MEMORY) == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert client.ask(LIST)[0]["usedGpuMemory"] == 512 * MIB


# --- process lists --------------------------------------------------------------------------------

processes = st.builds(
    Process,
    pid=st.integers(1, 2**32 - 1),
    used=st.none() | st.integers(0, 2**64 - 2),
    kinds=st.sets(st.sampled_from(["compute", "graphics", "mps"]), min_size=1).map(tuple),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(processes, max_size=state.ROWS))
def test_whatever_processes_are_set_stand_in_their_lists(
    driver: FakeDriver, client: Client, listed: list[Process]
) -> None:
    driver.gpus[0].set_processes(listed)
    for kind, name in (("compute", "Compute"), ("graphics", "Graphics"), ("mps", "MPSCompute")):
        rows = client.ask(f"nvmlDeviceGet{name}RunningProcesses(h)")
        wanted = [(one.pid, one.used) for one in listed if kind in one.kinds]
        assert [(row["pid"], row["usedGpuMemory"]) for row in rows] == wanted


def test_outside_mig_a_process_has_no_instance(driver: FakeDriver, client: Client) -> None:
    driver.gpus[0].set_processes([Process(10, GIB)])
    assert client.ask(LIST) == [
        {"pid": 10, "usedGpuMemory": GIB, "gpuInstanceId": 2**32 - 1, "computeInstanceId": 2**32 - 1}
    ]


def test_more_processes_than_there_is_room_for_are_refused(driver: FakeDriver) -> None:
    with pytest.raises(ValueError, match="129 processes"):
        driver.gpus[0].set_processes(Process(pid, 0) for pid in range(129))


def test_a_machine_full_of_gpus_and_processes_is_read_back(driver: FakeDriver) -> None:
    while len(driver.gpus) < state.GPUS:
        driver.add_gpu()
    for gpu in driver.gpus:
        gpu.set_processes(Process(1000 * gpu.slot + row, MIB) for row in range(state.ROWS))
    with pytest.raises(ValueError, match="16 slots"):
        driver.add_gpu()
    with attached(driver, index=15) as client:
        assert client.ask("nvmlDeviceGetCount()") == 16
        assert client.ask(f"len({LIST})") == state.ROWS
        assert client.ask(MEMORY)["used"] == state.ROWS * MIB


def test_a_reader_never_sees_half_a_change(driver: FakeDriver, client: Client) -> None:
    """Each row of a list carries the number of its change; the reader goes on until it has seen 200."""
    torn_rows_while_changing = f"""(
        rows := (c_nvmlProcessInfo_v2_t * 128)(), seen := set(), torn := [],
        any((
            nvmlLib.{LIST_CALL}(h, byref(c_uint(128)), rows),
            seen.add(rows[0].usedGpuMemory),
            rows[0].usedGpuMemory == rows[127].usedGpuMemory or torn.append(1),
            len(seen) == 200,
        )[3] for _ in iter(int, 1)),
    )[2]"""
    client.send(" ".join(torn_rows_while_changing.split()))
    changes = 0
    while not client.has_answered():
        changes += 1
        driver.gpus[0].set_processes(Process(pid, changes) for pid in range(128))
    assert client.receive()["value"] == []


def test_a_reader_waits_while_a_change_is_being_written(driver: FakeDriver, client: Client) -> None:
    driver.reset_calls()
    driver.state.sequence += 1
    client.send(MEMORY)
    driver.wait_for_calls(MEMORY_CALL)
    assert not client.has_answered(within=0.05)
    driver.state.sequence += 1
    assert client.receive()["code"] == 0


def test_changes_made_together_are_seen_together(driver: FakeDriver, client: Client) -> None:
    with driver.changing():
        driver.gpus[0].set_used(5 * GIB)
        driver.gpus[1].unplug()
        assert client.ask(MEMORY)["used"] == 0
        assert client.ask("nvmlDeviceGetCount()") == 2
    assert client.ask(MEMORY)["used"] == 5 * GIB
    assert client.ask("nvmlDeviceGetCount()") == 1


# --- accounting -----------------------------------------------------------------------------------


def test_accounting_gives_the_peak_of_each_process_while_it_is_on(driver: FakeDriver, client: Client) -> None:
    gpu = driver.gpus[0]
    assert client.ask("nvmlDeviceGetAccountingMode(h)") == 0
    assert client.code("nvmlDeviceGetAccountingPids(h)") == pynvml.NVML_ERROR_NOT_SUPPORTED
    gpu.set_processes([Process(10, GIB)])
    gpu.set_accounting({10: 3 * GIB, 9: 2 * GIB})
    assert client.ask("nvmlDeviceGetAccountingMode(h)") == 1
    assert client.ask("nvmlDeviceGetAccountingPids(h)") == [10, 9]
    stats = "nvmlDeviceGetAccountingStats(h, {})"
    assert client.ask(f"[{stats.format(10)}.maxMemoryUsage, {stats.format(10)}.isRunning]") == [3 * GIB, 1]
    assert client.ask(f"[{stats.format(9)}.maxMemoryUsage, {stats.format(9)}.isRunning]") == [2 * GIB, 0]
    assert client.code(stats.format(8)) == pynvml.NVML_ERROR_NOT_FOUND


# --- MIG ------------------------------------------------------------------------------------------

MIG = "nvmlDeviceGetMigDeviceHandleByIndex(h, {})"


def test_mig_instances_stand_at_their_indices_with_holes_between(driver: FakeDriver, client: Client) -> None:
    gpu = driver.gpus[0]
    assert client.ask("nvmlDeviceGetMaxMigDeviceCount(h)") == 0
    gpu.set_mig(True, force=True)
    gpu.add_instance(0)
    third = gpu.add_instance(2, gpu_instance=9, compute_instance=1, total=20 * GIB)
    assert client.ask("nvmlDeviceGetMaxMigDeviceCount(h)") == 7
    codes = [client.code(MIG.format(index)) for index in range(8)]
    missing, invalid = pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert codes == [0, missing, 0, *[missing] * 4, invalid]
    client.ask(f"(m := {MIG.format(2)}) and None")
    assert client.ask("nvmlDeviceIsMigDeviceHandle(m).value") == 1
    assert client.ask("nvmlDeviceIsMigDeviceHandle(h).value") == 0
    assert client.ask("nvmlDeviceGetUUID(m)") == third.uuid
    assert client.ask("nvmlDeviceGetName(m)") == third.name == "NVIDIA H100 80GB HBM3 MIG 1g.20gb"
    assert client.ask("nvmlDeviceGetIndex(m)") == 2
    assert client.ask("[nvmlDeviceGetGpuInstanceId(m), nvmlDeviceGetComputeInstanceId(m)]") == [9, 1]
    assert client.ask("nvmlDeviceGetAttributes(m).memorySizeMB") == 20 * 1024
    assert client.ask("nvmlDeviceGetUUID(nvmlDeviceGetDeviceHandleFromMigDeviceHandle(m))") == gpu.uuid
    assert client.ask(f"nvmlDeviceGetIndex(nvmlDeviceGetHandleByUUID('{third.uuid}'))") == 2
    for handle in "hm":
        assert client.code(f"nvmlDeviceGetUtilizationRates({handle})") == pynvml.NVML_ERROR_NOT_SUPPORTED


def test_processes_of_mig_instances_are_told_apart_and_the_parent_may_refuse(
    driver: FakeDriver, client: Client
) -> None:
    gpu = driver.gpus[0]
    gpu.set_mig(True, force=True)
    first, second = gpu.add_instance(), gpu.add_instance()
    first.set_processes([Process(10, GIB)])
    second.set_processes([Process(11, 2 * GIB), Process(12, 3 * GIB)])
    assert client.ask(MEMORY)["used"] == 6 * GIB
    assert [(row["pid"], row["gpuInstanceId"]) for row in client.ask(LIST)] == [(10, 1), (11, 2), (12, 2)]
    gpu.fail("nvmlDeviceGetMemoryInfo*", pynvml.NVML_ERROR_NO_PERMISSION)
    gpu.fail("nvmlDeviceGet*RunningProcesses*", pynvml.NVML_ERROR_NO_PERMISSION)
    assert client.code(MEMORY) == client.code(LIST) == pynvml.NVML_ERROR_NO_PERMISSION
    client.ask(f"(m := {MIG.format(1)}) and None")
    memory = client.ask(MEMORY.replace("(h,", "(m,"))
    assert (memory["total"], memory["used"]) == (10 * GIB, 5 * GIB)
    assert [row["pid"] for row in client.ask(LIST.replace("(h)", "(m)"))] == [11, 12]


def test_a_mig_handle_dies_with_its_instance_and_its_index_may_come_back_as_another(
    driver: FakeDriver, client: Client
) -> None:
    gpu = driver.gpus[0]
    gpu.set_mig(True, force=True)
    before = gpu.add_instance()
    client.ask(f"(m := {MIG.format(0)}) and None")
    before.destroy()
    assert client.code("nvmlDeviceGetUUID(m)") == pynvml.NVML_ERROR_INVALID_ARGUMENT
    after = gpu.add_instance()
    assert client.code("nvmlDeviceGetUUID(m)") == pynvml.NVML_ERROR_INVALID_ARGUMENT
    assert client.ask(f"nvmlDeviceGetUUID({MIG.format(0)})") == after.uuid != before.uuid
    gpu.set_mig(False, force=True)
    assert client.code(MIG.format(0)) == pynvml.NVML_ERROR_NOT_FOUND
    assert gpu.instances == []


def test_a_gpu_may_not_know_of_mig_and_room_for_instances_ends(driver: FakeDriver, client: Client) -> None:
    gpu = driver.gpus[0]
    gpu.set_mig(None, force=True)
    assert client.code("nvmlDeviceGetMigMode(h)") == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert client.code(MIG.format(0)) == pynvml.NVML_ERROR_NOT_SUPPORTED
    gpu.set_mig(True, force=True)
    for _ in range(7):
        gpu.add_instance()
    with pytest.raises(ValueError, match="free are"):
        gpu.add_instance()
