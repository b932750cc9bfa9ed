"""The reference experiment on the CPU, each run in a process of its own."""

import pytest

from tests.probe.runs import fault_names, planted, short
from vramwatch.probe.experiment import Planted
from vramwatch.probe.findings import findings
from vramwatch.probe.foreseen import parting
from vramwatch.probe.results import Ended

pytestmark = pytest.mark.needs_torch


def test_a_clean_run_finds_no_fault_and_gives_everything_back() -> None:
    result = short()
    assert fault_names(result) == []
    assert result.at("release").tensors == result.at("load").tensors
    assert result.at("unload").tensors == 0


def test_the_weights_of_a_load_are_its_parameters_and_buffers() -> None:
    result = short()
    assert result.at("load").tensors == result.weights


def test_the_cache_of_a_request_has_the_bytes_of_the_formula() -> None:
    reading = short().at("generate")
    # keys and values, layers, heads of 32, prompt + new - 1 tokens (the last is never cached), itemsize
    assert reading.kv_logical == reading.kv_resident == 2 * 4 * 4 * 32 * (24 + 8 - 1) * 4


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Planted.RETAINED_CACHE, "retained cache"),
        (Planted.GRAD_LEFT_ON, "cache that carries gradients"),
        (Planted.IGNORED_WINDOW, "ignored window"),
        (Planted.STATIC_RATCHET, "grown static cache"),
        (Planted.SAVED_EXCEPTION, "saved exception"),
        (Planted.GROWING_BATCH, "growing batch"),
    ],
)
def test_a_planted_fault_is_found_and_named_alone(fault: Planted, name: str) -> None:
    assert fault_names(planted(fault)) == [name]


def test_a_retained_cache_is_named_by_layer_and_by_who_holds_it() -> None:
    remnants = planted(Planted.RETAINED_CACHE).remnants
    caches = [each for each in remnants if each.what.startswith("KV cache")]
    assert [(each.what, each.where, each.held_by) for each in caches] == [
        ("KV cache of request 0", "layers 0 to 3", "a list of 2"),
        ("KV cache of request 1", "layers 0 to 3", "a list of 2"),
    ]
    assert all(each.size == short().at("generate").kv_resident for each in caches)


def test_a_saved_exception_is_named_with_its_words() -> None:
    sentence = findings(planted(Planted.SAVED_EXCEPTION))[0].sentence
    assert "a saved RuntimeError: the client went away at token 28" in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch": 4, "prompt": 128},
        {"batch": 2, "tokens": 64},
        {"model": "tiny-mistral", "prompt": 100},
        {"model": "tiny-gemma-2"},
        {"model": "tiny-qwen3", "batch": 3},
        {"model": "mixtral-8x7b"},  # a mixture of experts in float32
        {"model": "deepseek-v3", "prompt": 128},  # on the CPU its attention is a matrix
        {"model": "jamba-v0.1"},
        {"attention": "eager", "prompt": 200},
    ],
    ids=str,
)
def test_the_peak_is_foreseen_within_five_percent(changes: dict[str, object]) -> None:
    result = short(**changes)
    assert result.predicted_peak == pytest.approx(result.peak, rel=0.05)


def test_running_out_of_memory_is_a_result_with_what_was_read_so_far() -> None:
    result = short(budget_bytes=12_000_000, batch=8)
    assert result.ended is Ended.OUT_OF_MEMORY
    assert [each.stage for each in result.readings] == ["baseline", "load", "generate"]
    assert fault_names(result) == ["out of memory"]


def test_a_model_in_a_directory_is_loaded_with_its_own_weights(tmp_path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from vramwatch.probe.families import config_of

    config = AutoConfig.for_model(**config_of("tiny-qwen3", False))
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    result = short(model=str(tmp_path))
    assert fault_names(result) == []
    assert result.weights == short(model="tiny-qwen3").weights


def test_a_quantised_cache_holds_fewer_bytes() -> None:
    plain, quantised = short(model="tiny-qwen3"), short(model="tiny-qwen3", cache="quantized")
    assert quantised.at("generate").kv_resident < plain.at("generate").kv_resident


@pytest.mark.parametrize(
    "name", ["llama-2-7b", "mistral-7b-v0.1", "gemma-2-9b", "deepseek-v3", "mamba2-2.7b", "jamba-v0.1"]
)
def test_the_trace_of_a_family_is_the_formulas_to_the_byte_in_every_layer(name: str) -> None:
    result = short(model=name, tokens=4, requests=1)
    assert result.samples
    assert parting(result) is None


def test_a_tensor_that_is_made_of_others_counts_as_those() -> None:
    """Quantised weights of torchao and quanto are such; the whole says that it is as large as before."""
    import torch
    from torch.testing._internal.two_tensor import TwoTensor

    from vramwatch.probe.models import weight_bytes
    from vramwatch.probe.tensors import LiveTensors

    with LiveTensors() as live:
        model = torch.nn.Module()
        model.pair = torch.nn.Parameter(TwoTensor(torch.ones(256), torch.ones(256)))
        live.follow(model)
        assert live.now == weight_bytes(model) == 2 * 256 * 4


def test_memory_that_ran_out_in_mid_request_is_not_said_to_be_the_cache_of_the_one_before() -> None:
    result = short(planted=Planted.GROWING_BATCH, requests=3, budget_bytes=12_400_000)
    assert result.ended is Ended.OUT_OF_MEMORY
    assert 0 < len(result.floors) < 3
    told = " ".join(each.sentence for each in findings(result))
    assert "of weights and" in told
    assert "last request's KV cache" not in told
