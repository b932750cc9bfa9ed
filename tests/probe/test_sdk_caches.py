"""The SDK looks at real caches of transformers, and empties them, without importing torch itself."""

import gc

import pytest

from tests.sdk.daemons import Daemon
from tests.waiting import wait_until
from vramwatch.sdk import Device
from vramwatch.sdk.caches import measure, release
from vramwatch.sdk.integrations.transformers import enrolled
from vramwatch.sdk.tracing import cache_of
from vramwatch.sdk.wire import Answer

pytestmark = pytest.mark.needs_torch

TOKENS, ITEMSIZE = 12, 4
SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 50}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
LAYER = 2 * 2 * 8 * ITEMSIZE  # bytes of a token in a layer: keys and values of two heads of eight


def llama():
    import transformers

    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, **HEADS)).eval()


def prompt(tokens=TOKENS):
    import torch

    return torch.randint(1, 50, (1, tokens))


def forward(model, tokens, **given):
    """Return what the model says, and its cache."""
    import torch

    with torch.no_grad():
        output = model(tokens, use_cache=True, **given)
    return output.logits, cache_of(output)


def dynamic(config):
    import transformers

    return transformers.DynamicCache(config=config)


def static(config):
    import transformers

    return transformers.StaticCache(config=config, max_cache_len=32)


@pytest.mark.filterwarnings("ignore:.*deprecated.*")
@pytest.mark.parametrize(("made", "slots"), [(dynamic, TOKENS), (static, 32)])
def test_a_cache_is_measured_to_the_byte_and_serves_again_once_it_was_emptied(made, slots):
    import torch

    model, tokens = llama(), prompt()
    cache = made(model.config)
    first, _ = forward(model, tokens, past_key_values=cache)
    assert [layer.resident for layer in measure(cache).layers] == [LAYER * slots] * 2
    release(cache)
    assert measure(cache).resident == 0
    again, _ = forward(model, tokens, past_key_values=cache)
    assert torch.allclose(first, again)
    assert measure(cache).resident == 2 * LAYER * slots


def test_a_sliding_layer_keeps_the_whole_prompt_resident_behind_its_window():
    import transformers

    config = transformers.MistralConfig(**SMALL, **HEADS, sliding_window=8)
    _, cache = forward(transformers.MistralForCausalLM(config).eval(), prompt(100))
    layer = measure(cache).layers[0]
    assert (layer.logical, layer.resident) == (7 * LAYER, 100 * LAYER)


def test_the_states_of_mamba_are_measured_and_emptied():
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50, "state_size": 8}
    _, cache = forward(transformers.MambaForCausalLM(transformers.MambaConfig(**shape)).eval(), prompt())
    assert measure(cache).resident == 2 * ITEMSIZE * (64 * 4 + 64 * 8)  # d_inner by kernel, and by state
    release(cache)
    assert measure(cache).resident == 0


class OnCpu:
    """The CPU in place of a GPU."""

    def devices(self):
        return ()

    def uuid_of(self, device):
        return "GPU-cpu" if device == "cpu" else None

    def is_capturing(self):
        return False

    def is_grad_enabled(self):
        import torch

        return torch.is_grad_enabled()

    def empty_cache(self):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A model that is enrolled, and the daemon's end of its connection."""
    daemon = Daemon(tmp_path / "enrol.sock")
    monkeypatch.setenv("VRAMWATCH_SOCKET", str(daemon.path))
    from vramwatch.sdk import enroll

    worker = enroll(allocator=OnCpu(), clears=("caches", "gc"))
    yield worker, enrolled(llama(), worker), daemon.meet()
    worker.close()
    daemon.stop()


def test_a_cache_that_generate_leaves_behind_is_told_as_retained_and_emptied_when_asked(served):
    worker, model, peer = served
    kept = model.generate(prompt(), max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    report = peer.reports(lambda report: any(device.kv_retained for device in report.devices))
    bytes_held = 2 * LAYER * (TOKENS + 5 - 1)  # the last token is never cached
    assert report.devices == (
        Device("GPU-cpu", kv_logical=bytes_held, kv_resident=bytes_held, kv_retained=bytes_held),
    )
    assert not report.kv_requires_grad
    assert not report.grad_enabled
    peer.asks("caches")
    peer.hears(Answer)
    assert worker.safe_point()
    assert peer.hears(Answer).state == "done"
    peer.reports(lambda report: not report.devices)
    del kept


def test_what_generate_frees_is_not_kept_alive_by_being_tracked(served):
    _, model, peer = served
    model.generate(prompt(), max_new_tokens=5, do_sample=False)
    gc.collect()
    report = peer.reports(lambda report: report.requests_total == 1)
    assert report.devices == ()


def test_a_forward_pass_without_no_grad_is_found_by_its_keys(served):
    _, model, peer = served
    output = model(prompt(), use_cache=True)
    report = peer.reports(lambda report: report.kv_requires_grad)
    assert report.grad_enabled
    del output
    wait_until(lambda: not peer.reports(lambda report: True).kv_requires_grad)
