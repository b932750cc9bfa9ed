"""The probe's promises: stages, the KV cache beside the formula, peaks foreseen and measured, variants."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.findings import Figures, Finding, at_most, told
from benchmarks.gpu.rig import MIB, Rig
from benchmarks.gpu.steps import Measured, Step, path_of
from benchmarks.gpu.steps import read as read_record
from vramwatch.core.units import show_bytes
from vramwatch.probe.children import run
from vramwatch.probe.experiment import Experiment
from vramwatch.probe.foreseen import dtype_of, formula, layers_at, parting
from vramwatch.probe.results import Ended, Result, read, to_json
from vramwatch.probe.variants import VARIANTS, Variant, compared, experiment_of

BATCHES = (1, 4, 16)
LLAMA_2_7B = 524_288
"""Bytes a token of its KV cache in fp16: 2 x 32 layers x 4,096 x 2 (vramwatch/models/llama-2-7b.json)."""
PEAK_GOAL = 5.0  # percent
BATCH_GOAL = 10.0  # percent
APART = 0.04
"""Of the largest batch: how close the two ends of the search come before it stops."""


@dataclass(frozen=True, slots=True)
class Size:
    """``room``: bytes that the search for the largest batch may fill; None: what is free."""

    experiment: Experiment
    long: Experiment
    bytes_per_token: int
    seconds: float  # that one run may take
    room: int | None = None


def _size(rig: Rig) -> Size:
    if rig.is_rehearsal:
        base = Experiment(device="cpu", prompt=32, tokens=8, requests=2)
        # 2 x 4 layers x 4 heads x 32 x 4 bytes: TINY of vramwatch/probe/families.py, in float32
        return Size(base, replace(base, prompt=64, requests=1), 4096, 20.0, 64 * MIB)
    base = Experiment("llama-2-7b", rig.device, "float16", prompt=512, tokens=64, is_full_size=True)
    return Size(base, replace(base, prompt=1024, tokens=8, requests=1), LLAMA_2_7B, 45.0)


def steps(part: str, rig: Rig, folder: Path) -> list[Step]:
    size = _size(rig)
    found = [Step("stages", size.seconds, _stages(size))]
    found += [Step(f"peak-{batch}", size.seconds, _peak(size, batch)) for batch in BATCHES]
    found.append(Step("largest-batch", 4 * size.seconds, _largest(size, rig, folder)))
    found += [Step(f"variant-{each.name}", size.seconds, _variant(size, each, folder)) for each in VARIANTS]
    return found


def _run(experiment: Experiment) -> Result:
    return run(experiment, lambda doing, done, of: None)


def _complete(experiment: Experiment) -> Result:
    """Errors: RuntimeError where it did not come to its end."""
    result = _run(experiment)
    if result.ended is not Ended.COMPLETE:
        raise RuntimeError(f"{result.ended}: {result.why}")
    return result


def _stages(size: Size) -> Callable[[float], Measured]:
    def step(_left: float) -> Measured:
        result = _complete(size.experiment)
        return Measured([*_memory(result), *cache_findings(result, size.bytes_per_token)], to_json(result))

    return step


def _memory(result: Result) -> Iterator[Finding]:
    for each in result.readings:
        figures = {"driver": each.driver, "reserved": each.reserved, "live": each.live, "peak": each.peak}
        said = ", ".join(
            f"{name} {show_bytes(value)}" for name, value in figures.items() if value is not None
        )
        yield Finding(f"{each.stage}", said)
    if result.tokens_per_second:
        yield told("speed", Figures((result.tokens_per_second,)), "tokens/s")


def cache_findings(result: Result, bytes_per_token: int) -> Iterator[Finding]:
    """Yield bytes a token of the traced cache, and whether formula and trace part anywhere."""
    each_token = {sum(one.logical) / (one.batch * one.tokens) for one in result.samples}
    said = ", ".join(f"{each:,.0f}" for each in sorted(each_token)) or "nothing was traced"
    is_so = each_token == {float(bytes_per_token)}
    yield Finding(
        f"KV cache a token, over {len(result.samples)} forward passes",
        f"{said} bytes",
        f"{bytes_per_token:,}",
        is_so,
    )
    caches = formula(result)
    parted = parting(result)
    if caches is None or not result.samples:
        yield Finding("formula against trace", "not compared", "equal", False)
    elif parted is not None:
        said = f"layer {parted.layer}: {parted.seen:,} seen, {parted.foreseen:,} foreseen"
        yield Finding("formula against trace", said, "equal", False)
    else:
        last = result.samples[-1]
        whole = sum(layers_at(caches, last, dtype_of(result)))
        yield Finding(
            "formula against trace, layer by layer", f"equal, at last {whole:,} bytes", "equal", True
        )


def _peak(size: Size, batch: int) -> Callable[[float], Measured]:
    def step(_left: float) -> Measured:
        result = _complete(replace(size.experiment, batch=batch, requests=1))
        return Measured(list(peak_findings(result)), to_json(result))

    return step


def peak_findings(result: Result) -> Iterator[Finding]:
    """Yield the peak that was foreseen and the one that was measured, and how far they are apart."""
    foreseen, measured = result.predicted_peak, result.peak
    if foreseen is None or not measured:
        yield Finding("peak", "it was not foreseen", "foreseen", False)
        return
    yield told("foreseen", Figures((foreseen / MIB,)), "MiB")
    yield told("measured, of torch's allocated bytes", Figures((measured / MIB,)), "MiB")
    yield at_most("apart", Figures((100 * abs(foreseen / measured - 1),)), PEAK_GOAL, "%")


# --- variants -------------------------------------------------------------------------------------


def _variant(size: Size, variant: Variant, folder: Path) -> Callable[[float], Measured]:
    def step(_left: float) -> Measured:
        result = _run(experiment_of(variant, size.experiment))
        return Measured(list(variant_findings(variant, result, _beside(variant, folder))), to_json(result))

    return step


def _beside(variant: Variant, folder: Path) -> Result | None:
    """Return what the variant is compared with, as an earlier step of this folder measured it."""
    record = read_record(path_of(folder, f"variant-{variant.beside}"))
    return None if record is None else read(record.raw)


def variant_findings(variant: Variant, result: Result, beside: Result | None) -> Iterator[Finding]:
    """Yield one line of figures, or why there are none, and one of words beside what it is compared with."""
    generate, release = result.at("generate"), result.at("release")
    if generate is None or release is None:
        yield Finding(variant.words, f"{result.ended}: {result.why}")
        return
    speed = f", {result.tokens_per_second:.1f} tokens/s" if result.tokens_per_second else ""
    yield Finding(
        variant.words,
        f"peak {show_bytes(generate.peak)}, after release {show_bytes(release.live)}, "
        f"KV held {show_bytes(generate.kv_resident)}{speed}",
    )
    words = compared(variant, result, beside) if beside else ""
    if words:
        yield Finding("compared", words)


# --- the largest batch ----------------------------------------------------------------------------


def _largest(size: Size, rig: Rig, folder: Path) -> Callable[[float], Measured]:
    def step(left: float) -> Measured:
        foreseen = _foreseen_batch(size, rig, folder)
        tries: dict[int, str] = {}

        def holds(batch: int) -> bool:
            experiment = replace(size.long, batch=batch, budget_bytes=size.room)
            result = _run(experiment)
            if result.ended not in {Ended.COMPLETE, Ended.OUT_OF_MEMORY}:
                raise RuntimeError(f"batch {batch}: {result.ended}: {result.why}")
            tries[batch] = str(result.ended)
            return result.ended is Ended.COMPLETE

        low, high = search(holds, foreseen, min(left, 4 * size.seconds) - size.seconds, time.monotonic)
        return Measured(
            list(batch_findings(size, foreseen, low, high)), {"foreseen": foreseen, "tries": tries}
        )

    return step


def _foreseen_batch(size: Size, rig: Rig, kept: Path) -> int:
    """Return what ``vramwatch plan`` says. Errors: CalledProcessError."""
    each = size.long
    where = ["--gpu", rig.uuid]
    if size.room is not None:
        where = ["--free", f"{size.room // MIB}MiB", "--overhead", "0MiB"]
    model = _model_path(each, kept)
    words = ["plan", model, "--context", str(each.prompt + each.tokens), "--prompt", str(each.prompt)]
    words += ["--dtype", "float32" if each.dtype == "auto" else each.dtype, "--formula", "--format", "json"]
    command = [sys.executable, "-m", "vramwatch", *words, *where]
    said: dict[str, Any] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return int(said["max_batch"])


def _model_path(experiment: Experiment, kept: Path) -> str:
    """Return what ``plan`` knows the model by: a tiny one is none of the catalogue, so it is written down."""
    from vramwatch.probe.families import TINY

    if experiment.model not in TINY:
        return experiment.model
    folder = kept / experiment.model
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(TINY[experiment.model])))
    return str(folder)


def search(
    holds: Callable[[int], bool], guess: int, seconds: float, clock: Callable[[], float]
) -> tuple[int, int | None]:
    """Return the largest batch that held and the smallest that did not (None: all held).

    Begins at ``guess``, goes up or down by a tenth until it is between two, and halves; no try is begun
    after ``seconds``. 0 held if not even the smallest that was tried did.
    """
    until = clock() + seconds
    low, high = 0, None
    batch = max(1, guess)
    while True:
        if holds(batch):
            low = batch
        else:
            high = batch
        if high is None:
            batch = low + max(1, low // 10)
        elif low == 0:
            batch = high - max(1, high // 10)
        else:
            batch = (low + high) // 2
        is_close = high is not None and low > 0 and high - low <= max(1, APART * low)
        if is_close or batch < 1 or clock() > until:
            return low, high


def batch_findings(size: Size, foreseen: int, low: int, high: int | None) -> Iterator[Finding]:
    """Yield what plan foresaw, what was found, and how far it is from the nearer end."""
    context = size.long.prompt + size.long.tokens
    yield told(f"foreseen by vramwatch plan, context {context}", Figures((float(foreseen),)))
    found = f"{low} ran, {'nothing failed' if high is None else f'{high} did not'}"
    yield Finding("found by trying", found)
    if low:
        apart = Figures((100 * abs(foreseen / low - 1),))
        yield at_most("apart from the largest that ran", apart, BATCH_GOAL, "%")
