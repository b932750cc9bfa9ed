"""What may take its time: jobs on APScheduler, away from the poll's thread."""

import logging
from collections.abc import Callable

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from vramwatch.core.units import Seconds

THREADS = 2
"""One job that is slow leaves a thread for the others; more would compete with the served model."""


class ColdJobs:
    """Runs each job every so often: late rather than twice, and never two of one kind at a time.

    APScheduler counts in wall time: after the clock was set back by two minutes an interval job is
    silent for two minutes. Whoever sees a step calls ``reschedule``.
    """

    def __init__(self) -> None:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a job that is skipped is no news
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(THREADS)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.start()

    def every(self, interval: Seconds, name: str, do: Callable[[], None]) -> None:
        """Run ``do`` every ``interval``; what it raises is logged by APScheduler and ends that run alone."""
        self._scheduler.add_job(do, "interval", seconds=interval, id=name)

    def reschedule(self) -> None:
        """Count every job's interval from the present wall time."""
        for job in self._scheduler.get_jobs():
            job.reschedule("interval", seconds=job.trigger.interval.total_seconds())

    def close(self) -> None:
        """Start no further job; one that runs is not waited for."""
        self._scheduler.shutdown(wait=False)
