"""The reader as a process: it may hang, crash or be killed, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import vramwatch
from tests.nvml.driver import FakeDriver
from tests.nvml_polls import DEADLINE, EVERYTHING, kill_at_random, polling, wait_for_end
from tests.waiting import wait_until
from vramwatch.core.model import EventKind, FaultKind
from vramwatch.driver.lifecycle import GRACE

MEMORY = "nvmlDeviceGetMemoryInfo_v2"
MEMORY_KIB = 20 * 1024  # of a reader of two GPUs; measured: below 17 MiB


def kinds(readings):
    return [event.kind for event in readings.events]


def hang_and_recover(polls, gpu, unkillable=True):
    """Let a call on ``gpu`` hang; return what the poll said that found it, when a reader may run again."""
    reader = polls.reader().pid
    gpu.hang(MEMORY, unkillable=unkillable)
    found = polls.poll()
    ending = polls.poll(after=DEADLINE + GRACE + 0.5)
    assert ending.missing[0].fault.kind is FaultKind.HUNG
    wait_for_end(reader)
    gpu.clear()
    polls.poll(after=0.1)
    polls.now += 60.0
    return found


@pytest.mark.parametrize("unkillable", [False, True])
def test_a_call_that_never_returns_costs_the_reader_and_the_next_one_reads_on(driver, unkillable):
    sick = driver.gpus[1]
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader().pid
        found = hang_and_recover(polls, sick, unkillable)
        (missing,) = found.missing
        assert missing.gpu is None
        assert (missing.fault.kind, missing.fault.call) == (FaultKind.HUNG, MEMORY)
        assert sick.uuid in missing.fault.detail
        (event,) = found.events
        assert (event.kind, event.gpu) == (EventKind.READER_KILLED, sick.uuid)
        assert len(polls.until_answered().gpus) == 2
        assert polls.reader().pid != reader


def test_a_poll_never_waits_longer_than_its_deadline(driver):
    with polling(driver) as polls:
        polls.until_answered()
        driver.gpus[0].hang(MEMORY)
        began = time.monotonic()
        polls.poll()
        assert time.monotonic() - began < DEADLINE + 1.0
        began = time.monotonic()
        polls.poll()
        assert time.monotonic() - began < DEADLINE / 2


def test_a_gpu_that_hung_twice_is_left_out_and_the_others_are_read(driver):
    sick, well = driver.gpus
    with polling(driver) as polls:
        polls.until_answered()
        assert EventKind.LEFT_OUT not in kinds(hang_and_recover(polls, sick))
        polls.until_answered()
        found = hang_and_recover(polls, sick)
        assert kinds(found) == [EventKind.READER_KILLED, EventKind.LEFT_OUT]
        polls.now -= 60.0
        sick.hang("*")
        readings = polls.until_answered()
        assert [reading.gpu.uuid for reading in readings.gpus] == [well.uuid]
        (missing,) = readings.missing
        assert (missing.gpu.uuid, missing.fault.kind) == (sick.uuid, FaultKind.LEFT_OUT)
        sick.clear()
        polls.now += 60.0
        back = polls.until_answered()
        assert len(back.gpus) == 2
        assert kinds(back) == []


def test_a_hanging_init_is_named_and_tried_again(driver):
    driver.hang("nvmlInitWithFlags", unkillable=True)
    with polling(driver, start_deadline=1.5) as polls:
        assert polls.poll().missing[0].fault.kind is FaultKind.STARTING
        reader = polls.reader().pid
        found = polls.poll(after=0.5)
        assert kinds(found) == [EventKind.INIT_HUNG]
        assert found.missing[0].fault.call == "nvmlInitWithFlags"
        polls.poll(after=DEADLINE + GRACE + 0.5)
        wait_for_end(reader)
        driver.clear_faults()
        polls.poll(after=0.1)
        assert len(polls.until_answered().gpus) == 2


@pytest.mark.parametrize(("crash", "name"), [("segfault", "SIGSEGV"), ("abort", "SIGABRT")])
def test_a_crash_inside_the_library_is_a_gap_that_names_the_call(driver, crash, name):
    with polling(driver) as polls:
        polls.until_answered()
        getattr(driver.gpus[0], crash)(MEMORY)
        (missing,) = polls.poll().missing
        assert missing.fault.kind is FaultKind.CRASHED
        assert name in missing.fault.detail
        assert f"inside {MEMORY} on {driver.gpus[0].uuid}" in missing.fault.detail
        driver.clear_faults()
        assert len(polls.until_answered().gpus) == 2


def test_a_reader_that_is_stopped_is_replaced(driver):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader()
        reader.suspend()
        (missing,) = polls.poll().missing
        assert "inside no driver call" in missing.fault.detail
        polls.poll(after=DEADLINE + GRACE + 0.5)
        wait_for_end(reader.pid)
        polls.poll(after=0.1)
        assert len(polls.until_answered().gpus) == 2


def test_a_slow_call_is_finished_before_the_reader_ends_on_term(driver):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader().pid
        driver.gpus[1].delay(MEMORY, 1_300_000)
        polls.poll()  # gives up after 1 s and sends SIGTERM
        wait_for_end(reader)
        assert driver.clients() == []
        assert driver.calls("nvmlShutdown") == 1


def test_release_lets_go_of_the_gpus_and_resume_takes_them_up_again(driver):
    with polling(driver) as polls:
        polls.until_answered()
        assert driver.clients() == [polls.reader().pid]
        polls.keeper.release()
        assert driver.clients() == []
        driver.gpus[0].reset()
        (missing,) = polls.poll().missing
        assert (missing.gpu, missing.fault.kind) == (None, FaultKind.RELEASED)
        assert driver.clients() == []
        polls.keeper.resume()
        assert len(polls.until_answered().gpus) == 2


def test_release_ends_a_reader_that_hangs(driver):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader().pid
        driver.gpus[0].hang(MEMORY, unkillable=True)
        polls.poll()
        polls.keeper.release()
        assert not psutil.pid_exists(reader)


def test_no_reader_outlives_a_parent_that_is_killed_even_inside_a_call_that_hangs(driver):
    program = (
        "from tests.nvml_polls import Polls; polls = Polls(deadline=60.0)\n"
        "polls.until_answered(); print(polls.reader().pid, flush=True); input(); polls.poll()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | driver.environment(),
        cwd=Path(vramwatch.__file__).parent.parent,
    ) as parent:
        reader = int(parent.stdout.readline())
        driver.reset_calls()
        driver.gpus[0].hang(MEMORY, unkillable=True)
        parent.stdin.write(b"go\n")
        parent.stdin.flush()
        driver.wait_for_calls(MEMORY)
        parent.kill()
    wait_until(lambda: not _lives(reader))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_parent_never_maps_the_driver_s_library(driver):
    with polling(driver) as polls:
        polls.until_answered()
        assert "libnvidia-ml" not in Path("/proc/self/maps").read_text()
        assert "libnvidia-ml" in Path(f"/proc/{polls.reader().pid}/maps").read_text()


def test_the_reader_is_small_and_inherits_nothing_but_its_pipes_and_slot(driver):
    with polling(driver) as polls:
        polls.until_answered()
        reader = polls.reader()
        assert reader.memory_info().rss / 1024 < MEMORY_KIB
        assert (
            reader.num_fds() <= 7
        )  # three standard ones, the slot twice, the answers, the test driver's state
        assert reader.cwd() == "/"


def test_a_ctrl_c_is_not_the_reader_s_to_follow(driver):
    with polling(driver) as polls:
        polls.until_answered()
        polls.reader().send_signal(signal.SIGINT)
        assert len(polls.poll().gpus) == 2


def test_the_reader_killed_at_random_moments_never_makes_a_reading_wrong():
    with FakeDriver(gpus=2) as driver:
        counts = kill_at_random(driver, rounds=40, seed=1)
    assert counts["kills"] == 40
    assert counts["gaps: crashed"] > 0


def test_many_polls_leave_no_descriptor_and_no_process_behind(driver):
    with polling(driver) as polls:
        polls.until_answered()
        before = psutil.Process().num_fds()
        for _ in range(3):
            polls.reader().kill()
            polls.poll()
            polls.now += 60.0
            polls.until_answered(EVERYTHING)
        assert psutil.Process().num_fds() == before
    assert psutil.Process().children() == []
