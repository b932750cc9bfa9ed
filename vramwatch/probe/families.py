"""Models that need no download: configurations of well-known families, at full size or scaled down. Pure.

The facts are of each model's published config.json; the tiny ones are our own, with the families' structure.
"""

from collections.abc import Mapping
from typing import Any

MODEL_TYPES: Mapping[str, str] = {"gemma3_text": "transformers 4.50", "qwen3": "transformers 4.51"}
"""Since when transformers knows the newer ones."""

_TINY: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}

BUILT_IN: dict[str, dict[str, Any]] = {
    "tiny-llama": {"model_type": "llama", **_TINY},
    "tiny-mistral": {"model_type": "mistral", **_TINY, "sliding_window": 16},
    "tiny-gemma-2": {"model_type": "gemma2", **_TINY, "head_dim": 32, "sliding_window": 16},
    "tiny-qwen3": {"model_type": "qwen3", **_TINY, "head_dim": 64},
}

LARGEST = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 1024}
"""What a scaled model has at most of each; heads and windows keep their proportions."""


def scaled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of the same structure that any machine can run."""
    small = dict(fields)
    for name, most in LARGEST.items():
        if isinstance(small.get(name), int):
            small[name] = min(small[name], most)
    return small
