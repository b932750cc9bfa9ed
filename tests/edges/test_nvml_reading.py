"""What is read of healthy GPUs: unmodified pynvml in a real child, over the test driver."""

from pathlib import Path

import pytest

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, MIB, Process
from tests.nvml_polls import EVERYTHING, MEMORY_ALONE, WITH_LISTS, polling
from vramwatch.core.model import Ask, Claim, ClaimKind, FaultKind, MemoryBasis, Reading

NOT_SUPPORTED, NO_PERMISSION = 3, 4  # nvml.h
COMPUTE, GRAPHICS, MPS = (frozenset({kind}) for kind in ClaimKind)


def host_total() -> int:
    line = Path("/proc/meminfo").read_text().splitlines()[0]
    return int(line.split()[1]) * 1024


def balances(reading: Reading) -> bool:
    memory = reading.memory
    return memory.used + memory.reserved + memory.free == memory.total and memory.free >= 0


def test_the_first_poll_reads_every_gpu_by_uuid(driver):
    driver.gpus[1].set_processes([Process(42, 3 * GIB)])
    with polling(driver) as polls:
        readings = polls.until_answered()
    idle, busy = readings.gpus
    assert [idle.gpu.uuid, busy.gpu.uuid] == [gpu.uuid for gpu in driver.gpus]
    assert (busy.gpu.ordinal, busy.gpu.name, busy.gpu.pci) == (
        "1",
        "NVIDIA H100 80GB HBM3",
        "00000000:20:00.0",
    )
    assert busy.memory.used == 3 * GIB
    assert busy.memory.reserved == 512 * MIB
    assert busy.memory.basis is MemoryBasis.V2
    assert balances(idle)
    assert balances(busy)
    assert idle.claims == ()
    assert busy.claims == (Claim(42, 3 * GIB, COMPUTE),)
    assert readings.missing == readings.events == ()


def test_memory_alone_costs_one_call_a_gpu(driver):
    with polling(driver) as polls:
        polls.until_answered()
        driver.reset_calls()
        readings = polls.poll(MEMORY_ALONE)
        assert readings.driver_calls == driver.total_calls() == 2
    assert [reading.claims for reading in readings.gpus] == [None, None]
    assert [reading.utilization for reading in readings.gpus] == [None, None]
    assert set(readings.driver_seconds) == {"memory"}


def test_lists_are_read_for_the_gpus_that_were_asked_for(driver):
    with polling(driver) as polls:
        polls.until_answered()
        first, second = polls.poll(Ask(frozenset({driver.gpus[1].uuid}), slow=False)).gpus
    assert first.claims is None
    assert second.claims == ()
    assert second.temperature is None


def test_the_values_that_move_slowly_come_with_the_slow_tick(driver):
    driver.gpus[0].set_sensors(utilization=37, temperature=61, power=321_500)
    with polling(driver) as polls:
        reading = polls.until_answered(EVERYTHING).gpus[0]
    assert (reading.utilization, reading.temperature, reading.power) == (0.37, 61.0, 321.5)


def test_a_process_in_several_lists_holds_its_bytes_once():
    with FakeDriver(gpus=1) as driver:
        driver.gpus[0].set_processes(
            [
                Process(1, GIB, ("compute", "graphics")),
                Process(2, 2 * GIB, ("mps",)),
                Process(3, None, ("graphics",)),
            ]
        )
        with polling(driver) as polls:
            (reading,) = polls.until_answered().gpus
    assert set(reading.claims) == {
        Claim(1, GIB, COMPUTE | GRAPHICS),
        Claim(2, 2 * GIB, MPS),
        Claim(3, None, GRAPHICS),
    }


@pytest.mark.parametrize("variant", ["R470", "R535", "R580", "R610", "ROWS16"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_rows_of_every_driver_are_read_as_they_are(variant, count):
    with FakeDriver(variant=variant, gpus=1) as driver:
        driver.gpus[0].set_processes(Process(100 + n, (n + 1) * 100 * MIB) for n in range(count))
        with polling(driver) as polls:
            polls.until_answered()
            (reading,) = polls.poll(WITH_LISTS).gpus
    assert {(claim.pid, claim.used) for claim in reading.claims} == {
        (100 + n, (n + 1) * 100 * MIB) for n in range(count)
    }
    assert {claim.kinds for claim in reading.claims} == {COMPUTE}
    assert all(claim.gpu_instance is None for claim in reading.claims)


def test_the_list_of_all_kinds_is_one_call_a_gpu_and_keeps_the_kinds_of_the_slow_tick():
    with FakeDriver(variant="R610", gpus=1) as driver:
        driver.gpus[0].set_processes([Process(1, GIB, ("graphics",))])
        with polling(driver) as polls:
            polls.until_answered(EVERYTHING)
            driver.gpus[0].set_processes([Process(1, GIB, ("graphics",)), Process(2, GIB)])
            driver.reset_calls()
            (reading,) = polls.poll(WITH_LISTS).gpus
        assert driver.calls("nvmlDeviceGetRunningProcessDetailList") == 1
        assert driver.calls("*RunningProcesses*") == 0
    assert reading.claims == (Claim(1, GIB, GRAPHICS), Claim(2, GIB))


def test_a_driver_below_r510_is_marked_as_including_what_it_reserves():
    with FakeDriver(variant="R470", gpus=1) as driver:
        driver.gpus[0].set_used(GIB)
        with polling(driver) as polls:
            (reading,) = polls.until_answered().gpus
    assert reading.memory.basis is MemoryBasis.V1
    assert (reading.memory.used, reading.memory.reserved) == (GIB + 512 * MIB, 0)
    assert balances(reading)


def test_what_is_not_available_is_none_and_not_asked_for_again(driver):
    for function in ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature*", "nvmlDeviceGetPowerUsage"):
        driver.fail(function, NOT_SUPPORTED)
    with polling(driver) as polls:
        reading = polls.until_answered().gpus[0]
        driver.reset_calls()
        polls.poll(EVERYTHING)
        assert driver.calls("nvmlDeviceGetUtilizationRates") == driver.calls("nvmlDeviceGetPowerUsage") == 0
    assert (reading.utilization, reading.temperature, reading.power) == (None, None, None)


def test_lists_that_may_not_be_read_leave_the_memory_and_say_why(driver):
    driver.gpus[0].fail("nvmlDeviceGetComputeRunningProcesses*", NO_PERMISSION)
    with polling(driver) as polls:
        denied, read = polls.until_answered().gpus
    assert denied.claims is None
    assert denied.claims_fault.kind is FaultKind.NO_PERMISSION
    assert balances(denied)
    assert read.claims == ()


def test_a_missing_mps_list_is_no_fault(driver):
    driver.fail("nvmlDeviceGetMPSComputeRunningProcesses*", NOT_SUPPORTED)
    with polling(driver) as polls:
        assert polls.until_answered().gpus[0].claims == ()


def test_peaks_are_those_of_the_listed_processes_where_accounting_is_on(driver):
    driver.gpus[0].set_processes([Process(7, GIB), Process(8, GIB)])
    driver.gpus[0].set_accounting({7: 5 * GIB, 9: 6 * GIB})
    with polling(driver) as polls:
        first, second = polls.until_answered().gpus
    assert first.peaks == {7: 5 * GIB}
    assert second.peaks == {}


def test_eight_gpus_with_32_processes_each_are_read_to_the_byte():
    with FakeDriver(gpus=8) as driver:
        for gpu in driver.gpus:
            gpu.set_processes(Process(1000 + n, (n + 1) * 64 * MIB) for n in range(32))
        with polling(driver) as polls:
            readings = polls.until_answered()
    assert len(readings.gpus) == 8
    for reading in readings.gpus:
        assert sum(claim.used for claim in reading.claims) == reading.memory.used
        assert len(reading.claims) == 32


def test_flat_memory_on_8_gpus_costs_at_most_16_calls_a_second():
    with FakeDriver(gpus=8) as driver, polling(driver) as polls:
        for gpu in driver.gpus:
            gpu.set_processes([Process(1, GIB)])
        polls.until_answered()
        driver.reset_calls()
        for second in range(60):
            lists = None if second % 5 == 0 else frozenset()
            polls.poll(Ask(lists, slow=second % 30 == 0))
        assert driver.total_calls() / 60 <= 16
        assert driver.calls("*PcieThroughput*") == 0


def test_figures_that_do_not_balance_leave_the_rest_as_free(driver):
    driver.gpus[0].set_memory(total=10 * GIB, reserved=4 * GIB)
    driver.gpus[0].set_used(8 * GIB)
    with polling(driver) as polls:
        reading = polls.until_answered().gpus[0]
    assert reading.memory.used == 8 * GIB
    assert (reading.memory.reserved, reading.memory.free) == (2 * GIB, 0)


def test_more_used_than_there_is_is_a_gap_of_that_gpu(driver):
    driver.gpus[0].set_used(200 * GIB)
    with polling(driver) as polls:
        readings = polls.until_answered()
    assert [reading.gpu.uuid for reading in readings.gpus] == [driver.gpus[1].uuid]
    (missing,) = readings.missing
    assert missing.gpu.uuid == driver.gpus[0].uuid
    assert "cannot be" in missing.fault.detail


@pytest.mark.parametrize("says", ["not supported", "zeros", "the host's memory"])
def test_unified_memory_is_what_its_processes_hold_of_the_hosts(says):
    with FakeDriver() as driver:
        gpu = driver.add_gpu(name="NVIDIA GB10", total=0 if says == "zeros" else host_total(), reserved=0)
        if says == "not supported":
            gpu.fail("nvmlDeviceGetMemoryInfo*", NOT_SUPPORTED)
        gpu.set_processes([Process(5, 300 * MIB), Process(6, 200 * MIB)])
        gpu.set_used(0)
        with polling(driver) as polls:
            polls.until_answered()
            (reading,) = polls.poll(MEMORY_ALONE).gpus
    assert reading.gpu.unified
    assert reading.memory.basis is MemoryBasis.UNIFIED
    assert reading.memory.used == 500 * MIB
    assert reading.memory.total == host_total()
    assert balances(reading)


def test_unified_memory_without_process_lists_is_not_supported_and_never_the_hosts_figure():
    with FakeDriver(gpus=1) as driver:
        driver.fail("nvmlDeviceGetMemoryInfo*", NOT_SUPPORTED)
        driver.fail("nvmlDeviceGet*RunningProcess*", NOT_SUPPORTED)
        with polling(driver) as polls:
            readings = polls.until_answered()
    assert readings.gpus == ()
    assert readings.missing[0].fault.kind is FaultKind.NOT_SUPPORTED


def test_a_gpu_larger_than_its_host_keeps_its_own_memory():
    with FakeDriver() as driver:
        driver.add_gpu(name="NVIDIA H200", total=host_total() * 2)
        with polling(driver) as polls:
            (reading,) = polls.until_answered().gpus
    assert not reading.gpu.unified
    assert reading.memory.basis is MemoryBasis.V2
