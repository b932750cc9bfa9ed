"""What fits, and what holds of every plan."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramwatch import models
from vramwatch.core.architecture import read_architecture
from vramwatch.core.choices import make_plan, refusal, vllm_pool
from vramwatch.core.kvmath import Dtype, KvDtype, Precision
from vramwatch.core.planning import (
    OVERHEAD,
    Demand,
    Quantization,
    Room,
    fits,
    largest,
    max_batch,
    max_context,
    need,
    place,
    weight_bytes,
    with_context,
)
from vramwatch.core.units import GIB, Bytes

ARCHITECTURES = {name: read_architecture(models.read(name).config) for name in models.names()}
LLAMA = ARCHITECTURES["llama-2-7b"]
HALF = Precision(Dtype.FLOAT16)


def demand(batch=1, context=4096, **how):
    return Demand(batch, context, how.pop("prompt", context), **{"precision": HALF, **how})


def rooms(*gib):
    return [Room(f"GPU {place}", Bytes(each * GIB), Bytes(each * GIB)) for place, each in enumerate(gib)]


# --- figures ---------------------------------------------------------------------------------------


def test_weights_are_parameters_times_their_size():
    assert weight_bytes(LLAMA, demand()) == 2 * LLAMA.parameters
    assert weight_bytes(LLAMA, demand(precision=Precision(Dtype.FLOAT32))) == 4 * LLAMA.parameters


def test_a_head_that_is_the_embeddings_is_counted_once():
    gemma = ARCHITECTURES["gemma-2-9b"]
    assert gemma.head == 0
    assert weight_bytes(gemma, demand()) == 2 * gemma.parameters


def test_four_bits_leave_embeddings_head_and_norms_as_they_are():
    kept = LLAMA.embeddings + LLAMA.head + LLAMA.others + sum(layer.others for layer in LLAMA.layers)
    packed = weight_bytes(LLAMA, demand(weights=Quantization.INT4)) - 2 * kept
    assert packed / (LLAMA.parameters - kept) == 0.5625


def test_mxfp4_packs_experts_alone():
    oss = ARCHITECTURES["gpt-oss-120b"]
    experts = sum(layer.experts for layer in oss.layers)
    packed = weight_bytes(oss, demand(weights=Quantization.MXFP4))
    assert packed == 2 * (oss.parameters - experts) + experts * 17 // 32


def test_sixteen_sequences_of_8192_do_not_fit_beside_a_70b_on_two_gpus_though_its_weights_do():
    llama = ARCHITECTURES["llama-3.1-70b"]
    two = rooms(80, 80)
    assert weight_bytes(llama, demand()) / GIB == pytest.approx(131.4, abs=0.05)
    assert not fits(llama, demand(batch=16, context=8192, prompt=1), two)
    assert fits(llama, demand(batch=1, context=8192, prompt=1), two)


def test_a_window_is_of_no_use_while_a_prompt_is_read_and_of_much_while_an_answer_is_written():
    mistral = ARCHITECTURES["mistral-7b-v0.1"]
    read, written = (need(mistral, demand(context=32768, prompt=prompt)) for prompt in (32768, 4096))
    assert read.cache == 32768 * 131_072
    assert written.cache < 4096 * 131_072 * 1.01


def test_a_device_map_leaves_room_for_the_cache_of_its_layers():
    llama = ARCHITECTURES["llama-3.1-70b"]
    few, many = (place(llama, demand(batch=batch, context=8192), rooms(80, 80, 80)) for batch in (1, 4))
    assert few[0].layers[1] > many[0].layers[1]
    for parts in (few, many):
        assert [part.layers[0] for part in parts] == [0, *(part.layers[1] for part in parts[:-1])]
        assert parts[-1].layers[1] == len(llama.layers)
        assert (parts[0].has_embeddings, parts[-1].has_head) == (True, True)
        assert all(part.need.peak <= part.room.free for part in parts)


def test_a_gpu_too_small_for_one_layer_is_passed_over():
    parts = place(LLAMA, demand(), rooms(8, 1, 16))
    assert [part.room.name for part in parts] == ["GPU 0", "GPU 2"]


def test_a_recurrent_model_takes_as_much_after_a_million_tokens_as_after_one():
    mamba = ARCHITECTURES["mamba-2.8b"]
    short, long = (need(mamba, demand(context=context, prompt=1)) for context in (1, 10**6))
    assert short == long


def test_vllm_keeps_its_share_less_weights_activations_and_overhead():
    asked, room = demand(), rooms(80)
    pool = vllm_pool(LLAMA, asked, room, 0.9)
    rest = need(LLAMA, asked).peak - need(LLAMA, asked).cache
    assert pool.pool == int(80 * GIB * 0.9) - rest
    assert pool.tokens == pytest.approx(pool.pool / 524_288, abs=1)
    assert pool.starts


def test_vllm_does_not_start_where_less_is_free_than_its_share():
    crowded = [Room("GPU 0", Bytes(60 * GIB), Bytes(80 * GIB))]
    pool = vllm_pool(LLAMA, demand(), crowded, 0.9)
    assert not pool.starts
    assert pool.highest == 0.75


def test_what_a_choice_saves_is_what_the_changed_plan_needs_less():
    plan = make_plan(LLAMA, demand(), rooms(24), 0.9)
    fp8 = next(choice for choice in plan.choices if choice.option == "--kv-dtype fp8")
    changed = demand(precision=Precision(Dtype.FLOAT16, KvDtype.FP8))
    assert fp8.saved == plan.need.peak - need(LLAMA, changed).peak
    assert fp8.max_batch == max_batch(LLAMA, changed, rooms(24))


def test_ignoring_windows_is_told_as_a_cost():
    plan = make_plan(ARCHITECTURES["gemma-3-12b"], demand(context=16384), rooms(80), 0.9)
    assert [choice.saved < 0 for choice in plan.choices if not choice.option] == [True]


def test_integers_are_refused_for_windows_and_latents_and_8_bit_floats_are_not():
    assert "21 of 42" in refusal(ARCHITECTURES["gemma-2-9b"], KvDtype.INT4)
    assert refusal(ARCHITECTURES["deepseek-v3"], KvDtype.INT8)
    assert refusal(ARCHITECTURES["gemma-2-9b"], KvDtype.FP8) is None
    assert refusal(LLAMA, KvDtype.INT4) is None


# --- laws ------------------------------------------------------------------------------------------

names = st.sampled_from(sorted(ARCHITECTURES))
demands = st.builds(
    lambda batch, context, share, kv, weights, scores: Demand(
        batch,
        context,
        max(1, int(context * share)),
        Precision(Dtype.BFLOAT16, kv),
        weights,
        has_scores=scores,
    ),
    st.integers(1, 64),
    st.integers(1, 20_000),
    st.floats(0, 1),
    st.sampled_from(KvDtype),
    st.sampled_from(Quantization),
    st.booleans(),
)


@given(names, demands, st.integers(1, 64))
def test_a_larger_batch_never_needs_less(name, asked, more):
    architecture = ARCHITECTURES[name]
    assert need(architecture, replace(asked, batch=asked.batch + more)).peak > need(architecture, asked).peak


@given(names, demands, st.integers(0, 20_000))
def test_a_longer_context_never_needs_less(name, asked, more):
    architecture = ARCHITECTURES[name]
    longer = with_context(asked, asked.context + more)
    assert need(architecture, longer).peak >= need(architecture, asked).peak


@given(names, demands, st.sampled_from([2, 4, 8]))
def test_ranks_divide_no_more_than_all_and_nothing_grows_with_them(name, asked, ranks):
    architecture = ARCHITECTURES[name]
    alone, each = need(architecture, asked), need(architecture, replace(asked, ranks=ranks))
    assert each.peak <= alone.peak
    assert each.weights * ranks >= alone.weights


@settings(max_examples=30, deadline=None)
@given(names, demands, st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_the_largest_batch_fits_and_one_more_does_not(name, asked, gib):
    architecture = ARCHITECTURES[name]
    best = max_batch(architecture, asked, rooms(*gib))
    assert best == 0 or fits(architecture, replace(asked, batch=best), rooms(*gib))
    assert not fits(architecture, replace(asked, batch=best + 1), rooms(*gib))


@settings(max_examples=30, deadline=None)
@given(names, demands, st.integers(1, 200))
def test_the_longest_context_fits_and_one_token_more_does_not_or_is_not_meant(name, asked, gib):
    architecture = ARCHITECTURES[name]
    best = max_context(architecture, asked, rooms(gib))
    assert best == 0 or fits(architecture, with_context(asked, best), rooms(gib))
    bound = architecture.context or 2**24
    assert best == bound or not fits(architecture, with_context(asked, best + 1), rooms(gib))


@settings(max_examples=30, deadline=None)
@given(names, demands, st.lists(st.integers(1, 200), min_size=1, max_size=4))
def test_what_is_placed_is_the_whole_model_once_within_what_is_free(name, asked, gib):
    architecture = ARCHITECTURES[name]
    parts = place(architecture, asked, rooms(*gib))
    if parts is None:
        return
    layers = [layer for part in parts for layer in range(*part.layers)]
    assert layers == list(range(len(architecture.layers)))
    assert sum(part.has_head for part in parts) == sum(part.has_embeddings for part in parts) == 1
    assert all(part.need.peak <= part.room.free for part in parts)
    assert all(part.need.overhead == OVERHEAD for part in parts)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_the_largest_of_a_range_is_found(bound, most):
    assert largest(lambda number: number <= bound, most) == min(bound, most)
