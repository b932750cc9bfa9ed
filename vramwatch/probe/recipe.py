"""The published procedure that many follow, and each of its claims held against a run. Pure.

The procedure: load in float16 with low_cpu_mem_usage, empty_cache, read what GPU 0 holds as a whole, draw 50
new tokens with generate, read again; then once more with infer_auto_device_map and dispatch_model. As written
the second form has its inputs on another device than the model, no dtype, and no max_memory, and both count
whoever else is on GPU 0. Here each run reads what its own process holds, inputs lie where the model does, and
the device map leaves the KV cache its room.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vramwatch.core.units import show_bytes
from vramwatch.probe.experiment import Decoding, Experiment, Grad
from vramwatch.probe.foreseen import parting
from vramwatch.probe.results import Ended, Result

CONFIRMED, REFUTED, NO_EFFECT, NOT_HERE = "confirmed", "refuted", "no effect here", "not here"

LARGE = 8
"""Sequences of the batch that is too large: any number above one shows what a batch costs."""

_LOOP = {"decoding": Decoding.LOOP}
_TRAINING = {"decoding": Decoding.TRAINING, "grad": Grad.ON, "trains": True, "uses_cache": False}

RUNS: Mapping[str, Mapping[str, Any]] = {
    "as published": {"grad": Grad.ON},
    "no_grad": {"grad": Grad.NO_GRAD},
    "large batch": {"grad": Grad.ON, "batch": LARGE},
    "no cache": {"grad": Grad.ON, "uses_cache": False},
    "train mode": {"grad": Grad.ON, "trains": True},
    "checkpointing": {"grad": Grad.ON, "checkpoints": True},
    "loop": _LOOP | {"grad": Grad.NO_GRAD},
    "loop with gradients": _LOOP | {"grad": Grad.ON},
    "training": _TRAINING,
    "training with checkpointing": _TRAINING | {"checkpoints": True},
    "int8": {"grad": Grad.ON, "weights": "bitsandbytes-int8"},
    "split": {"grad": Grad.ON, "device_map": "split"},
}
"""Name of a run -> what it changes in the experiment."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``kind``: cause, remedy or comment; ``word``: confirmed, refuted, no effect here, not here."""

    kind: str
    claim: str
    word: str
    sentence: str


def experiments(base: Experiment) -> dict[str, Experiment]:
    """Return the runs of the recipe, by name; ``base`` says on which model, and its size."""
    plain = replace(base, dtype="float16", requests=1, samples=True)
    return {name: replace(plain, **change) for name, change in RUNS.items()}


def verdicts(results: Mapping[str, Result]) -> list[Verdict]:
    """Return one verdict for each claim, of ``results`` by the names of RUNS."""
    return [
        Verdict(kind, claim, *judge(results))
        if _has_run(results, needs)
        else _not_here(kind, claim, results, needs)
        for kind, claim, needs, judge in CLAIMS
    ]


def _has_run(results: Mapping[str, Result], needs: tuple[str, ...]) -> bool:
    return all(results[name].ended is Ended.COMPLETE for name in needs)


def _not_here(kind: str, claim: str, results: Mapping[str, Result], needs: tuple[str, ...]) -> Verdict:
    lacking = next(results[name] for name in needs if results[name].ended is not Ended.COMPLETE)
    word = NOT_HERE if lacking.ended is Ended.NOT_HERE else str(lacking.ended)
    return Verdict(kind, claim, word, lacking.why)


Judged = tuple[str, str]
"""Word and sentence."""


def _peak(result: Result) -> int:
    return result.peak or 0


def _beside(what: str, one: Result, other: Result) -> str:
    """Return both peaks and both speeds in words."""
    speeds = [each.tokens_per_second or 0.0 for each in (one, other)]
    return (
        f"{what}: peak {show_bytes(_peak(one))} instead of {show_bytes(_peak(other))} "
        f"({show_bytes(_peak(one) - _peak(other), signed=True)}), "
        f"{speeds[0]:.0f} instead of {speeds[1]:.0f} tokens/s"
    )


def _same_or(word: str, what: str, one: Result, other: Result) -> Judged:
    return (NO_EFFECT if _peak(one) == _peak(other) else word), _beside(what, one, other)


def _cache_released(results: Mapping[str, Result]) -> Judged:
    result = results["as published"]
    generate, load, release = (result.at(stage) for stage in ("generate", "load", "release"))
    kv = generate.kv_resident if generate else 0
    left = max(0, release.live - load.live) if release and load else 0
    sentence = (
        f"the KV cache took {show_bytes(kv)}, and {show_bytes(left)} are held once generate has returned"
    )
    return (CONFIRMED if left >= kv > 0 else REFUTED), sentence


def _batch(results: Mapping[str, Result]) -> Judged:
    large, one = results["large batch"], results["as published"]
    word = CONFIRMED if _peak(large) > _peak(one) else REFUTED
    return word, _beside(f"a batch of {large.experiment.batch}", large, one)


def _smaller_batch(results: Mapping[str, Result]) -> Judged:
    large, one = results["large batch"], results["as published"]
    word = CONFIRMED if _peak(large) > _peak(one) else REFUTED
    return word, _beside(f"a batch of {one.experiment.batch}, not {large.experiment.batch}", one, large)


def _gradients(results: Mapping[str, Result]) -> Judged:
    carries = any(each.carries_grad for each in results["as published"].samples)
    own = _beside("in a loop of one's own", results["loop with gradients"], results["loop"])
    return (
        CONFIRMED if carries else REFUTED
    ), f"generate is no_grad itself and its cache carries none; {own}"


def _no_grad(results: Mapping[str, Result]) -> Judged:
    return _same_or(CONFIRMED, "generate within no_grad", results["no_grad"], results["as published"])


def _tracing(results: Mapping[str, Result]) -> Judged:
    result = results["as published"]
    part = parting(result)
    word = CONFIRMED if result.samples and part is None else REFUTED
    return word, (
        f"{len(result.samples)} forward passes of {len(result.windows)} layers traced, "
        f"{'to the byte as the formula has them' if part is None else 'apart from the formula'}"
    )


def _no_cache(results: Mapping[str, Result]) -> Judged:
    _, released = _cache_released(results)
    during = _beside("set before it", results["no cache"], results["as published"])
    return NO_EFFECT, f"set after generate it frees nothing: {released}; {during}"


def _checkpointing(results: Mapping[str, Result]) -> Judged:
    word, sentence = _same_or(CONFIRMED, "in generate", results["checkpointing"], results["as published"])
    training = _beside("in a training step", results["training with checkpointing"], results["training"])
    return word, f"{sentence}; {training}"


def _int8(results: Mapping[str, Result]) -> Judged:
    return _same_or(CONFIRMED, "weights in int8", results["int8"], results["as published"])


def _split(results: Mapping[str, Result]) -> Judged:
    return _same_or(CONFIRMED, "on the first GPU", results["split"], results["as published"])


def _eval(results: Mapping[str, Result]) -> Judged:
    return _same_or(CONFIRMED, "in eval mode, not train mode", results["as published"], results["train mode"])


CLAIMS: tuple[tuple[str, str, tuple[str, ...], Callable[[Mapping[str, Result]], Judged]], ...] = (
    ("cause", "the KV cache is not released", ("as published",), _cache_released),
    ("cause", "the batch is too large", ("large batch", "as published"), _batch),
    ("cause", "gradients accumulate", ("as published", "loop", "loop with gradients"), _gradients),
    ("remedy", "a smaller, dynamic batch", ("large batch", "as published"), _smaller_batch),
    ("remedy", "no_grad with empty_cache", ("no_grad", "as published"), _no_grad),
    ("remedy", "splitting the model over GPUs", ("split", "as published"), _split),
    ("comment", "trace the KV cache by layer", ("as published",), _tracing),
    ("comment", "use_cache=False after generate", ("no cache", "as published"), _no_cache),
    (
        "comment",
        "gradient checkpointing",
        ("checkpointing", "as published", "training", "training with checkpointing"),
        _checkpointing,
    ),
    ("comment", "weights in int8", ("int8", "as published"), _int8),
    ("comment", "eval mode and autograd off", ("train mode", "as published"), _eval),
)
"""Kind, claim, the runs it is judged by, and how."""
