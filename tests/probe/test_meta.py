"""The formulas beside the models' own code, on the meta device: needs PyTorch and transformers."""

import json
import subprocess
import sys

import pytest

from vramwatch import models
from vramwatch.cli.checking import compare, expands_latent, questions
from vramwatch.core.architecture import read_architecture
from vramwatch.core.kvmath import Precision
from vramwatch.core.planning import Demand
from vramwatch.probe.meta import measure

pytestmark = pytest.mark.needs_torch

CONTEXT = 6000
"""Beyond every window of the catalogue."""


def compared(config, architecture):
    """Return what ``check`` would, with the model's code run in this process, which costs less."""
    context = min(CONTEXT, architecture.context or CONTEXT)
    asked = questions(config, architecture, Demand(1, context, context, Precision()))
    return compare(architecture, asked["prompts"], measure(asked))


@pytest.mark.timeout(300)  # 671 billion parameters take their time to be named
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("name", models.names())
def test_parameters_and_every_layers_cache_are_those_of_the_models_own_code(name):
    config = models.read(name).config
    architecture = read_architecture(config, expands_latent=expands_latent(config["model_type"]))
    corrected, checked = compared(config, architecture)
    assert checked.differences == ()
    assert corrected == architecture


@pytest.mark.filterwarnings("ignore")
def test_a_formula_that_is_wrong_is_told_layer_and_bytes_and_the_real_parameters_count():
    config = models.read("qwen3-8b").config
    corrected, checked = compared(config, read_architecture({**config, "head_dim": 64}))
    assert checked.agrees is False
    assert corrected.parameters == read_architecture(config).parameters
    assert "by formula" in checked.differences[0]
    assert "after 8 tokens layer 0 keeps 32,768 bytes, by formula 16,384" in checked.differences


def test_a_model_that_transformers_does_not_know_is_planned_by_formula_and_that_is_said(tmp_path):
    config = {**models.read("llama-3.2-1b").config, "model_type": "never_heard_of"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "vramwatch", "plan", str(tmp_path), "--free", "80GiB", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["check"]
    assert (found["by"], found["agrees"]) == ("formula", None)
    assert found["why"].startswith(
        "the real code could not be run: ValueError: Unrecognized model identifier"
    )


def test_the_verb_itself_imports_no_pytorch():
    code = (
        "import sys; from vramwatch.cli import main; "
        "main(['plan', 'llama-3.2-1b', '--free', '80GiB', '--exact'], standalone_mode=False); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "are those of the real code: transformers" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
