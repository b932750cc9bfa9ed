"""trace_kv in a program of one's own, on a real model."""

import gc
import weakref

import pytest

pytestmark = pytest.mark.needs_torch


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from vramwatch.probe.families import config_of

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config_of("tiny-llama", False))).eval()


def generate(model, tokens: int = 6, batch: int = 1):
    import torch

    ids = torch.ones((batch, 5), dtype=torch.long)
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        return_dict_in_generate=True,
        do_sample=False,
    )


def test_every_forward_pass_is_seen_and_the_last_token_is_never_cached(model) -> None:
    from vramwatch.sdk import trace_kv

    with trace_kv(model, share=None) as trace:
        generate(model)
    assert [(each.forward, each.tokens) for each in trace.samples] == [(n, 5 + n) for n in range(6)]
    assert trace.samples[-1].logical == (2 * 4 * 32 * 10 * 4,) * 4


def test_a_traced_cache_is_freed_as_it_would_be_without(model) -> None:
    from vramwatch.sdk import trace_kv

    with trace_kv(model) as trace:
        output = generate(model)
        cache = weakref.ref(output["cache"] if "cache" in output else output["past_key_values"])
        assert [request for request, _ in trace.alive()] == [0]
        assert [each.name for each in trace.faults()] == ["retained cache"]
        del output
        gc.collect()
        assert cache() is None
    assert trace.alive() == []
    assert trace.faults() == []


def test_nothing_is_traced_after_the_block(model) -> None:
    from vramwatch.sdk import trace_kv

    with trace_kv(model) as trace:
        generate(model)
    seen = trace.forwards
    generate(model)
    assert trace.forwards == seen
    assert not model._forward_hooks


def test_looking_that_would_take_too_long_is_left_out_but_for_the_first_two(model) -> None:
    from vramwatch.sdk import trace_kv

    with trace_kv(model, share=0.0) as trace:
        generate(model)
        generate(model)
    assert [(each.request, each.forward) for each in trace.samples] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert "looked at 4 of 12 forward passes" in str(trace)
