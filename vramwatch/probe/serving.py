"""How one request is served: by generate, by a loop of one's own, or as a step of training."""

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from transformers import DynamicCache, StaticCache

from vramwatch.probe.experiment import Asked, Decoding, Experiment, Grad, Planted

TOP = 50
"""Candidates the next token is drawn from: transformers' own default of top_k."""

MODES = {Grad.ON: torch.enable_grad, Grad.NO_GRAD: torch.no_grad, Grad.INFERENCE: torch.inference_mode}


def prompt_of(asked: Asked, vocabulary: int, seed: int, device: torch.device) -> torch.Tensor:
    """Return random token ids, the same for a seed; the lowest few are special tokens as a rule."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (asked.batch, asked.prompt), generator=random)
    return ids.to(device)


def serve(model: Any, experiment: Experiment, asked: Asked, ids: torch.Tensor) -> Any:
    """Serve one request and return what its caller holds after it: the output, with its cache if any."""
    if experiment.decoding is Decoding.TRAINING:
        return _train(model, ids)
    serving = _loop if experiment.decoding is Decoding.LOOP else _generate
    with MODES[experiment.grad]():
        return serving(model, experiment, asked, ids)


def _generate(model: Any, experiment: Experiment, asked: Asked, ids: torch.Tensor) -> Any:
    options: dict[str, Any] = {
        "max_new_tokens": asked.tokens,
        "min_new_tokens": asked.tokens,
        "do_sample": experiment.samples,
        "use_cache": experiment.uses_cache,
        "attention_mask": torch.ones_like(ids),
        "return_dict_in_generate": True,
    }
    if experiment.uses_cache:
        options |= _cache_options(model, experiment)
    if experiment.planted is Planted.SAVED_EXCEPTION:
        options["stopping_criteria"] = [_breaking(asked.prompt + asked.tokens // 2)]
    return model.generate(ids, **options)


def _cache_options(model: Any, experiment: Experiment) -> Mapping[str, Any]:
    kind = experiment.cache
    if kind == "unaware":
        return {_cache_name(model): DynamicCache()}
    if kind == "dynamic":
        return {}
    if kind == "quantized":
        return {"cache_implementation": kind, "cache_config": {"backend": "fp8"}}
    return {"cache_implementation": kind}


def _cache_name(model: Any) -> str:
    """Return what this transformers calls the cache among a model's arguments; it was renamed in 5.24."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _breaking(length: int) -> Any:
    """Return a stopping criterion that fails in mid-request, as a lost client or a bad callback does."""

    def check(ids: torch.Tensor, _scores: Any, **_: Any) -> Any:
        if ids.shape[1] >= length:
            raise RuntimeError(f"the client went away at token {ids.shape[1]}")
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    return check


def _loop(model: Any, experiment: Experiment, asked: Asked, ids: torch.Tensor) -> Any:
    name = _cache_name(model)
    cache: Any = None
    if experiment.uses_cache:
        cache = _own_cache(model, experiment, asked)
    output, step = None, ids
    for _ in range(asked.tokens):
        cached = {name: cache} if experiment.uses_cache else {}
        output = model(step, use_cache=experiment.uses_cache, logits_to_keep=1, **cached)
        cache = output[name] if experiment.uses_cache else None
        token = _next(output.logits[:, -1], experiment.samples)
        ids = torch.cat([ids, token], dim=-1)
        step = token if experiment.uses_cache else ids
    return output


def _own_cache(model: Any, experiment: Experiment, asked: Asked) -> Any:
    if experiment.cache == "static":
        return StaticCache(config=model.config, max_cache_len=asked.prompt + asked.tokens - 1)
    return DynamicCache() if experiment.cache == "unaware" else DynamicCache(config=model.config)


def _next(logits: torch.Tensor, samples: bool) -> torch.Tensor:
    if not samples:
        return logits.argmax(-1, keepdim=True)
    top = torch.topk(logits.float(), min(TOP, logits.shape[-1]))
    drawn = torch.multinomial(torch.softmax(top.values, -1), 1)
    return top.indices.gather(-1, drawn)


def _train(model: Any, ids: torch.Tensor) -> Any:
    loss = model(ids, labels=ids, use_cache=False).loss
    loss.backward()
    with contextlib.suppress(AttributeError):
        model.zero_grad(set_to_none=True)
    return loss
