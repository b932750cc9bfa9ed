"""Bytes of key-value caches of every form, and letting go of them."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sdk.tensors import Cache, Layer, Quantised, Tensor, full_cache
from vramwatch.sdk.caches import Held, measure, release


def pair(elements=100):
    return Tensor(elements), Tensor(elements)


FORMS = {
    "transformers 5": full_cache,
    "an encoder and a decoder": lambda: SimpleNamespace(
        self_attention_cache=Cache(Layer(*pair())), cross_attention_cache=Cache(Layer(*pair()))
    ),
    "transformers 4": lambda: SimpleNamespace(key_cache=list(pair()), value_cache=list(pair())),
    "a tuple of pairs": lambda: (pair(), pair()),
    "an engine's own list": lambda: [Tensor(200), Tensor(200)],
    "by layer name": lambda: {"layers.0": pair(), "layers.1": pair()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_cache_is_measured_layer_by_layer_whatever_its_form(form):
    found = measure(FORMS[form]())
    assert [layer.logical for layer in found.layers] == [400, 400]
    assert (found.logical, found.resident) == (800, 800)


@pytest.mark.parametrize("empty", [None, (), Cache(), Cache(Layer())])
def test_a_cache_before_its_first_token_holds_nothing(empty):
    assert measure(empty).resident == 0


def test_the_prompt_behind_a_sliding_window_is_resident_and_not_logical():
    prompt = Tensor(100)
    found = measure(Cache(Layer(prompt.view(7), None)))
    assert (found.logical, found.resident) == (14, 200)


def test_a_storage_that_layers_and_caches_share_counts_once_in_the_whole():
    shared = Tensor(100)
    found = measure(Cache(Layer(shared, shared.view(50))), Cache(Layer(shared)))
    assert [layer.resident for layer in found.layers] == [200, 200]
    assert (found.logical, found.resident) == (500, 200)


def test_quantised_tensors_count_what_they_consist_of_with_their_residual():
    layer = Layer(
        Tensor(10),
        Tensor(10),
        _quantized_keys=Quantised(100),
        _quantized_values=(Tensor(50, 1), {"scale": Tensor(4)}),
    )
    assert measure(Cache(layer)).resident == 20 + 20 + (50 + 16) + (50 + 8)


def test_the_states_of_linear_attention_count_wherever_they_lie():
    layer = Layer(conv_states={0: Tensor(10), 1: None}, recurrent_states={0: Tensor(30), 1: None})
    assert measure(Cache(layer)).resident == 80


def test_counters_and_the_configuration_of_a_layer_are_no_cache():
    assert measure(Cache(Layer(*pair(1)))).resident == 4


def test_bytes_are_told_by_the_device_on_which_they_lie():
    found = measure(Cache(Layer(Tensor(10), Tensor(10, device="cpu"))))
    assert dict(found.devices) == {"cuda:0": Held(20, 20), "cpu": Held(20, 20)}


def test_a_cached_key_that_holds_its_graph_is_seen():
    assert measure(full_cache(requires_grad=True)).requires_grad
    assert not measure(full_cache()).requires_grad


@pytest.mark.parametrize("form", [form for form in FORMS if form != "a tuple of pairs"])
def test_a_released_cache_holds_nothing(form):
    cache = FORMS[form]()
    release(cache)
    assert measure(cache).resident == 0


def test_a_released_layer_allocates_anew_when_it_is_used_again():
    cache = full_cache()
    release(cache)
    assert not any(layer.is_initialized for layer in cache.layers)
    assert all(layer.config for layer in cache.layers)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500)), max_size=8))
def test_views_never_hold_less_than_they_show(shapes):
    layers = [Layer(Tensor(shown + behind).view(shown)) for shown, behind in shapes]
    found = measure(Cache(*layers))
    assert found.logical == sum(layer.logical for layer in found.layers)
    assert found.resident == sum(layer.resident for layer in found.layers) >= found.logical
