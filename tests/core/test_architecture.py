"""What a configuration says of a model, and what is said of one that does not say it."""

import pytest

from vramwatch import models
from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import Attention, Latent, State

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


def windows(config):
    return [cache.window for cache in read_architecture(config).caches]


# As counted by those who loaded the published weights: the hub's "safetensors.total", llama.cpp's "n_params",
# or the sum over parameters() in a log. A field of a configuration that is wrong shows here.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b-v0.1": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "gemma-2-9b": 9_241_705_984,
    "phi-3-mini-4k": 3_821_079_552,
    "phi-4": 14_659_507_200,
    "gpt-oss-120b": 116_829_156_672,
    "mamba-2.8b": 2_768_345_600,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_model_of_the_catalogue_has_as_many_parameters_as_its_published_weights(name, parameters):
    assert read_architecture(models.read(name).config).parameters == parameters


@pytest.mark.parametrize(("name", "billions"), [("llama-3.1-405b", 405.853), ("deepseek-v3", 671.026)])
def test_parameters_are_as_many_as_published(name, billions):
    assert read_architecture(models.read(name).config).parameters / 10**9 == pytest.approx(
        billions, abs=0.001
    )


def test_a_head_size_that_is_not_hidden_over_heads_counts():
    assert read_architecture(models.read("qwen3-32b").config).caches[0].keys == 8 * 128


def test_the_head_size_of_mla_is_not_taken_for_that_of_its_cache():
    config = {**models.read("deepseek-v3").config, "head_dim": 64}
    assert set(read_architecture(config).caches) == {Latent(576)}


def test_without_key_value_heads_every_head_has_its_own():
    assert read_architecture(LLAMA).caches[0] == Attention(4, 64, 64, None)


def test_a_window_that_is_switched_off_is_none():
    window = {"sliding_window": 16, "use_sliding_window": False}
    assert windows({**LLAMA, "model_type": "qwen2", **window}) == [None] * 3


def test_layers_that_are_listed_are_taken_as_they_are_listed():
    kinds = ["sliding_attention", "full_attention", "full_attention"]
    assert windows({**LLAMA, "layer_types": kinds, "sliding_window": 16}) == [16, None, None]


def test_layers_that_share_keys_and_values_keep_none():
    assert read_architecture({**LLAMA, "num_kv_shared_layers": 2}).caches[1:] == (None, None)


def test_a_hybrid_has_states_where_it_does_not_attend():
    jamba = read_architecture(models.read("jamba-v0.1").config).caches
    assert [place for place, cache in enumerate(jamba) if isinstance(cache, Attention)] == [4, 12, 20, 28]
    assert sum(isinstance(cache, State) for cache in jamba) == 28


def test_of_a_model_of_several_parts_the_language_model_is_read_and_that_is_said():
    found = read_architecture({"model_type": "llava", "text_config": LLAMA, "vision_config": {}})
    assert found.parameters == read_architecture(LLAMA).parameters
    assert "language model alone" in found.notes[0]


def test_what_gemma_3_leaves_to_its_class_is_known():
    published = {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "model_type": "gemma3_text",
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "sliding_window": 1024,
    }
    found = read_architecture({"model_type": "gemma3", "text_config": published})
    assert found.caches == read_architecture(models.read("gemma-3-12b").config).caches
    assert found.parameters == read_architecture(models.read("gemma-3-12b").config).parameters


def test_a_type_that_is_not_known_is_counted_like_llama_and_that_is_said():
    found = read_architecture({**LLAMA, "model_type": "novel"})
    assert found.parameters == read_architecture(LLAMA).parameters
    assert found.notes == ("the parameters of novel are counted as if its layers were Llama's",)


def test_older_names_of_fields_are_understood():
    old = {
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 3,
        "n_head": 4,
        "vocab_size": 100,
        "n_positions": 32,
    }
    found = read_architecture(old)
    assert found.context == 32
    assert found.caches[0] == Attention(4, 64, 64, None)


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_field_that_is_missing_is_named(name):
    with pytest.raises(ValueError, match=name):
        read_architecture({key: value for key, value in LLAMA.items() if key != name})


@pytest.mark.parametrize("wrong", [-1, 2.5, True, 10**12, [64], float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused_with_its_name(wrong):
    with pytest.raises(ValueError, match="hidden_size is"):
        read_architecture({**LLAMA, "hidden_size": wrong})


@pytest.mark.parametrize("name", ["num_attention_heads", "num_hidden_layers", "hidden_size"])
def test_a_size_of_zero_is_refused(name):
    with pytest.raises(ValueError, match=name):
        read_architecture({**LLAMA, name: 0})


def test_layer_types_that_do_not_fit_the_number_of_layers_are_refused():
    with pytest.raises(ValueError, match="layer_types names 1 layers, num_hidden_layers says 3"):
        read_architecture({**LLAMA, "layer_types": ["full_attention"]})


def test_a_number_of_layers_that_nobody_meant_is_refused():
    with pytest.raises(ValueError, match="num_hidden_layers is 50000000"):
        read_architecture({**LLAMA, "num_hidden_layers": 50_000_000})


@pytest.mark.parametrize(
    ("published", "kind"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
        ("nonsense", None),
    ],
)
def test_how_weights_were_published_is_read(published, kind):
    assert read_architecture({**LLAMA, "quantization_config": published}).quantization == kind


def test_more_key_value_heads_than_heads_are_refused():
    with pytest.raises(ValueError, match="num_key_value_heads"):
        read_architecture({**LLAMA, "num_key_value_heads": 8})
