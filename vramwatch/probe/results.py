"""What one run found out. Pure; the form in which it is stored and compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from vramwatch.probe.experiment import Experiment, from_json
from vramwatch.sdk.tracing import Sample


class Ended(StrEnum):
    """How a run ended. Running out of memory is a result like another."""

    COMPLETE = "complete"
    OUT_OF_MEMORY = "out of memory"
    NOT_HERE = "not here"  # it needs what this machine lacks
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory at the end of one stage, in bytes. None: there is nobody here who could tell."""

    stage: str  # baseline, load, generate, release, unload
    seconds: float  # since the start of the run
    tensors: int | None = None  # live tensor storages, as a dispatch mode sees them (CPU)
    allocated: int | None = None  # torch's CUDA allocator, and so to inactive_split
    reserved: int | None = None
    inactive_split: int | None = None
    driver: int | None = None  # what NVML says this process holds
    peak: int | None = None  # of the stage: of allocated on a GPU, else of tensors
    kv_logical: int = 0
    kv_resident: int = 0
    rss: int = 0

    @property
    def live(self) -> int:
        """Return the bytes of live tensors, by whoever counts them here."""
        return self.tensors if self.allocated is None else self.allocated  # type: ignore[return-value]

    @property
    def rest(self) -> int | None:
        """Return what the driver says beyond torch: context, kernels, other libraries."""
        return None if self.driver is None or self.reserved is None else self.driver - self.reserved


@dataclass(frozen=True, slots=True)
class Remnant:
    """Memory that did not come back. ``where``: "layers 0 to 3", the module that made it."""

    what: str  # "KV cache of request 2", "tensors made by aten.mul"
    where: str
    size: int  # bytes
    held_by: str  # "a list", "a saved RuntimeError"; empty: not found


@dataclass(frozen=True, slots=True)
class Result:
    experiment: Experiment
    ended: Ended
    why: str = ""  # where it is not complete
    environment: Mapping[str, str] = field(default_factory=dict)
    readings: tuple[Reading, ...] = ()
    floors: tuple[int, ...] = ()  # live bytes after each request, once it was released
    samples: tuple[Sample, ...] = ()
    windows: tuple[int | None, ...] = ()
    alive: tuple[tuple[int, tuple[int, ...]], ...] = ()  # requests whose caches are held, bytes by layer
    remnants: tuple[Remnant, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # the model's, as its config.json
    look_seconds: float | None = None  # of one look at the cache, on average
    weights: int | None = None  # bytes of parameters and buffers
    tokens_per_second: float | None = None
    predicted_peak: int | None = None  # before anything ran

    def at(self, stage: str) -> Reading | None:
        return next((each for each in self.readings if each.stage == stage), None)

    @property
    def peak(self) -> int | None:
        """Return the peak of the generate stage in bytes."""
        reading = self.at("generate")
        return None if reading is None else reading.peak


def to_json(result: Result) -> dict[str, Any]:
    return asdict(result) | {
        "samples": [list(each) for each in result.samples],
        "environment": dict(result.environment),
        "config": dict(result.config),
    }


def read(given: Mapping[str, Any]) -> Result:
    """Return the result that ``to_json`` wrote. Errors: KeyError, TypeError, ValueError where it did not."""
    known = {each.name for each in fields(Result)}
    values = {name: value for name, value in given.items() if name in known}
    values["experiment"] = from_json(values["experiment"])
    values["ended"] = Ended(values["ended"])
    values["environment"] = dict(values.get("environment") or {})
    values["config"] = dict(values.get("config") or {})
    values["readings"] = tuple(Reading(**each) for each in values.get("readings", ()))
    values["floors"] = tuple(values.get("floors", ()))
    values["samples"] = tuple(_sample(each) for each in values.get("samples", ()))
    values["windows"] = tuple(values.get("windows", ()))
    values["alive"] = tuple((request, tuple(layers)) for request, layers in values.get("alive", ()))
    values["remnants"] = tuple(Remnant(**each) for each in values.get("remnants", ()))
    return Result(**values)


def _sample(given: Any) -> Sample:
    request, forward, batch, tokens, slots, logical, resident, grad = given
    return Sample(request, forward, batch, tokens, tuple(slots), tuple(logical), tuple(resident), grad)
