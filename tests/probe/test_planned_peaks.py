"""What a plan foresees of activations beside the tensors that live while a model runs on the CPU."""

import pytest

from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import Dtype, Precision
from vramwatch.core.planning import Demand, need

pytestmark = [pytest.mark.needs_torch, pytest.mark.filterwarnings("ignore")]

SIZES = {
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
PROMPT = 512


def seen(config, batch):
    """Return the largest sum of the bytes of live tensors in one forward pass over the prompt."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from vramwatch.probe.tensors import LiveTensors

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16).eval()
    with LiveTensors() as live, torch.no_grad():
        model(torch.zeros(batch, PROMPT, dtype=torch.long), use_cache=True, logits_to_keep=1)
    return live.peak


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama", **SIZES},
        {"model_type": "qwen3", **SIZES},
        {"model_type": "phi3", **SIZES},
        {"model_type": "gemma3_text", **SIZES},
        {"model_type": "gemma2", **SIZES},  # makes a matrix of scores
        {"model_type": "mixtral", **SIZES, **EXPERTS},
    ],
    ids=lambda config: config["model_type"],
)
def test_what_a_sequence_adds_to_the_peak_of_a_prompt_is_foreseen_within_5_percent(config):
    architecture = read_architecture(config)

    def foreseen(batch):
        precision = Precision(Dtype.BFLOAT16)
        return need(
            architecture, Demand(batch, PROMPT, PROMPT, precision, has_scores=architecture.makes_scores)
        ).peak

    added = seen(config, 4) - seen(config, 1)
    assert foreseen(4) - foreseen(1) == pytest.approx(added, rel=0.05)
