"""What becomes of GPUs and drivers that fail: a value each, and the other GPUs go on."""

import pytest

from tests.nvml.driver import FakeDriver
from tests.nvml.gpu import GIB, Process
from tests.nvml_polls import EVERYTHING, MEMORY_ALONE, WITH_LISTS, polling
from vramwatch.core.model import EventKind, FaultKind

# Return codes of nvml.h (nvmlReturn_t).
INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, DRIVER_NOT_LOADED = 2, 3, 4, 6, 9
GPU_IS_LOST, RESET_REQUIRED, LIB_RM_VERSION_MISMATCH, UNKNOWN = 15, 16, 18, 999


def uuids(readings):
    return [reading.gpu.uuid for reading in readings.gpus]


def faults(readings):
    return {missing.gpu and missing.gpu.uuid: missing.fault.kind for missing in readings.missing}


def events(readings):
    return [(event.kind, event.gpu) for event in readings.events]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (GPU_IS_LOST, FaultKind.LOST),
        (RESET_REQUIRED, FaultKind.RESET_REQUIRED),
        (UNKNOWN, FaultKind.UNKNOWN),
        (NO_PERMISSION, FaultKind.NO_PERMISSION),
    ],
)
def test_a_gpu_that_is_lost_becomes_a_gap_and_the_others_go_on(driver, code, kind):
    sick, well = driver.gpus
    with polling(driver) as polls:
        polls.until_answered()
        sick.lose(code)
        readings = polls.poll(MEMORY_ALONE)
        assert uuids(readings) == [well.uuid]
        (missing,) = readings.missing
        assert (missing.gpu.uuid, missing.gpu.name) == (sick.uuid, sick.name)
        assert (missing.fault.kind, missing.fault.code) == (kind, code)
        assert missing.fault.call == "nvmlDeviceGetMemoryInfo_v2"
        sick.recover()
        back = polls.poll(EVERYTHING)
        assert uuids(back) == [sick.uuid, well.uuid]
        assert back.missing == back.events == ()


def test_a_lost_gpu_is_asked_less_and_less_often_and_at_every_slow_tick(driver):
    sick, well = driver.gpus
    with polling(driver) as polls:
        polls.until_answered()
        sick.lose()
        driver.reset_calls()
        for _ in range(64):
            assert faults(polls.poll(MEMORY_ALONE)) == {sick.uuid: FaultKind.LOST}
        assert sick.calls() <= 10
        assert well.calls("nvmlDeviceGetMemoryInfo_v2") == 64
        before = sick.calls()
        polls.poll(EVERYTHING)
        assert sick.calls() > before


def test_a_gpu_that_is_lost_before_the_start_is_named_by_its_place_until_it_tells_its_uuid(driver):
    sick, well = driver.gpus
    sick.lose()
    with polling(driver) as polls:
        readings = polls.until_answered()
        assert uuids(readings) == [well.uuid]
        assert faults(readings) == {"index:0": FaultKind.LOST}
        sick.recover()
        back = polls.poll(EVERYTHING)
        assert uuids(back) == [sick.uuid, well.uuid]
        assert back.missing == ()
        assert events(back) == [(EventKind.GPU_APPEARED, sick.uuid)]


def test_all_gpus_lost_are_all_gaps(driver):
    with polling(driver) as polls:
        polls.until_answered()
        for gpu in driver.gpus:
            gpu.lose()
        readings = polls.poll(EVERYTHING)
    assert readings.gpus == ()
    assert set(faults(readings).values()) == {FaultKind.LOST}


def test_unknown_from_all_gpus_replaces_the_reader_which_reads_on_when_they_are_back(driver):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader().pid
        for gpu in driver.gpus:
            gpu.lose(UNKNOWN)
        assert faults(polls.poll(MEMORY_ALONE)) == {None: FaultKind.UNKNOWN}
        assert faults(polls.poll(MEMORY_ALONE, after=0.5)) == {None: FaultKind.UNKNOWN}
        for gpu in driver.gpus:
            gpu.recover()
        assert len(polls.until_answered().gpus) == 2
        assert polls.reader().pid != reader


def test_a_gpu_that_is_unplugged_is_gone_and_is_taken_up_again_when_it_returns(driver):
    first, second = driver.gpus
    with polling(driver) as polls:
        polls.until_answered()
        first.unplug()
        assert faults(polls.poll(MEMORY_ALONE)) == {
            first.uuid: FaultKind.LOST
        }  # all that the driver says yet
        readings = polls.poll(MEMORY_ALONE)
        assert uuids(readings) == [second.uuid]
        assert faults(readings) == {first.uuid: FaultKind.GONE}
        assert events(readings) == [(EventKind.GPU_VANISHED, first.uuid)]
        first.plug_in()
        back = polls.poll(EVERYTHING)
        assert uuids(back) == [first.uuid, second.uuid]
        assert back.missing == ()
        assert events(back) == [(EventKind.GPU_APPEARED, first.uuid)]


def test_a_gpu_that_stays_gone_is_reported_for_an_hour(driver):
    with polling(driver) as polls:
        polls.until_answered()
        driver.gpus[1].unplug()
        polls.poll(EVERYTHING)
        assert faults(polls.poll(after=3500.0)) == {driver.gpus[1].uuid: FaultKind.GONE}
        assert faults(polls.poll(after=200.0)) == {}


def test_two_gpus_down_to_none_is_a_driver_without_a_gpu(driver):
    with polling(driver) as polls:
        polls.until_answered()
        for gpu in driver.gpus:
            gpu.unplug()
        readings = polls.poll(EVERYTHING)
        assert readings.gpus == ()
        assert set(faults(readings).values()) == {FaultKind.GONE}
        empty = polls.poll(EVERYTHING, after=4000.0)
        assert faults(empty) == {None: FaultKind.NO_DRIVER}
        assert "shows no GPU" in empty.missing[0].fault.detail


def test_stale_handles_are_not_followed_into_a_crash(driver):
    driver.crash_on_bad_handles()
    sick, well = driver.gpus
    sick.lose()
    with polling(driver) as polls:
        polls.until_answered()
        for _ in range(3):
            assert uuids(polls.poll(EVERYTHING)) == [well.uuid]


@pytest.mark.parametrize("code", [1, UNKNOWN])
def test_a_driver_reload_is_followed_within_the_same_poll(driver, code):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader().pid
        driver.reload(code)
        readings = polls.poll(WITH_LISTS)
        assert len(readings.gpus) == 2
        assert readings.missing == ()
        assert polls.reader().pid == reader


def test_a_driver_that_is_unloaded_and_replaced_costs_the_reader_and_comes_back(driver):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader().pid
        driver.fail("*", DRIVER_NOT_LOADED)
        assert faults(polls.poll()) == {None: FaultKind.NO_DRIVER}
        driver.clear_faults()
        assert faults(polls.poll(after=29.0)) == {None: FaultKind.NO_DRIVER}
        assert len(polls.until_answered().gpus) == 2
        assert polls.reader().pid != reader


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (DRIVER_NOT_LOADED, FaultKind.NO_DRIVER),
        (LIB_RM_VERSION_MISMATCH, FaultKind.MISMATCH),
        (NO_PERMISSION, FaultKind.NO_PERMISSION),
        (UNKNOWN, FaultKind.UNKNOWN),
    ],
)
def test_an_init_that_fails_is_a_reason_and_leaves_no_process(driver, code, kind):
    driver.fail("nvmlInit*", code)
    with polling(driver) as polls:
        readings = polls.poll()
        while faults(readings) == {None: FaultKind.STARTING}:
            readings = polls.poll(after=0.1)
        assert faults(readings) == {None: kind}
        assert readings.missing[0].fault.code == code
        with pytest.raises(ValueError, match="not enough values"):
            polls.reader()


def test_without_a_driver_s_library_the_reason_says_what_is_missing(driver, tmp_path, monkeypatch):
    with polling(driver) as polls:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
        readings = polls.poll()
        while faults(readings) == {None: FaultKind.STARTING}:
            readings = polls.poll(after=0.1)
    assert faults(readings) == {None: FaultKind.NO_DRIVER}
    assert "libnvidia-ml.so.1 is missing" in readings.missing[0].fault.detail


def test_mig_switched_on_while_running_is_read_by_its_instances(driver):
    divided, whole = driver.gpus
    with polling(driver) as polls:
        polls.until_answered()
        divided.set_mig(True, force=True)
        divided.fail("nvmlDeviceGetMemoryInfo*", NO_PERMISSION)
        divided.fail("nvmlDeviceGet*RunningProcess*", NO_PERMISSION)
        one, other = divided.add_instance(0), divided.add_instance(2)
        other.set_processes([Process(9, GIB)])
        readings = polls.poll(EVERYTHING)
    assert uuids(readings) == [one.uuid, other.uuid, whole.uuid]
    instance = readings.gpus[1]
    assert (instance.gpu.parent, instance.gpu.ordinal) == (divided.uuid, "0:2")
    assert (instance.memory.total, instance.memory.used) == (10 * GIB, GIB)
    (claim,) = instance.claims
    assert (claim.pid, claim.used, claim.gpu_instance) == (9, GIB, other.gpu_instance)
    assert readings.missing == ()
    assert set(events(readings)) == {
        (EventKind.GPU_VANISHED, divided.uuid),
        (EventKind.GPU_APPEARED, one.uuid),
        (EventKind.GPU_APPEARED, other.uuid),
    }


def test_an_instance_that_is_destroyed_is_gone_and_the_others_go_on(driver):
    gpu = driver.gpus[0]
    gpu.set_mig(True)
    one, other = gpu.add_instance(), gpu.add_instance()
    with polling(driver) as polls:
        polls.until_answered()
        one.destroy()
        readings = polls.poll(MEMORY_ALONE)
        assert uuids(readings) == [other.uuid, driver.gpus[1].uuid]
        assert faults(readings) == {one.uuid: FaultKind.GONE}


def test_an_instance_made_while_running_appears_at_the_slow_tick(driver):
    gpu = driver.gpus[0]
    gpu.set_mig(True)
    gpu.add_instance()
    with polling(driver) as polls:
        polls.until_answered()
        new = gpu.add_instance()
        assert new.uuid in uuids(polls.poll(EVERYTHING))


def test_mig_without_instances_is_a_gap_that_says_so(driver):
    gpu = driver.gpus[0]
    gpu.set_mig(True)
    with polling(driver) as polls:
        readings = polls.until_answered()
        assert uuids(readings) == [driver.gpus[1].uuid]
        (missing,) = readings.missing
        assert missing.gpu.uuid == gpu.uuid
        assert missing.fault.kind is FaultKind.NOT_SUPPORTED
        assert missing.fault.detail == "MIG is on and has no instances"
        gpu.set_mig(False, force=True)
        assert len(polls.poll(EVERYTHING).gpus) == 2


def test_a_gpu_that_answers_a_query_once_with_an_error_is_read_at_the_next_poll(driver):
    driver.gpus[0].fail("nvmlDeviceGetMemoryInfo_v2", UNKNOWN, times=1)
    with polling(driver) as polls:
        polls.until_answered()
        assert len(polls.poll(MEMORY_ALONE).gpus) == 2


def test_a_library_that_lacks_a_function_is_no_fault_of_the_gpu():
    with FakeDriver(variant="R470", gpus=1) as driver, polling(driver) as polls:
        readings = polls.until_answered()
    assert len(readings.gpus) == 1
    assert readings.missing == ()


def test_no_process_list_is_no_fault_of_the_gpu(driver):
    driver.gpus[0].fail("nvmlDeviceGet*RunningProcess*", NOT_SUPPORTED)
    with polling(driver) as polls:
        readings = polls.until_answered()
    assert len(readings.gpus) == 2
    assert readings.gpus[0].claims_fault.kind is FaultKind.NOT_SUPPORTED
