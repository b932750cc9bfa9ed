"""What a scenario file may say: the GPUs of a server, its processes, and how their memory moves.

A scenario is YAML that anyone can write; ``default.yaml`` beside this file shows every word. Sizes are
written like ``12GiB``, durations like ``90s`` or ``1h30m``; a bare number is bytes or seconds.
"""

from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vramwatch import quantities
from vramwatch.core.errors import UsageError
from vramwatch.core.model import GhostKind
from vramwatch.core.units import MIB, TIB, Bytes, Seconds, parse_bytes, show_bytes

DEFAULT_SCENARIO = Path(__file__).with_name("default.yaml")
LARGEST_FILE = MIB  # a scenario is written by hand; a larger file is something else
LARGEST_SERVER = 64  # GPUs, and processes a scenario may name: eight times a large server
LARGEST_TENANCY = 1024
LARGEST_SIZE = 1024 * TIB  # more than any server has, and exact as a float
LONGEST = "3650d"  # ten years: more than any simulated server lives
MOST_REQUESTS = 1_000_000  # a second, or at once


def _size(value: Any) -> Any:
    return parse_bytes(value) if isinstance(value, str) else value


Size = Annotated[Bytes, BeforeValidator(_size), Field(ge=0, le=LARGEST_SIZE)]
Duration = Annotated[Seconds, quantities.Duration("0s", LONGEST)]
Period = Annotated[Seconds, quantities.Duration("1ms", LONGEST)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Load(_Strict):
    """The requests that reach a process: a curve between ``low`` and ``peak``, lowest at time 0."""

    low: float = Field(0.0, ge=0, le=MOST_REQUESTS, description="fewest requests per second")
    peak: float = Field(ge=0, le=MOST_REQUESTS, description="most requests per second")
    period: Period = Field(description="from one trough of the load to the next")
    service: Period = Field(description="how long one request runs")
    slots: int = Field(64, ge=1, le=MOST_REQUESTS, description="requests that run at once; the others wait")
    jitter: float = Field(
        0.2, ge=0, le=1, description="share by which the running requests vary around the curve"
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low > self.peak:
            raise ValueError(f"low ({self.low}) is above peak ({self.peak})")
        return self


class Preallocate(_Strict):
    """Taken at the start of a life and kept: weights, a KV pool."""

    size: Size
    over: Duration = Field(Seconds(0), description="how long taking it lasts")


class Cycle(_Strict):
    """Something that comes once in every ``every``, at a moment that the seed chooses, and ``lasts``."""

    every: Period
    lasts: Period

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lasts > self.every:
            raise ValueError(f"lasts ({self.lasts:g} s) is longer than every ({self.every:g} s)")
        return self


class LoadUnload(Cycle):
    """A model that is loaded for a while and unloaded again by the same process."""

    size: Size


class Spikes(Cycle):
    """Short-lived memory: an activation peak, a long prompt."""

    size: Size


class Leak(_Strict):
    """Memory that is never given back."""

    per_hour: Size = Bytes(0)
    per_request: Size = Bytes(0)


class Kv(_Strict):
    """A KV cache that is taken and given back with the requests that run."""

    per_request: Size


class MemoryPlan(_Strict):
    """What one process holds; the parts add up, and the driver rounds up to whole 2 MiB."""

    context: Size = Field(Bytes(0), description="the CUDA context, libraries and kernels")
    preallocate: Preallocate | None = None
    load_unload: LoadUnload | None = None
    leak: Leak | None = None
    kv: Kv | None = None
    spikes: Spikes | None = None


class Life(_Strict):
    """When a process exists. Without ``every`` it lives once."""

    starts: Duration = Field(Seconds(0), description="when it first starts")
    lasts: Period | None = Field(None, description="how long it lives; none: for ever")
    every: Period | None = Field(None, description="starts again, as a new process, once in every such time")
    ghost: GhostKind | None = Field(None, description="how it exits without giving its bytes back")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.lasts is None and (self.every or self.ghost):
            raise ValueError(
                "every and ghost need lasts: a process that lives for ever neither returns nor exits"
            )
        if self.every and self.lasts and self.lasts > self.every:
            raise ValueError(f"lasts ({self.lasts:g} s) is longer than every ({self.every:g} s)")
        if self.every and self.ghost:
            raise ValueError("every and ghost exclude each other: each life would leave its bytes for ever")
        return self


class ContainerPlan(_Strict):
    name: Name
    image: Name | None = None
    compose_project: Name | None = None
    compose_service: Name | None = None


class PodPlan(_Strict):
    name: Name
    namespace: Name
    container: Name


class ProcessPlan(_Strict):
    """One process of the server. Without ``gpu`` it holds no GPU memory: a parent, an API server."""

    name: Name = Field(description="what other processes of this file call it, as their parent")
    argv: tuple[str, ...] = Field(min_length=1, max_length=64)
    title: Name | None = Field(None, description="what it calls itself; default: its argv")
    user: Name = "root"
    uid: int = Field(0, ge=0)
    unit: Name | None = None
    container: ContainerPlan | None = None
    pod: PodPlan | None = None
    parent: Name | None = Field(None, description="the name of the process that started it")
    gpu: int | None = Field(None, ge=0, description="the GPU it runs on, counted from 0")
    torch: bool = Field(False, description="it reports what torch's allocator holds")
    life: Life = Life()
    load: Load | None = None
    memory: MemoryPlan = MemoryPlan()

    @model_validator(mode="after")
    def _can_follow_its_load(self) -> Self:
        asks = self.memory.kv or (self.memory.leak and self.memory.leak.per_request)
        if asks and self.load is None:
            raise ValueError("kv and leak.per_request need a load: they follow the requests")
        if self.gpu is None and self.memory != MemoryPlan():
            raise ValueError("memory needs a gpu to be held on")
        return self


class GpuPlan(_Strict):
    """One GPU. ``overhead`` is used, and listed for no process."""

    name: Name
    total: Size
    reserved: Size = Bytes(0)
    overhead: Size = Field(Bytes(4 * MIB), description="what the driver uses outside every process")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.reserved + self.overhead > self.total:
            raise ValueError(f"reserved and overhead exceed the total of {show_bytes(self.total)}")
        return self


class Scenario(_Strict):
    """A server and everything that happens on it."""

    seed: int = Field(0, description="chooses every moment and size that the file leaves open")
    gpus: tuple[GpuPlan, ...] = Field(min_length=1, max_length=LARGEST_SERVER)
    processes: tuple[ProcessPlan, ...] = Field((), max_length=LARGEST_TENANCY)

    @model_validator(mode="after")
    def _refers_to_itself_alone(self) -> Self:
        named: set[str] = set()
        for process in self.processes:
            if process.name in named:
                raise ValueError(f"two processes are called {process.name!r}")
            if process.parent is not None and process.parent not in named:
                raise ValueError(
                    f"{process.name!r}: its parent {process.parent!r} must stand above it in the file"
                )
            if process.gpu is not None and process.gpu >= len(self.gpus):
                raise ValueError(
                    f"{process.name!r}: there is no gpu {process.gpu}; the last is {len(self.gpus) - 1}"
                )
            named.add(process.name)
        return self


def load_scenario(path: Path | None) -> Scenario:
    """Return the scenario of the file at ``path``, or the one that ships with vramwatch (None).

    Errors: UsageError, every fault on a line of its own as ``file: path: what is wrong``.
    """
    file = path or DEFAULT_SCENARIO
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; give the path of a scenario file") from error
    if len(text) > LARGEST_FILE:
        raise UsageError(f"{file}: larger than {show_bytes(LARGEST_FILE)}; a scenario is a short YAML file")
    try:
        return Scenario.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise UsageError("\n".join(f"{file}: {_placed(fault)}" for fault in error.errors())) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or number that is none
        raise UsageError(f"{file}: not YAML: {error}") from error


def _placed(fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"]) or "scenario"
    return f"{path}: {fault['msg'].removeprefix('Value error, ')}"
