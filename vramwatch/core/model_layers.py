"""The layers of models: what each keeps, how many parameters it has, how wide it is.

How many parameters a layer has follows transformers' modelling code (5.24); tests/probe compare both.
"""

from dataclasses import dataclass

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


_QKV_BIAS = frozenset({"qwen2", "qwen2_moe", "opt"})
_QK_NORM = frozenset({"qwen3", "qwen3_moe", "qwen3_next", "gemma3_text"})
_PLAIN = frozenset(
    {"opt", "gpt2", "gpt_neox", "gptj", "gpt_bigcode", "falcon", "phi", "starcoder2", "bloom", "mpt"}
)
"""Feed-forward parts without a gate."""


# --- layers of attention ---------------------------------------------------------------------------


def windows_of(fields: Fields, layers: int) -> list[int | None]:
    """Return the window of every layer, None where it attends to all tokens. Errors: ValueError."""
    window = fields.number("sliding_window", default=None, least=0) or None
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
            slides = place >= fields.number("max_window_layers", default=0, least=0)
        case _:
            slides = True  # where there is a window at all
    return "sliding_attention" if slides else "full_attention"


@dataclass(frozen=True, slots=True)
class Heads:
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


def heads_of(fields: Fields) -> Heads:
    hidden, query = fields.number("hidden_size"), fields.number("num_attention_heads")
    kv = 1 if fields.flag("multi_query") else fields.number("num_key_value_heads", default=query)
    if kv > query:
        raise ValueError(f"num_key_value_heads ({kv}) is more than num_attention_heads ({query})")
    return Heads(hidden, query, kv, fields.number("head_dim", default=hidden // query))


def latent_layer(fields: Fields, expanded: bool) -> Layer:
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
    elif many := fields.number("n_shared_experts", default=0, least=0):
        shared = 3 * hidden * inner * many
    return Layer(
        None,
        matrices=experts * hidden + shared,
        experts=3 * experts * hidden * inner,
        others=others,
        live=4 * hidden + chosen * (hidden + 4 * inner),
    )


def feed_forward(fields: Fields, place: int) -> Layer:
    hidden = fields.number("hidden_size")
    if fields.number("num_experts", default=0, least=0) > 1 and _has_experts(fields, place):
        return _mixture(fields, fields.number("moe_intermediate_size", "intermediate_size"))
    inner = fields.number("intermediate_size", default=4 * hidden if fields.model_type in _PLAIN else ...)
    return _dense(fields, inner)


def _has_experts(fields: Fields, place: int) -> bool:
    """Return whether layer ``place`` (from 0) has experts in a model that has some."""
    if fields.model_type == "jamba":
        return place % fields.number("expert_layer_period") == fields.number("expert_layer_offset", least=0)
    if place < fields.number("first_k_dense_replace", default=0, least=0):
        return False
    if place in (fields.numbers("mlp_only_layers") or ()):
        return False
    return (place + 1) % (fields.number("decoder_sparse_step", default=1)) == 0


def joined(first: Layer, second: Layer, hidden: int, norms: int = 2) -> Layer:
    """Return one layer of two parts and ``norms`` norms; what is widest counts as its width."""
    return Layer(
        first.cache,
        first.matrices + second.matrices,
        first.experts + second.experts,
        first.others + second.others + norms * hidden,
        max(first.live, second.live, NORM_WIDTH * hidden),
    )


# --- recurrent layers ------------------------------------------------------------------------------


def mamba_layer(fields: Fields, prefix: str = "") -> Layer:
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


def mamba2_layer(fields: Fields) -> Layer:
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


def delta_layer(fields: Fields) -> Layer:
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
