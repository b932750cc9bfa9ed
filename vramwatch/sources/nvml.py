"""nvml: real GPUs, read by a child process through NVIDIA's management library."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.clock import MonotonicClock
from vramwatch.core.model import Instant
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.driver.keeper import Keeper
from vramwatch.procfs import IdentifySocket, ProcessTable
from vramwatch.quantities import Duration


class Nvml(BaseModel):
    """Real GPUs, read through NVIDIA's management library in a process of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline: Annotated[Seconds, Duration("100ms", "1m")] = Field(
        Seconds(2.0),
        description="How long a poll may wait for the driver before the reader process is replaced.",
    )
    start_deadline: Annotated[Seconds, Duration("1s", "5m")] = Field(
        Seconds(15.0),
        description="How long the driver may take to open every GPU; it is slow without persistence mode.",
    )

    def open(self, newest: Instant | None) -> Feed:
        """Return the feed of this machine's GPUs; the first poll starts the reader."""
        keeper = Keeper(self.deadline, self.start_deadline)
        clock = MonotonicClock(newest.seq + 1 if newest else 1)
        return Feed(keeper, ProcessTable(others=IdentifySocket()), clock, live=True)
