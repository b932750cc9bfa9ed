"""Bytes of caches: the published figures, and what holds of any cache."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch import models
from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import (
    Attention,
    Dtype,
    KvDtype,
    Latent,
    Precision,
    State,
    bytes_per_token,
    constant_bytes,
    kept_bytes,
    kv_bytes,
    layer_bytes,
    prefilled_bytes,
    transient_bytes,
)

MIB = 1024**2
BF16 = Precision(Dtype.BFLOAT16)

# What arXiv:2309.06180 section 3 (OPT) and arXiv:2505.09343 table 1 (Llama-3.1-405B, Qwen2.5-72B, V3)
# published; the others are 2 x layers x KV heads x head size x 2 bytes of the published configurations.
PER_TOKEN = {
    "opt-13b": 819_200,
    "llama-2-7b": 524_288,
    "llama-2-13b": 819_200,
    "llama-2-70b": 327_680,
    "llama-3.1-8b": 131_072,
    "llama-3.1-70b": 327_680,
    "llama-3.1-405b": 516_096,
    "llama-3.2-1b": 32_768,
    "mistral-7b-v0.1": 131_072,
    "mistral-7b-v0.2": 131_072,
    "mixtral-8x7b": 131_072,
    "qwen2.5-7b": 57_344,
    "qwen2.5-72b": 327_680,
    "qwen3-8b": 147_456,
    "qwen3-32b": 262_144,
    "phi-3-mini-4k": 393_216,
    "phi-4": 204_800,
    "gemma-2-9b": 344_064,
    "gemma-3-12b": 393_216,
    "gpt-oss-120b": 73_728,
    "deepseek-v3": 70_272,
    "qwen3-next-80b": 24_576,
    "jamba-v0.1": 16_384,
    "mamba-2.8b": 0,
    "mamba2-2.7b": 0,
}

BEYOND_THE_WINDOW = {
    "mistral-7b-v0.1": 0,
    "mistral-7b-v0.2": 131_072,
    "phi-3-mini-4k": 0,
    "gemma-2-9b": 172_032,
    "gemma-3-12b": 65_536,
    "gpt-oss-120b": 36_864,
    "llama-2-7b": 524_288,
}


def caches(name, **how):
    return read_architecture(models.read(name).config, **how).caches


def test_every_model_of_the_catalogue_has_its_figure_here():
    assert set(PER_TOKEN) == set(models.names())


@pytest.mark.parametrize(("name", "expected"), PER_TOKEN.items())
def test_the_first_token_takes_the_published_bytes(name, expected):
    assert bytes_per_token(caches(name), BF16) == expected


@pytest.mark.parametrize(("name", "expected"), BEYOND_THE_WINDOW.items())
def test_beyond_the_window_only_full_layers_grow(name, expected):
    assert bytes_per_token(caches(name), BF16, tokens=100_000) == expected


def test_a_window_of_4096_grows_up_to_4095_tokens_and_no_further():
    mistral = caches("mistral-7b-v0.1")
    assert bytes_per_token(mistral, BF16, 4094) == 131_072
    assert bytes_per_token(mistral, BF16, 4095) == 0
    assert kv_bytes(mistral, 4095, BF16) == kv_bytes(mistral, 10**6, BF16) == 4095 * 131_072


def test_the_windows_of_gemma_3_come_to_320_mib_beside_its_full_layers():
    gemma = caches("gemma-3-12b")
    assert kv_bytes(gemma, 100_000, BF16) - 100_000 * 65_536 == 1023 * 40 * 2 * 8 * 256 * 2
    assert (kv_bytes(gemma, 100_000, BF16) - 100_000 * 65_536) / MIB == pytest.approx(319.7, abs=0.05)


def test_a_latent_that_is_expanded_takes_71_times_as_much():
    expanded = bytes_per_token(caches("deepseek-v3", expands_latent=True), BF16)
    assert expanded == 4_997_120
    assert expanded // bytes_per_token(caches("deepseek-v3"), BF16) == 71


def test_a_mamba_keeps_its_convolution_in_the_dtype_and_its_state_in_float32():
    assert constant_bytes(caches("mamba-2.8b"), BF16) == 64 * (5120 * 4 * 2 + 5120 * 16 * 4)


def test_right_after_a_long_prompt_a_window_still_holds_all_of_it():
    window = Attention(heads=1, keys=1, values=1, window=8)
    assert layer_bytes(window, 100, BF16) == 7 * 2 * 2
    assert prefilled_bytes(window, 100, BF16) == 100 * 2 * 2


def test_four_bits_are_3_31_times_smaller_where_seven_tokens_wait():
    # Measured with quanto: 200 tokens of prompt, 39 after them of which every 32nd quantises all; group 64.
    full = Attention(heads=1, keys=64, values=64)
    int4 = Precision(Dtype.BFLOAT16, KvDtype.INT4)
    waiting = kept_bytes(full, 7, int4)
    packed = kept_bytes(full, 127 + 232, int4) - kept_bytes(full, 127, int4)
    assert layer_bytes(full, 239, BF16) / (packed + waiting) == pytest.approx(3.31, abs=0.01)


def test_eight_bit_floats_halve_a_cache():
    llama = caches("llama-2-7b")
    assert kv_bytes(llama, 4096, BF16) == 2 * kv_bytes(llama, 4096, Precision(Dtype.BFLOAT16, KvDtype.FP8))


# --- laws ------------------------------------------------------------------------------------------

heads = st.integers(1, 16)
attention = st.builds(
    lambda many, size, window: Attention(many, many * size, many * size, window),
    heads,
    st.sampled_from([32, 64, 128]),
    st.none() | st.integers(2, 64),
)
cache = (
    attention
    | st.builds(Latent, st.integers(1, 1024))
    | st.builds(
        lambda many, c, r: State(many, many * c, many * r), heads, st.integers(1, 8), st.integers(1, 64)
    )
    | st.none()
)
precision = st.builds(Precision, st.sampled_from(Dtype), st.sampled_from(KvDtype))
tokens = st.integers(0, 500)


@given(cache, tokens, tokens, precision)
def test_a_longer_sequence_never_keeps_less(cache, one, more, precision):
    assert layer_bytes(cache, one, precision) <= layer_bytes(cache, one + more, precision)


@given(cache, tokens, precision)
def test_a_prompt_holds_no_less_than_what_is_kept_of_it_but_for_tokens_that_wait(cache, many, precision):
    waiting = precision.kv in (KvDtype.INT8, KvDtype.INT4)
    kept = layer_bytes(cache, many, Precision(precision.dtype) if waiting else precision)
    assert prefilled_bytes(cache, many, Precision(precision.dtype) if waiting else precision) >= kept


@given(st.lists(cache, max_size=5), tokens, precision.filter(lambda each: each.kv in ("auto", "fp8")))
def test_bytes_per_token_are_what_a_token_adds(layers, many, precision):
    before = kv_bytes(layers, many, precision) if many else constant_bytes(layers, precision)
    assert bytes_per_token(layers, precision, many) == kv_bytes(layers, many + 1, precision) - before


@given(attention, tokens, precision, st.integers(1, 16))
def test_ranks_hold_at_least_a_share_each_and_whole_heads(cache, many, precision, ranks):
    alone, shared = layer_bytes(cache, many, precision), layer_bytes(cache, many, precision, ranks)
    assert shared <= alone <= shared * ranks
    if ranks >= cache.heads:
        assert shared == layer_bytes(cache, many, precision, cache.heads)


@given(st.integers(1, 1024), tokens, precision, st.integers(1, 16))
def test_a_latent_is_whole_on_every_rank(width, many, precision, ranks):
    assert layer_bytes(Latent(width), many, precision, ranks) == layer_bytes(Latent(width), many, precision)


@given(st.lists(cache, max_size=5), tokens)
def test_growing_by_copying_needs_half_of_the_widest_layer_for_a_moment(layers, many):
    widest = max((layer_bytes(each, many, BF16) for each in layers if not isinstance(each, State)), default=0)
    assert transient_bytes(layers, many, BF16) == widest // 2
