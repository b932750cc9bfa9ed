"""nvml: real GPUs, read by a child process through NVIDIA's management library."""

import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.clock import MonotonicClock
from vramwatch.core.model import Ask, FaultKind, Instant, Readings
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.driver.keeper import Keeper
from vramwatch.procfs import ProcessTable
from vramwatch.quantities import Duration

TRY_AGAIN = Seconds(0.1)
"""Between two looks of ``first_answer`` at a reader that is starting or was lost."""


class Nvml(BaseModel):
    """Real GPUs, read through NVIDIA's management library in a process of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline: Annotated[Seconds, Duration("100ms", "1m")] = Field(
        Seconds(2.0),
        description="How long one poll may wait for the driver before its reader is ended and replaced.",
    )
    start_deadline: Annotated[Seconds, Duration("1s", "5m")] = Field(
        Seconds(15.0),
        description="How long the driver may take to open every GPU; slow without persistence mode.",
    )

    def open(self, first_seq: int) -> Feed:
        """Return the feed of this machine's GPUs; the first poll starts the reader."""
        keeper = Keeper(self.deadline, self.start_deadline)
        return Feed(keeper, ProcessTable(), MonotonicClock(first_seq), live=True)


def first_answer(feed: Feed, within: Seconds = Seconds(5.0)) -> tuple[Instant, Readings]:
    """Return the first real answer of ``feed``, for verbs that look once; the feed is left open.

    An answer is real when it has a Gpu or says for certain that there is none (NO_DRIVER). After
    ``within`` seconds it is what was said last.
    """
    until = time.monotonic() + within
    while True:
        at = feed.clock.now()
        readings = feed.source.read(at, Ask())
        is_certain = any(missing.fault.kind is FaultKind.NO_DRIVER for missing in readings.missing)
        if readings.gpus or is_certain or time.monotonic() >= until:
            return at, readings
        time.sleep(TRY_AGAIN)
