"""Jobs that may take their time, under a wall clock that steps."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from vramwatch.cold import ColdJobs
from vramwatch.core.units import Seconds


@pytest.fixture
def cold():
    jobs = ColdJobs()
    yield jobs
    jobs.close()


def test_a_job_runs_every_interval(cold):
    ran = threading.Semaphore(0)
    cold.every(Seconds(0.05), "count", ran.release)
    assert all(ran.acquire(timeout=5) for _ in range(3))


def test_after_the_clock_was_set_back_a_job_is_not_silent_until_its_old_time_comes(cold):
    ran = threading.Event()
    cold.every(Seconds(0.1), "count", ran.set)
    for job in cold._scheduler.get_jobs():  # where two hours back leave its next time
        job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=2))
    ran.clear()
    cold.reschedule()
    assert ran.wait(5)


def test_a_job_that_raises_runs_again(cold):
    ran = threading.Semaphore(0)

    def fail():
        ran.release()
        raise OSError("the disk is gone")

    cold.every(Seconds(0.05), "fail", fail)
    assert all(ran.acquire(timeout=5) for _ in range(2))
