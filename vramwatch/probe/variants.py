"""Ways of doing the same, each with the one it is compared to. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vramwatch.core.errors import UsageError
from vramwatch.core.units import show_bytes
from vramwatch.probe.experiment import Decoding, Experiment, Grad
from vramwatch.probe.results import Ended, Result

REFERENCE, AGAIN = "reference", "reference_again"
"""The first run and the last: the same twice, by which it is known how far speeds can be trusted."""

NOISE = 1.5
"""Times as fast, or as slow, from which on a difference is told, where the same twice did not differ by more:
each speed is of one request, whatever else the machine does."""


@dataclass(frozen=True, slots=True)
class Variant:
    """``change``: fields of the experiment; ``beside``: the variant it is compared to."""

    name: str
    words: str  # "retaining past_key_values", to begin a sentence
    change: Mapping[str, Any]
    beside: str = REFERENCE


_LOOP = {"decoding": Decoding.LOOP}
_TRAINING = {"decoding": Decoding.TRAINING, "grad": Grad.ON, "trains": True, "uses_cache": False}

VARIANTS = (
    Variant(REFERENCE, "generate with its own cache, released", {}),
    Variant("no_cache", "use_cache=False", {"uses_cache": False}),
    Variant("retained", "retaining past_key_values", {"retains": True}),
    Variant("loop_no_grad", "a hand-written loop under no_grad", _LOOP | {"grad": Grad.NO_GRAD}),
    Variant("loop_grad", "gradients left on in it", _LOOP | {"grad": Grad.ON}, "loop_no_grad"),
    Variant("inference_mode", "inference_mode in it", _LOOP | {"grad": Grad.INFERENCE}, "loop_no_grad"),
    Variant("train_mode", "model.train()", {"trains": True}),
    Variant("unaware_cache", "DynamicCache() without its config", {"cache": "unaware"}),
    Variant("static_cache", "a static cache", {"cache": "static"}),
    Variant("offloaded_cache", "an offloaded cache", {"cache": "offloaded"}),
    Variant("quantized_cache", "a quantised cache", {"cache": "quantized"}),
    Variant("eager", "eager attention", {"attention": "eager"}),
    Variant("flash_attention_2", "flash attention 2", {"attention": "flash_attention_2"}),
    Variant("float32", "float32", {"dtype": "float32"}),
    Variant("bfloat16", "bfloat16", {"dtype": "bfloat16"}),
    Variant("float16", "float16", {"dtype": "float16"}),
    Variant("bitsandbytes_int8", "weights in int8 (bitsandbytes)", {"weights": "bitsandbytes-int8"}),
    Variant("bitsandbytes_4bit", "weights in 4 bits (bitsandbytes)", {"weights": "bitsandbytes-4bit"}),
    Variant("torchao_int8", "weights in int8 (torchao)", {"weights": "torchao-int8"}),
    Variant("quanto_int8", "weights in int8 (quanto)", {"weights": "quanto-int8"}),
    Variant("map_split", "layers split over the GPUs", {"device_map": "split"}),
    Variant("map_cpu_offload", "layers offloaded to the CPU", {"device_map": "cpu_offload"}),
    Variant("expandable_segments", "expandable segments", {"expandable": True}),
    Variant("no_empty_cache", "no empty_cache between requests", {"empties": False}),
    Variant("training_step", "a forward and backward pass", _TRAINING, "training_step"),
    Variant(
        "checkpointing", "gradient checkpointing in it", _TRAINING | {"checkpoints": True}, "training_step"
    ),
    Variant(AGAIN, "the reference once more", {}),
)  # fmt: skip


def chosen(names: Sequence[str]) -> list[Variant]:
    """Return the variants of these names, with those they are compared to; all of them where none is named.

    The reference, which is the experiment as it was asked, is always the first. Errors: UsageError for a name
    that is none.
    """
    known = [each.name for each in VARIANTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--only {unknown[0]}: there is no such variant; there are {', '.join(known)}")
    wanted = {REFERENCE, *names, *(each.beside for each in VARIANTS if each.name in names)}
    return [each for each in VARIANTS if not names or each.name in wanted]


def experiment_of(variant: Variant, base: Experiment) -> Experiment:
    return replace(base, **variant.change)


def changes(rows: Sequence[tuple[Variant, Result]]) -> Iterator[str]:
    """Yield what each variant changed, in words, and from what difference on speeds are told."""
    by_name = {variant.name: result for variant, result in rows}
    speeds = [each.tokens_per_second for name in (REFERENCE, AGAIN) if (each := by_name.get(name))]
    twice = [each for each in speeds if each]
    noise = max(NOISE, max(twice) / min(twice)) if len(twice) > 1 else NOISE
    for variant, result in rows:
        beside = by_name.get(variant.beside)
        came_so_far = result.at("generate") is not None and result.at("release") is not None
        if beside is not None and came_so_far and (words := compared(variant, result, beside, noise)):
            yield words
    if noise > NOISE:
        first, last = (f"{each:.1f}" for each in twice)
        yield (
            f"speeds that differ by less than {noise:.1f} times say nothing here: "
            f"the reference itself gave {first} and {last} tokens/s"
        )


def compared(variant: Variant, result: Result, beside: Result, noise: float = NOISE) -> str:
    """Return what ``variant`` changed, in words: peak, what stays after, speed beyond ``noise``."""
    if result.ended is not Ended.COMPLETE:
        return f"{variant.words}: {result.ended}: {result.why}"
    if variant.name == variant.beside or beside.ended is not Ended.COMPLETE:
        return ""
    if result.peak is None or beside.peak is None:
        return ""
    told = [_changed("the peak", result.peak, beside.peak)]
    held, base = _left(result), _left(beside)
    if held > base:
        told.append(
            f"{show_bytes(held)} are still held after {len(result.floors)} requests; "
            f"{variant.beside} gives {show_bytes(held - base)} of them back"
        )
    if result.tokens_per_second and beside.tokens_per_second:
        faster = result.tokens_per_second / beside.tokens_per_second
        if not 1 / noise <= faster <= noise:
            told.append(f"{faster:.1f} times as fast")
    return f"{variant.words}: {', '.join(told)} (compared with {variant.beside})"


def _left(result: Result) -> int:
    load, release = result.at("load"), result.at("release")
    return 0 if load is None or release is None else max(0, release.live - load.live)


def _changed(what: str, value: int, before: int) -> str:
    if value == before:
        return f"{what} is the same to the byte"
    return f"{what} changes by {show_bytes(value - before, signed=True)} ({value / before - 1:+z.1%})"
