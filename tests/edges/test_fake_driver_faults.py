"""What the test driver can be made to do: lose GPUs, fail, hang, crash; and whom it counts."""

import signal
import subprocess
import time
from pathlib import Path

import pynvml
import pytest

from tests.nvml.client import LIST, LIST_CALL, MEMORY, MEMORY_CALL, Client
from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, InUseError, Process
from tests.waiting import wait_until

# --- GPUs that come and go ------------------------------------------------------------------------


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


def test_without_init_nothing_is_answered(fresh_client: Client) -> None:
    assert fresh_client.code("_LoadNvmlLibrary() or nvmlDeviceGetCount()") == pynvml.NVML_ERROR_UNINITIALIZED


def test_a_library_of_another_layout_refuses_to_start(driver: FakeDriver, fresh_client: Client) -> None:
    driver.state.fingerprint += 1
    assert fresh_client.code("nvmlInit()") == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    fresh_client.process.kill()
    assert "run make in tests/nvml" in fresh_client.process.communicate()[1]


# --- faults ---------------------------------------------------------------------------------------


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


def test_init_fails_as_the_test_wishes(driver: FakeDriver, fresh_client: Client) -> None:
    for code in (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH):
        driver.fail("nvmlInit*", code)
        assert fresh_client.code("nvmlInit()") == code
    driver.clear_faults()
    assert fresh_client.code("nvmlInit()") == 0


def test_a_hanging_call_returns_when_it_is_freed(driver: FakeDriver, client: Client) -> None:
    driver.gpus[0].hang(MEMORY_CALL, times=1)
    client.send(MEMORY)
    driver.wait_for_calls(MEMORY_CALL)
    driver.free_hung()
    assert client.receive()["code"] == 0
    assert client.code(MEMORY) == 0


def test_sigterm_ends_a_process_that_hangs_in_init(driver: FakeDriver, fresh_client: Client) -> None:
    driver.hang("nvmlInit*")
    fresh_client.send("nvmlInit()")
    driver.wait_for_calls("nvmlInit*")
    fresh_client.process.terminate()
    assert fresh_client.ends_with() == -signal.SIGTERM


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
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn"))
    return bool(mask >> (number - 1) & 1)


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


# --- calls and clients ----------------------------------------------------------------------------


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


def test_a_client_is_who_has_initialised_more_often_than_shut_down(
    driver: FakeDriver, fresh_client: Client
) -> None:
    assert driver.clients() == []
    fresh_client.ask("nvmlInit()")
    fresh_client.ask("nvmlInit()")
    fresh_client.ask("nvmlShutdown()")
    assert driver.clients() == [fresh_client.process.pid]
    fresh_client.ask("nvmlShutdown()")
    assert driver.clients() == []
    assert fresh_client.code("nvmlShutdown()") == pynvml.NVML_ERROR_UNINITIALIZED


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
