"""A model's size from its configuration (``config.json``): layers, caches, parameters.

Field names and their defaults are those of transformers' configuration classes (5.24).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from vramwatch.core.configuration import Fields
from vramwatch.core.kvmath import LayerCache
from vramwatch.core.model_layers import (
    Layer,
    delta_layer,
    feed_forward,
    heads_of,
    joined,
    latent_layer,
    mamba2_layer,
    mamba_layer,
    windows_of,
)

MOST_LAYERS = 10_000
"""The deepest published models have a few hundred; a configuration that says more was not meant."""


@dataclass(frozen=True)
class Architecture:
    """A model as planning sees it. Parameters are counted, not bytes."""

    model_type: str
    layers: tuple[Layer, ...]
    embeddings: int
    head: int  # 0: the embeddings serve as head too
    others: int  # the last norm, and what else belongs to no layer
    vocabulary: int
    heads: int  # query heads, which tensor parallelism divides
    makes_scores: bool  # transformers computes its attention as a matrix of all tokens by all tokens
    context: int | None  # tokens that the model was made for; None: the configuration does not say
    dtype: str | None  # as published
    quantization: str | None  # as published: "fp8", "mxfp4", "bitsandbytes", …
    notes: tuple[str, ...] = ()

    @property
    def caches(self) -> tuple[LayerCache, ...]:
        return tuple(layer.cache for layer in self.layers)

    @cached_property
    def kinds(self) -> Mapping[Layer, int]:
        """Return how many layers there are of each kind: of a hundred, one to four."""
        return Counter(self.layers)

    def kinds_within(self, first: int, end: int) -> Mapping[Layer, int]:
        """Return the same of layers ``first`` to one before ``end``."""
        return self.kinds if (first, end) == (0, len(self.layers)) else Counter(self.layers[first:end])

    @property
    def parameters(self) -> int:
        inner = sum(layer.matrices + layer.experts + layer.others for layer in self.layers)
        return self.embeddings + inner + self.others + self.head


def read_architecture(config: Mapping[str, Any], *, expands_latent: bool = False) -> Architecture:
    """Return what ``config`` says; of a model of several parts, of its language model.

    ``expands_latent``: a latent is cached as full keys and values, as transformers did before 5.15.
    Errors: ValueError naming the field that is missing or wrong.
    """
    inner = _language_model(config)
    fields = Fields(inner, _DEFAULTS.get(str(inner.get("model_type")), {}))
    read = _READERS.get(fields.model_type, _decoder)
    found = read(fields, expands_latent)
    notes = list(found.notes)
    if inner is not config:
        notes.append("counted is the language model alone; what else the model has comes on top")
    if fields.model_type not in _KNOWN:
        kind = fields.model_type or "(no model_type)"
        notes.append(f"the parameters of {kind} are counted as if its layers were Llama's")
    return replace(
        found,
        dtype=fields.text("dtype") or fields.text("torch_dtype") or _text_of(config, "torch_dtype", "dtype"),
        quantization=_quantization(config),
        notes=tuple(notes),
    )


def _language_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of ``config`` that describes the language model."""
    for name in ("text_config", "llm_config", "language_config"):
        inner = config.get(name)
        if isinstance(inner, Mapping):
            return inner
    return config


def _text_of(config: Mapping[str, Any], *names: str) -> str | None:
    return next((str(config[name]) for name in names if isinstance(config.get(name), str)), None)


def _quantization(config: Mapping[str, Any]) -> str | None:
    """Return the method with which the weights were published; "int8" where one of several sizes is that."""
    found = config.get("quantization_config")
    if not isinstance(found, Mapping):
        return None
    is_8_bit = found.get("bits") == 8 or found.get("load_in_8bit") is True
    return "int8" if is_8_bit else _text_of(found, "quant_method")


# --- whole models ----------------------------------------------------------------------------------


def _built(fields: Fields, layers: list[Layer], *, others: int | None = None) -> Architecture:
    hidden, vocabulary = fields.number("hidden_size"), fields.number("vocab_size")
    is_tied = fields.flag("tie_word_embeddings")
    if is_tied is None:
        is_tied = fields.model_type in _TIED
    matrix = vocabulary * fields.number("word_embed_proj_dim", default=hidden)
    return Architecture(
        model_type=fields.model_type,
        layers=tuple(layers),
        embeddings=matrix,
        head=0 if is_tied else matrix,
        others=hidden if others is None else others,
        vocabulary=vocabulary,
        heads=fields.number("num_attention_heads", "num_heads", default=1),
        makes_scores=fields.model_type in _EAGER,
        context=fields.number("max_position_embeddings", default=None),
        dtype=None,
        quantization=None,
    )


def _layer_count(fields: Fields) -> int:
    count = fields.number("num_hidden_layers")
    if count > MOST_LAYERS:
        raise ValueError(f"num_hidden_layers is {count}; no model has more than {MOST_LAYERS:,}")
    return count


def _decoder(fields: Fields, expands_latent: bool) -> Architecture:
    """Return a decoder whose layers attend and then feed forward: Llama and most that came after it."""
    count, hidden = _layer_count(fields), fields.number("hidden_size")
    norms = 4 if fields.model_type in _FOUR_NORMS else 2
    windows = windows_of(fields, count)
    shared = fields.number("num_kv_shared_layers", default=0, least=0)
    layers = []
    for place in range(count):
        if fields.number("kv_lora_rank", default=None) is None:
            attention = heads_of(fields).layer(fields, windows[place])
        else:
            attention = latent_layer(fields, expands_latent)
        if place >= count - shared:
            attention = replace(attention, cache=None)
        layers.append(joined(attention, feed_forward(fields, place), hidden, norms))
    return _built(fields, layers)


def _opt(fields: Fields, expands_latent: bool) -> Architecture:
    """Return an OPT: norms with biases, learnt positions with two places before the first."""
    found = _decoder(fields, expands_latent)
    hidden = fields.number("hidden_size")
    layers = tuple(replace(layer, others=layer.others + 2 * hidden) for layer in found.layers)
    positions = (fields.number("max_position_embeddings") + 2) * hidden
    return replace(found, layers=layers, others=2 * hidden + positions)


def _recurrent(block: Callable[[Fields], Layer]) -> Callable[[Fields, bool], Architecture]:
    def read(fields: Fields, _: bool) -> Architecture:
        layer = block(fields)
        normed = replace(layer, others=layer.others + fields.number("hidden_size"))
        return _built(fields, [normed] * _layer_count(fields))

    return read


def _jamba(fields: Fields, _: bool) -> Architecture:
    period, offset = fields.number("attn_layer_period"), fields.number("attn_layer_offset", least=0)
    layers = []
    for place in range(_layer_count(fields)):
        attends = place % period == offset
        first = heads_of(fields).layer(fields, None) if attends else mamba_layer(fields, "mamba")
        layers.append(joined(first, feed_forward(fields, place), fields.number("hidden_size")))
    return _built(fields, layers)


def _qwen3_next(fields: Fields, _: bool) -> Architecture:
    count = _layer_count(fields)
    every = fields.number("full_attention_interval", default=4)
    kinds = fields.texts("layer_types") or [
        "linear_attention" if (place + 1) % every else "full_attention" for place in range(count)
    ]
    layers = []
    for place, kind in enumerate(kinds):
        first = delta_layer(fields) if kind == "linear_attention" else heads_of(fields).layer(fields, None)
        layers.append(joined(first, feed_forward(fields, place), fields.number("hidden_size")))
    return _built(fields, layers)


_READERS: Mapping[str, Callable[[Fields, bool], Architecture]] = {
    "opt": _opt,
    "mamba": _recurrent(mamba_layer),
    "mamba2": _recurrent(mamba2_layer),
    "jamba": _jamba,
    "qwen3_next": _qwen3_next,
}

_KNOWN = frozenset(_READERS) | {
    *("llama", "mistral", "mixtral", "phi3", "qwen2", "qwen3", "qwen3_moe"),
    *("gemma2", "gemma3_text", "gpt_oss", "deepseek_v3"),
}
"""Types whose parameters are counted as their code has them."""

_EAGER = frozenset({"gemma2", "gpt_oss"})
"""Types that cap or sink their attention, which the fused kernel of PyTorch cannot."""

_FOUR_NORMS = frozenset({"gemma2", "gemma3_text"})
_TIED = frozenset(
    {"opt", "gpt2", "gpt_bigcode", "gemma", "gemma2", "gemma3_text", "mamba", "falcon", "bloom", "mpt"}
)
"""Types whose head is the embeddings where the configuration does not say."""

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma": {"head_dim": 256},
    "gemma2": {"head_dim": 256, "sliding_window": 4096},
    "gemma3_text": {
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
    },
    "gpt_oss": {"head_dim": 64, "sliding_window": 128},
    "mixtral": {"num_experts": 8, "num_experts_per_tok": 2},
    "qwen3": {"head_dim": 128},
    "qwen3_moe": {"head_dim": 128},
    "qwen3_next": {"head_dim": 256},
}
"""What published configurations leave to the class, and is not the same for all."""
