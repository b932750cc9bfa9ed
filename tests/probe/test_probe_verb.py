"""The verb, as a person calls it."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vramwatch.cli import main
from vramwatch.extras import is_installed

pytestmark = pytest.mark.timeout(600)
"""Each run imports torch in a process of its own, on a machine that may be busy."""

QUICK = ("--prompt", "16", "--tokens", "4", "--requests", "2", "--device", "cpu")


def test_a_batch_of_none_is_refused() -> None:
    answer = CliRunner().invoke(main, ["probe", "--batch", "0"])
    assert (answer.exit_code, answer.stderr) == (2, "vramwatch: --batch 0: write at least 1\n")


def test_an_unknown_variant_is_refused_with_those_that_there_are() -> None:
    answer = CliRunner().invoke(main, ["probe", "--compare", "--only", "wishful"])
    assert answer.exit_code == 2
    assert "there are reference, no_cache, retained" in answer.stderr


def test_an_interpreter_without_torch_is_told_which_extra_it_lacks(tmp_path) -> None:
    script = tmp_path / "without.py"
    script.write_text(
        "import runpy, sys\nsys.modules['torch'] = None\n"
        "runpy.run_module('vramwatch.probe.child', run_name='__main__')\n"
    )
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec env PYTHONPATH={Path.cwd()} {sys.executable} {script}\n")
    python.chmod(0o755)
    answer = CliRunner().invoke(main, ["probe", "--python", str(python)])
    assert answer.exit_code == 2
    assert "torch is not installed here; pip install 'vramwatchd[probe]'" in answer.stderr


@pytest.mark.needs_torch
def test_a_model_that_does_not_exist_is_refused_with_those_built_in(tmp_path) -> None:
    answer = CliRunner().invoke(main, ["probe", str(tmp_path / "nothing"), *QUICK])
    assert answer.exit_code == 2
    assert "built in: tiny-llama, tiny-mistral" in answer.stderr


@pytest.mark.needs_torch
def test_a_hub_id_means_published_weights_also_where_the_catalogue_has_that_model(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    answer = CliRunner().invoke(main, ["probe", "meta-llama/Llama-3.1-8B", *QUICK])
    assert answer.exit_code == 2
    assert answer.stderr.startswith("vramwatch: model 'meta-llama/Llama-3.1-8B': ")
    assert "llama-3.1-8b" in answer.stderr


@pytest.mark.needs_torch
def test_one_run_is_printed_as_json_with_units_of_bytes() -> None:
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--format", "json"])
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert [each["stage"] for each in told["readings"]] == [
        "baseline",
        "load",
        "generate",
        "release",
        "unload",
    ]


@pytest.mark.needs_torch
def test_a_comparison_shows_what_retaining_holds_and_what_cannot_run_here() -> None:
    only = [part for name in ("retained", "expandable_segments") for part in ("--only", name)]
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--compare", *only])
    assert answer.exit_code == 0, answer.stderr
    assert "retaining past_key_values" in answer.stdout
    words = " ".join(answer.stdout.split())
    assert "are still held after 2 requests; reference gives" in words
    assert "not here: expandable segments are the CUDA allocator's" in words


def test_a_sweep_without_a_budget_is_refused() -> None:
    answer = CliRunner().invoke(main, ["probe", "--sweep", "batch"])
    assert answer.exit_code == 2
    assert "say with --budget how much" in answer.stderr


@pytest.mark.needs_torch
def test_a_sweep_finds_a_batch_that_fits_where_one_more_does_not() -> None:
    answer = CliRunner().invoke(
        main, ["probe", *QUICK, "--sweep", "batch", "--budget", "13MiB", "--format", "json"]
    )
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)
    peaks = {each["value"]: each["peak_bytes"] for each in told["tried"]}
    assert peaks[told["largest"]] <= told["budget_bytes"] == 13 * 1024 * 1024
    assert peaks[told["largest"] + 1] is None


@pytest.mark.needs_torch
def test_a_sweep_in_which_nothing_fits_says_so() -> None:
    asked = ["probe", *QUICK, "--tokens", "3", "--sweep", "tokens", "--budget"]
    answer = CliRunner().invoke(main, [*asked, "11MiB"])
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "none fits 11.0 MiB"


@pytest.mark.needs_torch
@pytest.mark.parametrize(("more", "rises"), [((), False), (("--fault", "retained_cache"), True)])
def test_requests_in_a_row_tell_whether_a_floor_rises(more, rises) -> None:
    asked = ["probe", *QUICK, "--requests", "4", "--sweep", "requests", *more, "--format", "json"]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert len(told["floors_bytes"]) == 4
    assert (told["rise_bytes_per_request"] > 0) is rises


@pytest.mark.skipif(is_installed("matplotlib"), reason="matplotlib is here")
def test_a_picture_without_matplotlib_is_refused_before_anything_runs(tmp_path) -> None:
    answer = CliRunner().invoke(main, ["probe", "--png", str(tmp_path / "layers.png")])
    assert answer.exit_code == 1
    assert answer.stderr == (
        "vramwatch: --png needs matplotlib; "
        "install it where vramwatch runs: pip install 'vramwatchd[charts]'\n"
    )


@pytest.mark.needs_torch
@pytest.mark.skipif(not is_installed("matplotlib"), reason="needs matplotlib")
def test_a_run_is_drawn_as_a_picture(tmp_path) -> None:
    path = tmp_path / "layers.png"
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--png", str(path)])
    assert answer.exit_code == 0, answer.stderr
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            ("--only", "retained"),
            "--only retained: it chooses among the variants of --compare; give that too",
        ),
        (("--compare", "--sweep", "batch"), "--sweep and --compare: give one of them"),
        (("--html", "nowhere/probe.html"), "nowhere/probe.html: there is no directory nowhere"),
        (
            ("--recipe", "article", "--html", "probe.html"),
            "probe.html: --recipe makes no page and no picture; a run and --compare do",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_runs(asked, why) -> None:
    answer = CliRunner().invoke(main, ["probe", *asked])
    assert (answer.exit_code, answer.stderr) == (2, f"vramwatch: {why}\n")


@pytest.mark.needs_torch
def test_a_folder_without_weights_is_refused(tmp_path) -> None:
    fields = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    answer = CliRunner().invoke(main, ["probe", str(tmp_path), *QUICK])
    assert answer.exit_code == 2
    assert "no file named model.safetensors" in answer.stderr


@pytest.mark.needs_torch
def test_an_attention_that_nobody_knows_is_refused_with_those_that_there_are() -> None:
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--attention", "wishful"])
    assert answer.exit_code == 2
    assert answer.stderr.startswith(
        "vramwatch: --attention 'wishful': write one of auto, eager, flash_attention_2"
    )


@pytest.mark.needs_torch
def test_a_run_that_fails_is_told_and_not_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    answer = CliRunner().invoke(main, ["probe", *QUICK, "--attention", "flash_attention_3"])
    assert answer.exit_code == 1
    assert answer.stderr.startswith("vramwatch: tiny-llama: failed: ")
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.needs_torch
@pytest.mark.parametrize("verb", [("probe",), ("probe", "--compare", "--html", "page.html"), ("kv",)])
def test_a_run_that_needs_what_is_not_here_is_told_and_not_kept(verb, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, [*verb, *QUICK, "--attention", "flash_attention_2"])
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr == (
        "vramwatch: tiny-llama: not here: flash_attention_2 needs CUDA and the package flash-attn\n"
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("verb", ["probe", "kv"])
def test_an_interpreter_that_cannot_be_run_is_bad_usage(verb) -> None:
    answer = CliRunner().invoke(main, [verb, "--python", "/nowhere/python"])
    assert answer.exit_code == 2
    assert answer.stderr == (
        "vramwatch: /nowhere/python: cannot be run (No such file or directory); "
        "name a Python that has torch: --python, probe.python\n"
    )


@pytest.mark.needs_torch
def test_a_cache_that_memory_ran_out_for_is_a_result_with_what_was_seen_of_it() -> None:
    answer = CliRunner().invoke(main, ["kv", *QUICK, "--budget", "5MiB"])
    assert answer.exit_code == 0, answer.stderr
    words = " ".join(answer.stdout.split())
    assert "! out of memory: the budget of 5.0 MiB was passed by " in words
    assert "the model returned none" not in words
