"""The test driver itself, through the unmodified pynvml in other processes."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nvml import state
from tests.nvml.driver import VARIANTS, FakeDriver
from tests.nvml.gpu import GIB, MIB, InUseError, Process

PATIENCE = 20.0  # seconds until a process that says nothing counts as dead; far beyond what any needs
MEMORY = "nvmlDeviceGetMemoryInfo(h, version=nvmlMemory_v2)"
MEMORY_CALL = "nvmlDeviceGetMemoryInfo_v2"
LIST = "nvmlDeviceGetComputeRunningProcesses(h)"
LIST_CALL = "nvmlDeviceGetComputeRunningProcesses_v3"

# Answers each line, an expression over pynvml, with its value or the error that it raised.
CHILD = """
import ctypes, json, sys
import pynvml

def plain(value):
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, ctypes.Structure):
        return {name: plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, pynvml.nvmlFriendlyObject):
        return vars(value)
    return value if isinstance(value, (int, str, type(None))) else repr(value)

for line in sys.stdin:
    try:
        answer = {"value": plain(eval(line, vars(pynvml))), "code": 0}
    except pynvml.NVMLError as error:
        answer = {"error": type(error).__name__, "code": error.value}
    except pynvml.NVMLLibraryMismatchError as error:
        answer = {"error": type(error).__name__, "code": None}
    print(json.dumps(answer), flush=True)
"""


class Client:
    """A process that uses the driver through pynvml."""

    def __init__(self, driver: FakeDriver) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            env={**os.environ, **driver.environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        assert line, f"the client said nothing; it ended with {self.process.poll()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, expression: str) -> Any:
        """Return the value of ``expression``; an error fails the test."""
        self.send(expression)
        answer = self.receive()
        assert answer["code"] == 0, f"{expression}: {answer}"
        return answer["value"]

    def code(self, expression: str) -> int | None:
        """Return the NVML code with which ``expression`` ends, 0 for success."""
        self.send(expression)
        code: int | None = self.receive()["code"]
        return code

    def attach(self, index: int = 0) -> None:
        """Initialise, and call the handle at ``index`` ``h``."""
        self.ask("nvmlInit()")
        self.ask(f"(h := nvmlDeviceGetHandleByIndex({index})) and None")

    def ends_with(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def attached(driver: FakeDriver, index: int = 0) -> Iterator[Client]:
    client = Client(driver)
    try:
        client.attach(index)
        yield client
    finally:
        client.close()


@pytest.fixture
def client(driver: FakeDriver) -> Iterator[Client]:
    with attached(driver) as one:
        yield one


@pytest.fixture
def fresh(driver: FakeDriver) -> Iterator[Client]:
    """A client that has not initialised the library."""
    one = Client(driver)
    yield one
    one.close()


# --- what a GPU is, and its memory --------------------------------------------------------------


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


# --- process lists ------------------------------------------------------------------------------

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
    """Every row of a list carries the number of its change; one call must see one number."""
    rows_of_one_call = """(
        rows := (c_nvmlProcessInfo_v2_t * 128)(),
        torn := [
            1 for _ in range(20000)
            if nvmlLib.nvmlDeviceGetComputeRunningProcesses_v3(h, byref(c_uint(128)), rows)
            or rows[0].usedGpuMemory != rows[127].usedGpuMemory
        ],
    )[1]"""
    driver.gpus[0].set_processes(Process(pid, 0) for pid in range(128))
    client.send(" ".join(rows_of_one_call.split()))
    changes = 0
    assert client.process.stdout
    while not select.select([client.process.stdout], [], [], 0)[0]:
        changes += 1
        driver.gpus[0].set_processes(Process(pid, changes) for pid in range(128))
    assert client.receive()["value"] == []
    assert changes > 1


def test_a_reader_waits_while_a_change_is_being_written(driver: FakeDriver, client: Client) -> None:
    driver.reset_calls()
    driver.state.sequence += 1
    client.send(MEMORY)
    driver.wait_for_calls(MEMORY_CALL)
    assert client.process.stdout
    assert not select.select([client.process.stdout], [], [], 0.05)[0]
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


# --- GPUs that come and go ----------------------------------------------------------------------


def test_an_unplugged_gpu_leaves_the_count_and_its_handles_stay_dead_when_it_returns(
    driver: FakeDriver, client: Client
) -> None:
    first, second = driver.gpus
    first.unplug()
    assert client.ask("nvmlDeviceGetCount()") == 1
    assert client.ask("nvmlDeviceGetUUID(nvmlDeviceGetHandleByIndex(0))") == second.uuid
    assert client.code(MEMORY) == pynvml.NVML_ERROR_GPU_IS_LOST
    assert client.code(f"nvmlDeviceGetHandleByUUID('{first.uuid}')") == pynvml.NVML_ERROR_NOT_FOUND
    first.plug_in()
    assert client.code(MEMORY) == pynvml.NVML_ERROR_GPU_IS_LOST
    client.ask("(h := nvmlDeviceGetHandleByIndex(0)) and None")
    assert client.ask("nvmlDeviceGetUUID(h)") == first.uuid


def test_a_lost_gpu_answers_lost_to_everything_and_the_others_go_on(
    driver: FakeDriver, client: Client
) -> None:
    first, second = driver.gpus
    first.lose()
    for call in (
        MEMORY,
        LIST,
        "nvmlDeviceGetUUID(h)",
        "nvmlDeviceGetHandleByIndex(0)",
        f"nvmlDeviceGetHandleByUUID('{first.uuid}')",
        f"nvmlDeviceGetHandleByPciBusId('{first.pci}')",
    ):
        assert client.code(call) == pynvml.NVML_ERROR_GPU_IS_LOST
    assert client.ask("nvmlDeviceGetCount()") == 2
    assert client.ask("nvmlDeviceGetUUID(nvmlDeviceGetHandleByIndex(1))") == second.uuid
    first.recover()
    assert client.code(MEMORY) == 0


def test_a_driver_reload_ends_every_client_until_it_starts_anew(driver: FakeDriver, client: Client) -> None:
    driver.reload(pynvml.NVML_ERROR_UNKNOWN)
    assert client.code(MEMORY) == pynvml.NVML_ERROR_UNKNOWN
    assert client.code("nvmlDeviceGetCount()") == pynvml.NVML_ERROR_UNKNOWN
    client.ask("nvmlShutdown()")
    client.ask("nvmlInit()")
    assert client.ask("nvmlDeviceGetCount()") == 2
    assert client.code(MEMORY) == pynvml.NVML_ERROR_GPU_IS_LOST  # the handle is of the driver before
    client.ask("(h := nvmlDeviceGetHandleByIndex(0)) and None")
    assert client.code(MEMORY) == 0


def test_without_init_nothing_is_answered(fresh: Client) -> None:
    assert fresh.code("_LoadNvmlLibrary() or nvmlDeviceGetCount()") == pynvml.NVML_ERROR_UNINITIALIZED


def test_a_library_of_another_layout_refuses_to_start(driver: FakeDriver, fresh: Client) -> None:
    driver.state.fingerprint += 1
    assert fresh.code("nvmlInit()") == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    fresh.process.kill()
    assert "run make in tests/nvml" in fresh.process.communicate()[1]


# --- faults -------------------------------------------------------------------------------------


def test_a_fault_lasts_for_so_many_calls(driver: FakeDriver, client: Client) -> None:
    driver.fail(MEMORY_CALL, pynvml.NVML_ERROR_UNKNOWN, times=2)
    assert [client.code(MEMORY) for _ in range(3)] == [999, 999, 0]


def test_a_fault_on_one_gpu_leaves_the_other_alone_until_it_is_cleared(
    driver: FakeDriver, client: Client
) -> None:
    driver.gpus[0].fail(MEMORY_CALL, pynvml.NVML_ERROR_NO_PERMISSION)
    other = MEMORY.replace("(h,", "(nvmlDeviceGetHandleByIndex(1),")
    assert [client.code(MEMORY), client.code(other)] == [pynvml.NVML_ERROR_NO_PERMISSION, 0]
    driver.gpus[0].clear(MEMORY_CALL)
    assert client.code(MEMORY) == 0


def test_the_most_particular_fault_applies(driver: FakeDriver, client: Client) -> None:
    driver.fail("*", 1)
    driver.gpus[0].fail("*", 2)
    driver.fail(MEMORY_CALL, 3)
    driver.gpus[0].fail(MEMORY_CALL, 4, times=1)
    codes = [client.code(MEMORY) for _ in range(2)]
    driver.clear(MEMORY_CALL)
    codes.append(client.code(MEMORY))
    driver.gpus[0].clear()
    codes.append(client.code(MEMORY))
    driver.clear_faults()
    assert [*codes, client.code(MEMORY)] == [4, 3, 2, 1, 0]


def test_a_pattern_means_all_functions_of_that_name_and_a_misspelt_name_is_refused(
    driver: FakeDriver, client: Client
) -> None:
    driver.fail("nvmlDeviceGet*RunningProcesses*", pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert client.code(LIST) == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert client.code("nvmlDeviceGetGraphicsRunningProcesses_v2(h)") == pynvml.NVML_ERROR_NOT_SUPPORTED
    assert client.code(MEMORY) == 0
    with pytest.raises(ValueError, match="nvmlDeviceGetMemoryInfo_v9"):
        driver.fail("nvmlDeviceGetMemoryInfo_v9", 3)


def test_a_delay_takes_its_time(driver: FakeDriver, client: Client) -> None:
    driver.gpus[0].delay(MEMORY_CALL, microseconds=30_000)
    started = time.monotonic()
    client.ask(MEMORY)
    assert time.monotonic() - started >= 0.03


def test_init_fails_as_the_test_wishes(driver: FakeDriver, fresh: Client) -> None:
    for code in (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH):
        driver.fail("nvmlInit*", code)
        assert fresh.code("nvmlInit()") == code
    driver.clear_faults()
    assert fresh.code("nvmlInit()") == 0


def test_a_hanging_call_returns_when_it_is_freed(driver: FakeDriver, client: Client) -> None:
    driver.gpus[0].hang(MEMORY_CALL, times=1)
    client.send(MEMORY)
    driver.wait_for_calls(MEMORY_CALL)
    driver.free_hung()
    assert client.receive()["code"] == 0
    assert client.code(MEMORY) == 0


def test_sigterm_ends_a_process_that_hangs_in_init(driver: FakeDriver, fresh: Client) -> None:
    driver.hang("nvmlInit*")
    fresh.send("nvmlInit()")
    driver.wait_for_calls("nvmlInit*")
    fresh.process.terminate()
    assert fresh.ends_with() == -signal.SIGTERM


def test_an_unkillable_hang_outlives_sigterm_and_ends_by_sigkill(driver: FakeDriver, client: Client) -> None:
    driver.hang(MEMORY_CALL, unkillable=True)
    client.send(MEMORY)
    driver.wait_for_calls(MEMORY_CALL)
    wait_until(lambda: ignores(client.process.pid, signal.SIGTERM))
    client.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        client.process.wait(0.1)
    client.process.kill()
    assert client.ends_with() == -signal.SIGKILL


def test_after_an_unkillable_hang_sigterm_ends_the_process_again(driver: FakeDriver, client: Client) -> None:
    driver.hang(MEMORY_CALL, times=1, unkillable=True)
    client.send(MEMORY)
    driver.wait_for_calls(MEMORY_CALL)
    driver.free_hung()
    assert client.receive()["code"] == 0
    client.process.terminate()
    assert client.ends_with() == -signal.SIGTERM


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether the process ignores the signal (SigIgn of proc(5), /proc/pid/status)."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn"))
    return bool(mask >> (number - 1) & 1)


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@pytest.mark.parametrize(("crash", "ending"), [("abort", signal.SIGABRT), ("segfault", signal.SIGSEGV)])
def test_a_crash_in_the_library_ends_the_process(
    driver: FakeDriver, client: Client, crash: str, ending: signal.Signals
) -> None:
    getattr(driver, crash)(MEMORY_CALL)
    client.send(MEMORY)
    assert client.ends_with() == -ending


@pytest.mark.parametrize("handle", ["c_nvmlDevice_t()", "h"])
def test_null_and_stale_handles_crash_where_that_is_wished(
    driver: FakeDriver, client: Client, handle: str
) -> None:
    driver.gpus[0].unplug()
    call = MEMORY.replace("(h,", f"({handle},")
    assert client.code(call) in (pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_GPU_IS_LOST)
    driver.crash_on_bad_handles()
    client.send(call)
    assert client.ends_with() == -signal.SIGSEGV


# --- calls and clients --------------------------------------------------------------------------


def test_calls_are_counted_by_function_and_by_gpu(driver: FakeDriver, client: Client) -> None:
    driver.reset_calls()
    driver.gpus[0].set_processes([Process(10, GIB)])
    driver.fail(MEMORY_CALL, 999, times=1)
    for call in (MEMORY, MEMORY, LIST, "nvmlDeviceGetName(nvmlDeviceGetHandleByIndex(1))"):
        client.code(call)
    assert driver.calls(MEMORY_CALL) == 2
    assert driver.calls(LIST_CALL) == 2  # pynvml asks for the length first
    assert driver.gpus[0].calls() == 4
    assert driver.gpus[1].calls("nvmlDeviceGetName") == 1
    assert driver.gpus[1].calls("nvmlDeviceGet*") == 2
    assert driver.total_calls() == 6


def test_a_call_that_never_comes_is_named(driver: FakeDriver) -> None:
    with pytest.raises(TimeoutError, match="nvmlShutdown: 0 of 1 calls"):
        driver.wait_for_calls("nvmlShutdown", timeout=0.0)


def test_a_client_is_who_has_initialised_more_often_than_shut_down(driver: FakeDriver, fresh: Client) -> None:
    assert driver.clients() == []
    fresh.ask("nvmlInit()")
    fresh.ask("nvmlInit()")
    fresh.ask("nvmlShutdown()")
    assert driver.clients() == [fresh.process.pid]
    fresh.ask("nvmlShutdown()")
    assert driver.clients() == []
    assert fresh.code("nvmlShutdown()") == pynvml.NVML_ERROR_UNINITIALIZED


def test_a_killed_client_is_none(driver: FakeDriver, client: Client) -> None:
    assert driver.clients() == [client.process.pid]
    client.process.kill()
    wait_until(lambda: driver.clients() == [])  # though it is not reaped yet


def test_a_reset_and_a_mig_switch_are_refused_while_there_is_a_client(
    driver: FakeDriver, client: Client
) -> None:
    gpu = driver.gpus[0]
    gpu.lose()
    with pytest.raises(InUseError, match=str(client.process.pid)):
        gpu.reset()
    with pytest.raises(InUseError, match="MIG mode switch"):
        gpu.set_mig(True)
    client.ask("nvmlShutdown()")
    gpu.reset()
    gpu.set_mig(True)
    client.attach()
    assert client.ask("nvmlDeviceGetMigMode(h)") == [1, 1]


# --- accounting ---------------------------------------------------------------------------------


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


# --- MIG ----------------------------------------------------------------------------------------

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


# --- drivers of other years ---------------------------------------------------------------------

EXPORTED = "[name for name in {names} if hasattr(nvmlLib, name)]"
AFTER_R470 = {
    MEMORY_CALL,
    *(f"nvmlDeviceGet{kind}RunningProcesses_v3" for kind in state.LISTS),
}
AFTER_R535 = {"nvmlDeviceGetRunningProcessDetailList", "nvmlDeviceGetTemperatureV"}


@pytest.mark.parametrize(
    ("variant", "missing"),
    [
        ("R470", AFTER_R470 | AFTER_R535),
        ("R535", AFTER_R535),
        ("R580", set()),
        ("R610", set()),
        ("ROWS16", set()),
    ],
)
def test_each_driver_exports_what_it_had(variant: str, missing: set[str]) -> None:
    with FakeDriver(variant, gpus=1) as driver, attached(driver) as client:
        exported = client.ask(EXPORTED.format(names=list(state.FUNCTIONS)))
        assert set(state.FUNCTIONS) - set(exported) == missing
        assert client.ask("nvmlSystemGetDriverVersion()") == VARIANTS[variant][0]


def test_on_r470_the_new_calls_are_missing_as_pynvml_says_it() -> None:
    with FakeDriver("R470", gpus=1) as driver, attached(driver) as client:
        driver.gpus[0].set_processes([Process(10, GIB)])
        assert client.code(MEMORY) == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
        client.send(LIST)
        assert client.receive()["error"] == "NVMLLibraryMismatchError"
        used = client.ask("nvmlDeviceGetMemoryInfo(h)")["used"]
        assert used == GIB + 512 * MIB
        assert client.ask("nvmlDeviceGetComputeRunningProcesses_v2(h)")[0]["pid"] == 10


@pytest.mark.parametrize(("variant", "row_size"), [("R535", 32), ("R580", 24), ("ROWS16", 16)])
def test_rows_of_the_third_list_are_as_long_as_that_driver_wrote_them(variant: str, row_size: int) -> None:
    with FakeDriver(variant, gpus=1) as driver, attached(driver) as client:
        driver.gpus[0].set_processes([Process(10, GIB), Process(11, 2 * GIB)])
        pid_at = "(b := (c_char * 256)(), nvmlLib.{}(h, byref(c_uint(8)), b), b.raw.find(11))[2]"
        assert client.ask(pid_at.format(LIST_CALL)) == row_size
        assert client.ask(pid_at.format("nvmlDeviceGetComputeRunningProcesses_v2")) == 24
        assert client.ask(pid_at.format("nvmlDeviceGetComputeRunningProcesses")) == 16
        seen = [row["pid"] for row in client.ask(LIST)]
        assert (seen == [10, 11]) == (row_size == 24)  # pynvml reads rows of 24 bytes


@pytest.mark.parametrize(("variant", "all_pids"), [("R580", None), ("R610", [10, 11, 12])])
def test_the_detail_list_tells_the_kinds_apart_and_newer_drivers_give_all_at_once(
    variant: str, all_pids: list[int] | None
) -> None:
    detail = "nvmlDeviceGetRunningProcessDetailList(h, nvmlProcessDetailList_v1, {})"
    with FakeDriver(variant, gpus=1) as driver, attached(driver) as client:
        driver.gpus[0].set_processes(
            [Process(10, GIB), Process(11, GIB, ("graphics",)), Process(12, GIB, ("compute", "mps"))]
        )
        seen = [[row["pid"] for row in client.ask(detail.format(mode))] for mode in range(3)]
        assert seen == [[10, 12], [11], [12]]
        if all_pids is None:
            assert client.code(detail.format(3)) == pynvml.NVML_ERROR_INVALID_ARGUMENT
        else:
            assert [row["pid"] for row in client.ask(detail.format(3))] == all_pids


def test_an_unknown_driver_is_refused() -> None:
    with pytest.raises(ValueError, match="R470, R535"):
        FakeDriver("R999")


# --- the command --------------------------------------------------------------------------------

REPORT = """
from pynvml import *
import os, sys
nvmlInit()
for index in range(nvmlDeviceGetCount()):
    rows = nvmlDeviceGetComputeRunningProcesses(nvmlDeviceGetHandleByIndex(index))
    print(*(f"{row.pid}:{row.usedGpuMemory}:{os.path.exists(f'/proc/{row.pid}')}" for row in rows))
sys.exit(3)
"""


@pytest.mark.parametrize("real", [True, False])
def test_the_command_runs_another_over_gpus_with_processes_and_ends_as_it_does(real: bool) -> None:
    options = ["--gpus", "2", "--processes", "3", *(["--real-pids"] if real else [])]
    run = subprocess.run(
        [sys.executable, "-m", "tests.nvml", *options, "--", sys.executable, "-c", REPORT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3, run.stderr
    rows = [[row.split(":") for row in line.split()] for line in run.stdout.splitlines()]
    assert [len(row) for row in rows] == [3, 3]
    assert {alive for line in rows for _, _, alive in line} == {str(real)}
    pids = {int(pid) for line in rows for pid, _, _ in line}
    assert len(pids) == 6
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)  # noqa: PTH110
    assert 60 * GIB < sum(int(used) for _, used, _ in rows[0]) < 80 * GIB


MOVED = """
from pynvml import *
import time
nvmlInit()
h = nvmlDeviceGetHandleByIndex(0)
read = lambda: [row.usedGpuMemory for row in nvmlDeviceGetComputeRunningProcesses(h)]
first = read()
while read() == first:
    time.sleep(0.01)
"""


def test_the_command_keeps_memory_moving_and_passes_signals_on() -> None:
    moving = [sys.executable, "-m", "tests.nvml", "--gpus", "1", "--processes", "2", "--moving", "--"]
    subprocess.run([*moving, sys.executable, "-c", MOVED], check=True, timeout=PATIENCE)
    wait = subprocess.Popen(
        [*moving, "sh", "-c", "echo started; exec sleep 60"], stdout=subprocess.PIPE, text=True
    )
    assert wait.stdout
    assert wait.stdout.readline() == "started\n"
    wait.terminate()
    assert wait.wait(PATIENCE) == 128 + signal.SIGTERM
    wait.stdout.close()
