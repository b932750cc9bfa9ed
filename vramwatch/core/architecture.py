"""What a model's configuration (``config.json``) says of its size: layers, caches, parameters.

Field names and their defaults are those of transformers' configuration classes (5.24); how many parameters a
layer has follows its modelling code. Both are compared with the real code by tests/probe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vramwatch.core.configuration import Fields
from vramwatch.core.kvmath import Attention, Latent, LayerCache, State

NORM_WIDTH = 7
"""Hidden states that stand at once in a norm, which computes in float32 (4 of them twice as wide)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what it keeps, how many parameters it has, and how wide it is.

    ``matrices``: parameters of its linear layers, ``experts``: of its experts, ``others``: norms, biases and
    what else is no matrix. ``live``: numbers per token that stand at once where it is widest, in a forward
    pass that makes no attention matrix: the sums are those of transformers' code, seen by adding up what is
    live at each operation.
    """

    cache: LayerCache
    matrices: int
    experts: int = 0
    others: int = 0
    live: int = 0


@dataclass(frozen=True, slots=True)
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
    found = config.get("quantization_config")
    return _text_of(found, "quant_method") if isinstance(found, Mapping) else None


# --- layers of attention ---------------------------------------------------------------------------


def windows_of(fields: Fields, layers: int) -> list[int | None]:
    """Return the window of every layer, None where it attends to all tokens. Errors: ValueError."""
    window = fields.number("sliding_window", default=None)
    if fields.flag("use_sliding_window") is False or fields.model_type == "qwen3_next":
        window = None
    kinds = fields.texts("layer_types")
    if kinds is None:
        kinds = [_kind(fields, place) for place in range(layers)]
    if len(kinds) != layers:
        raise ValueError(f"layer_types names {len(kinds)} layers, num_hidden_layers says {layers}")
    chunk = fields.number("attention_chunk_size", default=None)
    sizes = {"sliding_attention": window, "chunked_attention": chunk}
    return [sizes.get(kind) for kind in kinds]


def _kind(fields: Fields, place: int) -> str:
    """Return what kind of attention layer ``place`` (from 0) has where the configuration does not list it."""
    match fields.model_type:
        case "gemma2" | "gpt_oss":
            slides = place % 2 == 0
        case "gemma3_text" | "cohere2":
            slides = (place + 1) % fields.number("sliding_window_pattern") != 0
        case "qwen2" | "qwen3" | "qwen2_moe" | "qwen3_moe":
            slides = place >= fields.number("max_window_layers", default=0)
        case _:
            slides = True  # where there is a window at all
    return "sliding_attention" if slides else "full_attention"


@dataclass(frozen=True, slots=True)
class _Heads:
    """The attention of one model: its sizes."""

    hidden: int
    query: int
    kv: int
    size: int

    def layer(self, fields: Fields, window: int | None) -> Layer:
        """Return the attention of one layer, with its keys and values, without its norms."""
        query, kv = self.query * self.size, self.kv * self.size
        gate = query if fields.model_type == "qwen3_next" else 0
        others = 0
        if fields.model_type in _QKV_BIAS or fields.flag("attention_bias"):
            others += query + 2 * kv
        if fields.flag("attention_bias") or fields.model_type == "opt":
            others += self.hidden
        if fields.model_type in _QK_NORM:
            others += 2 * self.size
        if fields.model_type == "gpt_oss":
            others += self.query  # a sink each
        return Layer(
            Attention(self.kv, kv, kv, window),
            matrices=self.hidden * (query + gate + 2 * kv) + query * self.hidden,
            others=others,
            live=4 * self.hidden + 3 * query + gate + 2 * kv,
        )


def _heads(fields: Fields) -> _Heads:
    hidden, query = fields.number("hidden_size"), fields.number("num_attention_heads")
    kv = 1 if fields.flag("multi_query") else fields.number("num_key_value_heads", default=query)
    if kv > query:
        raise ValueError(f"num_key_value_heads ({kv}) is more than num_attention_heads ({query})")
    return _Heads(hidden, query, kv, fields.number("head_dim", default=hidden // query))


def _latent(fields: Fields, expanded: bool) -> Layer:
    """Return the multi-head latent attention of one layer (DeepSeek-V2 and its kin)."""
    hidden, heads = fields.number("hidden_size"), fields.number("num_attention_heads")
    rank, rope = fields.number("kv_lora_rank"), fields.number("qk_rope_head_dim")
    plain, value = fields.number("qk_nope_head_dim"), fields.number("v_head_dim")
    query_rank = fields.number("q_lora_rank", default=None)
    query = heads * (plain + rope)
    queries = hidden * query if query_rank is None else query_rank * (hidden + query)
    return Layer(
        Attention(heads, query, heads * value) if expanded else Latent(rank + rope),
        matrices=queries + hidden * (rank + rope) + rank * heads * (plain + value) + heads * value * hidden,
        others=rank + (query_rank or 0),
        live=4 * hidden + 3 * query + 2 * heads * value,
    )


# --- what follows attention ------------------------------------------------------------------------


def _dense(fields: Fields, inner: int) -> Layer:
    """Return a feed-forward part: gate, up and down; up and down alone in those without a gate."""
    hidden = fields.number("hidden_size")
    if fields.model_type in _PLAIN:
        return Layer(None, matrices=2 * hidden * inner, others=hidden + inner, live=4 * hidden + 2 * inner)
    at_once = 4 if fields.model_type == "phi3" else 3  # Phi-3 makes gate and up as one, and splits it
    return Layer(None, matrices=3 * hidden * inner, live=4 * hidden + at_once * inner)


def _mixture(fields: Fields, inner: int) -> Layer:
    """Return a mixture of experts, its router among the matrices."""
    hidden = fields.number("hidden_size")
    experts, chosen = fields.number("num_experts"), fields.number("num_experts_per_tok")
    others = experts * (1 + 2 * inner + hidden) if fields.model_type == "gpt_oss" else 0
    shared = 0
    if fields.model_type in ("qwen3_next", "qwen2_moe"):
        width = fields.number("shared_expert_intermediate_size")
        shared = 3 * hidden * width + hidden
    elif many := fields.number("n_shared_experts", default=0):
        shared = 3 * hidden * inner * many
    return Layer(
        None,
        matrices=experts * hidden + shared,
        experts=3 * experts * hidden * inner,
        others=others,
        live=4 * hidden + chosen * (hidden + 4 * inner),
    )


def _feed_forward(fields: Fields, place: int) -> Layer:
    hidden = fields.number("hidden_size")
    if fields.number("num_experts", default=0) > 1 and _has_experts(fields, place):
        return _mixture(fields, fields.number("moe_intermediate_size", "intermediate_size"))
    inner = fields.number("intermediate_size", default=4 * hidden if fields.model_type in _PLAIN else ...)
    return _dense(fields, inner)


def _has_experts(fields: Fields, place: int) -> bool:
    """Return whether layer ``place`` (from 0) has experts in a model that has some."""
    if fields.model_type == "jamba":
        return place % fields.number("expert_layer_period") == fields.number("expert_layer_offset")
    if place < fields.number("first_k_dense_replace", default=0):
        return False
    if place in (fields.numbers("mlp_only_layers") or ()):
        return False
    return (place + 1) % (fields.number("decoder_sparse_step", default=1)) == 0


def _joined(first: Layer, second: Layer, hidden: int, norms: int = 2) -> Layer:
    """Return one layer of two parts and ``norms`` norms; what is widest counts as its width."""
    return Layer(
        first.cache,
        first.matrices + second.matrices,
        first.experts + second.experts,
        first.others + second.others + norms * hidden,
        max(first.live, second.live, NORM_WIDTH * hidden),
    )


# --- recurrent layers ------------------------------------------------------------------------------


def _mamba_layer(fields: Fields, prefix: str = "") -> Layer:
    """Return a Mamba block: sizes from fields that Jamba writes with a ``prefix``."""
    hidden = fields.number("hidden_size")
    inner = (
        hidden * fields.number("mamba_expand") if prefix else fields.number("intermediate_size", "d_inner")
    )
    state = fields.number("mamba_d_state" if prefix else "state_size")
    kernel = fields.number("mamba_d_conv" if prefix else "conv_kernel")
    rank = fields.number("mamba_dt_rank" if prefix else "time_step_rank", default=-(-hidden // 16))
    norms = rank + 2 * state if prefix else 0  # Jamba norms the step, B and C
    bias = 0 if fields.flag("use_conv_bias") is False or fields.flag("mamba_conv_bias") is False else inner
    if fields.flag("use_bias") or fields.flag("mamba_proj_bias"):
        norms += 2 * inner + hidden
    return Layer(
        State(inner, convolution=inner * kernel, recurrent=inner * state),
        matrices=hidden * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * hidden,
        others=inner * kernel + bias + inner + inner * state + inner + norms,
        live=4 * hidden + 6 * inner,
    )


def _mamba2_layer(fields: Fields) -> Layer:
    hidden, expand = fields.number("hidden_size"), fields.number("expand", default=2)
    heads, size = fields.number("num_heads"), fields.number("head_dim")
    groups, state = fields.number("n_groups"), fields.number("state_size")
    inner, kernel = int(expand * hidden), fields.number("conv_kernel")
    convolved = inner + 2 * groups * state
    bias = 0 if fields.flag("use_conv_bias") is False else convolved
    return Layer(
        State(heads, convolution=convolved * kernel, recurrent=heads * size * state),
        matrices=hidden * (inner + convolved + heads) + inner * hidden,
        others=convolved * kernel + bias + 3 * heads + inner,
        live=4 * hidden + 3 * (inner + convolved),
    )


def _delta_layer(fields: Fields) -> Layer:
    """Return a gated delta-rule layer (Qwen3-Next)."""
    hidden, kernel = fields.number("hidden_size"), fields.number("linear_conv_kernel_dim")
    key_heads, value_heads = fields.number("linear_num_key_heads"), fields.number("linear_num_value_heads")
    key, value = fields.number("linear_key_head_dim"), fields.number("linear_value_head_dim")
    keys, values = key_heads * key, value_heads * value
    convolved = 2 * keys + values
    return Layer(
        State(value_heads, convolution=convolved * kernel, recurrent=value_heads * key * value),
        matrices=hidden * (convolved + values) + hidden * 2 * value_heads + values * hidden,
        others=convolved * kernel + 2 * value_heads + value,
        live=4 * hidden + 4 * (convolved + values),
    )


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


def _decoder(fields: Fields, expands_latent: bool) -> Architecture:
    """Return a decoder whose layers attend and then feed forward: Llama and most that came after it."""
    count, hidden = fields.number("num_hidden_layers"), fields.number("hidden_size")
    norms = 4 if fields.model_type in _FOUR_NORMS else 2
    windows = windows_of(fields, count)
    shared = fields.number("num_kv_shared_layers", default=0)
    layers = []
    for place in range(count):
        if fields.number("kv_lora_rank", default=None) is None:
            attention = _heads(fields).layer(fields, windows[place])
        else:
            attention = _latent(fields, expands_latent)
        if place >= count - shared:
            attention = replace(attention, cache=None)
        layers.append(_joined(attention, _feed_forward(fields, place), hidden, norms))
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
        return _built(fields, [normed] * fields.number("num_hidden_layers"))

    return read


def _jamba(fields: Fields, _: bool) -> Architecture:
    period, offset = fields.number("attn_layer_period"), fields.number("attn_layer_offset")
    layers = []
    for place in range(fields.number("num_hidden_layers")):
        attends = place % period == offset
        first = _heads(fields).layer(fields, None) if attends else _mamba_layer(fields, "mamba")
        layers.append(_joined(first, _feed_forward(fields, place), fields.number("hidden_size")))
    return _built(fields, layers)


def _qwen3_next(fields: Fields, _: bool) -> Architecture:
    count = fields.number("num_hidden_layers")
    every = fields.number("full_attention_interval", default=4)
    kinds = fields.texts("layer_types") or [
        "linear_attention" if (place + 1) % every else "full_attention" for place in range(count)
    ]
    layers = []
    for place, kind in enumerate(kinds):
        first = _delta_layer(fields) if kind == "linear_attention" else _heads(fields).layer(fields, None)
        layers.append(_joined(first, _feed_forward(fields, place), fields.number("hidden_size")))
    return _built(fields, layers)


_READERS: Mapping[str, Callable[[Fields, bool], Architecture]] = {
    "opt": _opt,
    "mamba": _recurrent(_mamba_layer),
    "mamba2": _recurrent(_mamba2_layer),
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

_QKV_BIAS = frozenset({"qwen2", "qwen2_moe", "opt"})
_QK_NORM = frozenset({"qwen3", "qwen3_moe", "qwen3_next", "gemma3_text"})
_FOUR_NORMS = frozenset({"gemma2", "gemma3_text"})
_PLAIN = frozenset(
    {"opt", "gpt2", "gpt_neox", "gptj", "gpt_bigcode", "falcon", "phi", "starcoder2", "bloom", "mpt"}
)
"""Feed-forward parts without a gate."""

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
