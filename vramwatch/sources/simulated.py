"""A believable GPU server from a scenario file: to try vramwatch, and to test it, without a GPU."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.model import Ask, Fault, FaultKind, Instant, Missing, ProcessFacts, Readings
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.scenario.clock import SimulatedClock
from vramwatch.scenario.schema import Duration, load_scenario
from vramwatch.scenario.server import UPTIME, Server


class Simulated(BaseModel):
    """The options of the simulated source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: Path | None = Field(
        None, description="A scenario file (YAML); none: the server of four GPUs that ships with vramwatch."
    )
    seed: int | None = Field(
        None, description="Chooses what the scenario leaves open; none: the scenario's own."
    )
    speed: float = Field(
        1.0,
        gt=0,
        description="Simulated seconds per second while it is behind the present; inf: without waiting.",
    )
    start: Duration = Field(Seconds(0), description="How long before now the simulated time begins, e.g. 2h.")
    duration: Duration | None = Field(
        None, description="How much simulated time there is; none: without end."
    )

    def open(self, first_seq: int) -> Feed:
        """Return the feed of a server that has just been started.

        Errors: UsageError, when the scenario file cannot be read or is not a scenario.
        """
        scenario = load_scenario(self.scenario)
        seed = scenario.seed if self.seed is None else self.seed
        begin = time() - self.start
        boot_id = f"simulated:{seed}:{begin:.3f}"
        server = _Reads(Server(scenario, seed, boot_id, booted=begin - UPTIME))
        clock = SimulatedClock(
            begin=begin,
            boot_id=boot_id,
            first_seq=first_seq,
            speed=self.speed,
            start=self.start,
            duration=self.duration,
        )
        return Feed(source=server, people=server, clock=clock, live=False)


@dataclass(slots=True)
class _Reads:
    """The Source and the People of one simulated server."""

    server: Server
    is_released: bool = False

    def read(self, at: Instant, ask: Ask) -> Readings:
        if self.is_released:
            released = Fault(FaultKind.RELEASED, "the simulated GPUs were released")
            return Readings(missing=tuple(Missing(gpu, released) for gpu in self.server.gpus))
        return self.server.readings(_time(at), ask)

    def facts(self, pids: Collection[int], at: Instant) -> Mapping[int, ProcessFacts]:
        return {pid: self.server.facts(pid, _time(at)) for pid in pids}

    def release(self) -> None:
        self.is_released = True

    def resume(self) -> None:
        self.is_released = False

    def close(self) -> None:
        """A simulated server holds nothing open."""


def _time(at: Instant) -> Seconds:
    return Seconds(at.boottime - UPTIME)
