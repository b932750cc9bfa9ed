"""The peak of a request before it runs: the model's own code over tensors that have shapes and no memory.

Fake tensors (torch._subclasses) know their device, so that each operator takes its path on that device;
the live storages of two forward passes, over the prompt and the last token, give the peak. Nothing is loaded.
"""

import inspect
import logging
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, DynamicCache

from vramwatch.probe.experiment import Asked, Decoding, Experiment, Grad, requests_of
from vramwatch.probe.models import attention_of, dtype_of
from vramwatch.probe.tensors import LiveTensors

PREDICTED_CACHES = ("dynamic", "unaware")


class _Shapes(LiveTensors):
    """Counts what would live, and knows the shape of the one operator that torch's fake tensors refuse.

    torch._meta_registrations takes bfloat16 alone for the grouped product of a mixture's experts, and the
    CPU computes it in any dtype.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        called = _grouped_product if func is torch.ops.aten._grouped_mm.default else func
        return super().__torch_dispatch__(called, types, args, kwargs)


def _grouped_product(tokens: torch.Tensor, experts: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Return what the product of (tokens, in) and (experts, in, out) is shaped as: (tokens, out)."""
    return tokens.new_empty((tokens.shape[0], experts.shape[-1]))


def peak(experiment: Experiment, config: Any, device: torch.device) -> int | None:
    """Return bytes of live tensors at the peak of the largest request; None: no such run is foreseen.

    Foreseen are requests with a growing cache and plain weights, served without gradients.
    """
    if experiment.decoding is Decoding.TRAINING or not experiment.uses_cache or experiment.trains:
        return None
    if experiment.cache not in PREDICTED_CACHES or experiment.weights != "plain":
        return None
    if experiment.planted is not None or experiment.retains or _is_with_gradients(experiment):
        return None
    # What torch has no shapes for it says in the log, and fails.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    try:
        return max(_peak(experiment, config, device, asked) for asked in set(requests_of(experiment)))
    except Exception:  # whatever fake tensors cannot do, the run itself may: nothing is foreseen then
        return None


def _is_with_gradients(experiment: Experiment) -> bool:
    """Whether a graph is kept; generate keeps none, whatever stands around it."""
    return experiment.decoding is Decoding.LOOP and experiment.grad is Grad.ON


def _peak(experiment: Experiment, config: Any, device: torch.device, asked: Asked) -> int:
    live = _Shapes()
    with FakeTensorMode(), live, torch.device(device), torch.no_grad():
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype_of(experiment, device), attn_implementation=attention_of(experiment)
        )
        model.eval()

        def step(tokens: int, cache: Any) -> Any:
            ids = torch.ones((asked.batch, tokens), dtype=torch.long)
            name = "cache" if cache is None or _is_renamed(model) else "past_key_values"
            given = {} if cache is None else {name: cache}
            output = model(ids, use_cache=True, logits_to_keep=1, **given)
            _sample(output.logits[:, -1])
            return output["cache" if _is_renamed(model) else "past_key_values"]

        def fresh() -> Any:
            return DynamicCache() if experiment.cache == "unaware" else None

        live.reset_peak()
        step(asked.prompt, fresh())
        over_prompt = live.peak
        cache = step(max(asked.prompt + asked.tokens - 2, 1), fresh())
        live.reset_peak()
        step(1, cache)
        return max(over_prompt, live.peak)


def _is_renamed(model: Any) -> bool:
    return "cache" in inspect.signature(model.forward).parameters


def _sample(logits: torch.Tensor) -> None:
    """Do to the logits what sampling does, for their copies count where the vocabulary is large."""
    copied = logits.to(copy=True, dtype=torch.float32)
    torch.softmax(copied, -1)
