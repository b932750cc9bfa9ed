"""A believable GPU server from a scenario file: to try vramwatch, and to test it, without a GPU."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time

from pydantic import BaseModel, ConfigDict, Field

from vramwatch.core.model import Ask, Fault, FaultKind, Instant, Missing, ProcessFacts, Readings
from vramwatch.core.ports import Feed
from vramwatch.core.units import Seconds
from vramwatch.scenario.clock import SimulatedClock
from vramwatch.scenario.schema import Duration, Scenario, load_scenario
from vramwatch.scenario.server import UPTIME, Server


class Simulated(BaseModel):
    """The options of the simulated source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: Path | None = Field(
        None, description="A scenario file (YAML); null: the built-in server with four GPUs."
    )
    seed: int | None = Field(None, description="The random seed; null: the scenario's own.")
    speed: float = Field(
        1.0,
        gt=0,
        description="Simulated seconds per second until the present is reached; inf: as fast as possible.",
    )
    start: Duration = Field(
        Seconds(0),
        description="How long before now it begins, as in 2h; what is stored already is not repeated.",
    )
    duration: Duration | None = Field(None, description="How much time is simulated; null: no limit.")

    def open(self, newest: Instant | None) -> Feed:
        """Return the feed of the server that the poll ``newest`` was read from, else of one just started.

        A server lives on while its scenario and seed are the same, also while nobody looks; no moment up to
        ``newest`` is read again. Errors: UsageError, when the scenario file cannot be read or is none.
        """
        scenario = load_scenario(self.scenario)
        seed = scenario.seed if self.seed is None else self.seed
        kind = f"simulated:{seed}:{_fingerprint(scenario)}"
        now = time()
        first = round(now - self.start, 3)  # from when on it is to be played, unix seconds
        known = _begun(newest, kind)
        begin = _after(newest, first, now) if known is None else known
        asked = Seconds(first - begin)
        read = Seconds(newest.boottime - UPTIME) if newest and known is not None else Seconds(0)
        boot_id = f"{kind}:{begin:.3f}"
        server = _Reads(Server(scenario, seed, boot_id, booted=begin - UPTIME))
        clock = SimulatedClock(
            begin=begin,
            boot_id=boot_id,
            first_seq=newest.seq + 1 if newest else 1,
            speed=self.speed,
            start=Seconds(now - begin),
            reached=max(asked, read),
            is_read=known is not None and read >= asked,
            end=None if self.duration is None else Seconds(asked + self.duration),
        )
        return Feed(source=server, people=server, clock=clock, live=False)


def _fingerprint(scenario: Scenario) -> str:
    """Return what tells one scenario from another, that a changed one is no server that was seen before."""
    return sha256(scenario.model_dump_json().encode()).hexdigest()[:8]


def _begun(newest: Instant | None, kind: str) -> float | None:
    """Return when the server of ``newest`` began, unix seconds; None: it is none of ``kind``."""
    its_kind, _, begin = newest.boot_id.rpartition(":") if newest else ("", "", "")
    return float(begin) if its_kind == kind else None


def _after(newest: Instant | None, first: float, now: float) -> float:
    """Return when another server may begin: at ``first``, and not before what is stored."""
    return first if newest is None else max(first, round(min(newest.wall, now), 3))


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
