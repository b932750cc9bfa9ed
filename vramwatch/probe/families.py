"""Models that need no download: configurations of well-known families, at full size or scaled down. Pure.

The catalogue's are published (vramwatch.models); the tiny ones are our own, with a family's structure.
"""

from collections.abc import Mapping
from typing import Any

from vramwatch import models

_TINY: Mapping[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
}

TINY: Mapping[str, Mapping[str, Any]] = {
    "tiny-llama": {"model_type": "llama", **_TINY},
    "tiny-mistral": {"model_type": "mistral", **_TINY, "sliding_window": 16},
    "tiny-gemma-2": {"model_type": "gemma2", **_TINY, "head_dim": 32, "sliding_window": 16},
    "tiny-qwen3": {"model_type": "qwen3", **_TINY, "head_dim": 64},
}

MOST: Mapping[str, int] = {
    "hidden_size": 256,
    "word_embed_proj_dim": 256,
    "intermediate_size": 512,
    "ffn_dim": 512,
    "moe_intermediate_size": 128,
    "shared_expert_intermediate_size": 128,
    "num_hidden_layers": 4,
    "vocab_size": 1024,
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "head_dim": 32,
    "query_pre_attn_scalar": 32,
    "q_lora_rank": 64,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "n_routed_experts": 8,
    "num_local_experts": 8,
    "num_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 2,
    "state_size": 16,
    "time_step_rank": 16,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}
"""What a scaled model has at most of each: small for any machine, large enough to keep the structure."""

HEADS = 8
"""Query heads of a scaled model; its KV heads keep their proportion to them."""

UNSCALED = ("quantization_config", "rope_scaling", "rope_parameters", "layer_types", "pad_token_id")
"""What belongs to the published size or weights, and is left to the family's defaults."""

SPECIAL: Mapping[str, Any] = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
"""No end token: every request is as long as it is asked for."""


def names() -> list[str]:
    """Return the names of all built-in models, the tiny ones first."""
    return [*TINY, *models.names()]


def config_of(name: str, is_full_size: bool) -> dict[str, Any] | None:
    """Return the fields of a built-in model's ``config.json``; None: there is no such model."""
    if name in TINY:
        return {**TINY[name], **SPECIAL}
    found = _read(name)
    if found is None:
        return None
    fields = {name: value for name, value in found.config.items() if name != "quantization_config"}
    return {**(fields if is_full_size else scaled(fields)), **SPECIAL}


def is_built_in(name: str) -> bool:
    return name in TINY or _read(name) is not None


def _read(name: str) -> models.BuiltIn | None:
    """Return the catalogue's model of that name; a hub id means the weights that were published under it."""
    return None if "/" in name else models.read(name)


def scaled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of the same structure that any machine can run."""
    small = {name: value for name, value in fields.items() if name not in UNSCALED}
    for name, most in MOST.items():
        if isinstance(small.get(name), int):
            small[name] = min(small[name], most)
    heads = fields.get("num_attention_heads")
    if isinstance(heads, int):
        shared = heads // int(fields.get("num_key_value_heads") or heads)
        small["num_attention_heads"] = HEADS
        if "num_key_value_heads" in fields:
            small["num_key_value_heads"] = max(1, HEADS // shared)
    if fields.get("model_type") == "mamba2":
        inner = int(small.get("expand", 2)) * small["hidden_size"]
        small["num_heads"] = inner // small["head_dim"]
    return small
