"""The stages of one run: baseline, load, generate, release, unload."""

import contextlib
import gc
import json
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils._python_dispatch import _disable_current_modes

from vramwatch.probe import dry_run, here, remains
from vramwatch.probe.experiment import Asked, Decoding, Experiment, Planted, requests_of
from vramwatch.probe.meters import Meters
from vramwatch.probe.models import build, config_of, device_of, weight_bytes
from vramwatch.probe.results import Ended, Reading, Remnant, Result
from vramwatch.probe.serving import prompt_of, serve
from vramwatch.probe.tensors import LiveTensors
from vramwatch.sdk.tracing import Trace, trace_kv, windows

Progress = Callable[[str, int, int], None]
"""What is being done, and which part of how many it is."""

OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""How torch words it where it has no exception of its own: the CPU's allocator raises RuntimeError."""


def run(experiment: Experiment, progress: Progress) -> Result:
    """Run ``experiment`` here and now. Errors: UsageError for a model, device or dtype that is not there."""
    device = device_of(experiment)
    lacks = here.lacks(experiment, device)
    if lacks:
        return Result(experiment, Ended.NOT_HERE, lacks, _environment(device))
    return Run(experiment, device, progress).result()


class Run:
    """One run in the making; what it has read so far is kept if memory runs out."""

    def __init__(self, experiment: Experiment, device: torch.device, progress: Progress) -> None:
        self._experiment = experiment
        self._device = device
        self._progress = progress
        self._steps = experiment.requests + 3  # predicting, loading, each request, the speed
        self._config = config_of(experiment)
        self._trace = Trace(windows(self._config))
        budget = experiment.budget_bytes
        self._tensors = LiveTensors(budget) if device.type == "cpu" else None
        if device.type == "cuda" and budget is not None:
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total), device)
        self._meters = Meters(device, self._tensors, self._trace)
        self._readings: list[Reading] = []
        self._floors: list[int] = []
        self._remnants: list[Remnant] = []
        self._alive: list[tuple[int, tuple[int, ...]]] = []
        self._held: list[Any] = []  # what this server keeps of its requests, if it does
        self._weights: int | None = None
        self._speed: float | None = None
        self._predicted: int | None = None

    def result(self) -> Result:
        ended, why = Ended.COMPLETE, ""
        try:
            self._progress("predicting", 0, self._steps)
            self._predicted = dry_run.peak(self._experiment, self._config, self._device)
            with self._tensors or contextlib.nullcontext():
                self._stages()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            ended, why = Ended.OUT_OF_MEMORY, str(error).splitlines()[0]
            stage = "generate" if self._weights is not None else "load"
            self._readings.append(self._meters.read(stage, is_broken=True))
        return Result(
            experiment=self._experiment,
            ended=ended,
            why=why,
            environment=_environment(self._device),
            readings=tuple(self._readings),
            floors=tuple(self._floors),
            samples=tuple(self._trace.samples),
            windows=self._trace.windows,
            alive=tuple(self._alive),
            remnants=tuple(self._remnants),
            config=json.loads(self._config.to_json_string(use_diff=False)),
            look_seconds=self._trace.overhead_seconds / max(1, self._trace.forwards),
            weights=self._weights,
            tokens_per_second=self._speed,
            predicted_peak=self._predicted,
        )

    def _stages(self) -> None:
        self._settle()
        self._read("baseline")
        self._progress("loading the model", 1, self._steps)
        model: Any = build(self._experiment, self._config, self._device)
        self._weights = weight_bytes(model)
        if self._tensors is not None:
            self._tensors.follow(model)
        self._read("load")
        mark = self._tensors.mark() if self._tensors else 0
        self._requests(model)
        self._alive = self._trace.alive()
        self._remnants = remains.caches(self._trace)
        if self._tensors is not None:
            self._remnants += remains.others(self._tensors, mark, self._trace)
        self._read("release")
        del model
        self._settle()
        self._read("unload")

    def _requests(self, model: Any) -> None:
        asked = requests_of(self._experiment)
        vocabulary = self._config.get_text_config(decoder=True).vocab_size
        self._meters.begin()
        for place, each in enumerate(asked):
            self._progress(f"request {place + 1} of {len(asked)}", 2 + place, self._steps)
            output = self._serve(model, each, vocabulary)
            if place == len(asked) - 1:
                self._readings.append(self._meters.read("generate"))
            if self._experiment.retains:
                self._held.append(output)
            del output
            self._settle()
            self._floors.append(self._meters.live())
        self._progress("measuring the speed", self._steps - 1, self._steps)
        self._speed = self._timed(model, asked[0], vocabulary)
        self._settle()
        self._meters.begin()

    def _serve(self, model: Any, asked: Asked, vocabulary: int) -> Any:
        ids = prompt_of(asked, vocabulary, self._experiment.seed, self._device)
        with trace_into(self._trace, model):
            try:
                return serve(model, self._experiment, asked, ids)
            except RuntimeError as error:
                if self._experiment.planted is not Planted.SAVED_EXCEPTION:
                    raise
                self._held.append(error)
                return None

    def _timed(self, model: Any, asked: Asked, vocabulary: int) -> float | None:
        """Return new tokens a second of one request more, which nobody counts or traces."""
        if self._experiment.planted is Planted.SAVED_EXCEPTION:
            return None
        with _unwatched():
            ids = prompt_of(asked, vocabulary, self._experiment.seed, self._device)
            begun = time.perf_counter()
            serve(model, self._experiment, asked, ids)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            seconds = time.perf_counter() - begun
        each = asked.prompt if self._experiment.decoding is Decoding.TRAINING else asked.tokens
        return asked.batch * each / seconds

    def _settle(self) -> None:
        gc.collect()
        if self._device.type == "cuda" and self._experiment.empties:
            torch.cuda.empty_cache()

    def _read(self, stage: str) -> None:
        self._readings.append(self._meters.read(stage))
        self._meters.begin()


class trace_into(trace_kv):
    """Trace into a trace that goes on over many requests, every forward pass."""

    def __init__(self, trace: Trace, model: Any) -> None:
        super().__init__(model, share=None)
        self.trace = trace


def _unwatched() -> Any:
    """Return a context in which no dispatch mode sees what is done."""
    return _disable_current_modes()


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(each in str(error).lower() for each in OUT_OF_MEMORY)


def _environment(device: torch.device) -> dict[str, str]:
    """Return what a figure may depend on."""
    told = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": "cpu",
    }
    if device.type == "cuda":
        told["device"] = torch.cuda.get_device_name(device)
        told["cuda"] = str(torch.version.cuda)
        told |= _driver()
    return told


def _driver(told: Path = Path("/proc/driver/nvidia/version")) -> dict[str, str]:
    """Return the driver's version; nothing where it does not tell. Source: its README, "NVRM version"."""
    try:
        first = told.read_text().partition("\n")[0]
    except OSError:
        return {}
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", first)
    return {"driver": found[0]} if found else {}
