"""``vramwatch plan`` as it is called: models by path, by hub id, by name; what is free; what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest

from tests.nvml.gpu import GIB, Process
from tests.polls import holding, instant, ledger
from vramwatch import models
from vramwatch.cli.checking import expands_latent, missing
from vramwatch.clock import MonotonicClock
from vramwatch.control.control import ControlServer
from vramwatch.core.poll import Pace, Poll
from vramwatch.core.units import Bytes, Seconds
from vramwatch.store import Store
from vramwatch.store.location import mark

TINY = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "torch_dtype": "float32",
}


def plan(*arguments, tmp_path=None, **environment):
    """Run the verb with nothing of this machine's configuration, store and downloads."""
    home = str(tmp_path or "/nonexistent")
    return subprocess.run(
        [sys.executable, "-m", "vramwatch", "plan", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            **{"HOME": home, "XDG_STATE_HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home},
            **environment,
        },
    )


def record(*arguments, **environment):
    done = plan(*arguments, "--formula", "--format", "json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(json.dumps(TINY))
    return tmp_path / "tiny"


# --- which model -----------------------------------------------------------------------------------


def test_a_folder_and_its_configuration_name_the_same_model(folder):
    by_folder, by_file = (record(str(path), "--free", "2GiB") for path in (folder, folder / "config.json"))
    assert by_folder["bytes_per_token"] == by_file["bytes_per_token"] == 2 * 2 * 2 * 16 * 4
    assert by_folder["origin"] == by_file["origin"] == str(folder / "config.json")


def test_a_hub_id_is_found_in_what_was_downloaded_before(tmp_path):
    hub = tmp_path / "models--acme--tiny"
    for commit, layers in (("old", 1), ("new", 5)):
        (hub / "snapshots" / commit).mkdir(parents=True)
        config = json.dumps({**TINY, "num_hidden_layers": layers})
        (hub / "snapshots" / commit / "config.json").write_text(config)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("old")
    assert record("acme/tiny", "--free", "2GiB", HF_HUB_CACHE=str(tmp_path))["layers"] == 1


def test_a_hub_id_of_the_catalogue_needs_no_download():
    assert record("meta-llama/Llama-2-7b-hf", "--free", "80GiB")["model"] == "llama-2-7b"


def test_a_hub_id_that_was_never_downloaded_is_refused_with_where_it_was_looked_for(tmp_path):
    done = plan("acme/none", "--free", "1GiB", tmp_path=tmp_path, HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert f"(looked in {tmp_path}/hub)" in done.stderr
    assert "vramwatch fetches nothing" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b"[1, 2]", "it is no model's configuration"),
        (b"[" * 200_000, "it is no JSON"),
        (json.dumps({"model_type": "llama"}).encode(), "it has no num_hidden_layers"),
        (json.dumps({**TINY, "vocab_size": None}).encode(), "it has no vocab_size"),
        (json.dumps({**TINY, "hidden_size": -4}).encode(), "hidden_size is -4"),
    ],
)
def test_a_configuration_that_says_nothing_useful_is_refused_with_its_path(folder, content, said):
    (folder / "config.json").write_bytes(content)
    done = plan(str(folder), "--free", "1GiB", "--formula")
    assert done.returncode == 2
    assert f"{folder}/config.json: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_configuration_is_refused(tmp_path):
    done = plan(str(tmp_path), "--free", "1GiB")
    assert done.returncode == 2
    assert "a model's folder holds a config.json" in done.stderr


# --- what is asked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "0"], "vramwatch: --batch 0: write at least 1"),
        (["--batch", "many"], "is not a valid integer"),
        (["--context", "0"], "vramwatch: --context 0: write at least 1"),
        (["--context", "5000"], "the model was made for 4096 tokens"),
        (["--prompt", "4097"], "more than the whole context, 4096 tokens"),
        (["--tp", "3"], "does not divide the 32 heads"),
        (["--tp", "2", "--free", "1GiB", "--free", "1GiB"], "--tp 2 needs 2 GPUs, and --free names 3"),
        (["--free", "much"], "vramwatch: --free: 'much' is not a size"),
        (["--free", "24"], "--free 24: no GPU is so small; write a unit, as in 80GiB"),
        (["--gpu", "0"], "give one of them"),
        (["--gpu-memory-utilization", "0"], "utilization 0: write a share above 0 and at most 1"),
        (["--watch", "--format", "json"], "use --format ndjson"),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    done = plan("llama-2-7b", "--free", "80GiB", "--formula", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_integers_for_the_cache_of_windows_are_refused():
    done = plan("gemma-2-9b", "--free", "80GiB", "--formula", "--kv-dtype", "int4")
    assert done.returncode == 2
    assert "21 of 42 are others" in done.stderr


@pytest.mark.skipif(not missing(), reason="torch and transformers are installed here")
def test_without_pytorch_the_models_own_code_is_refused_with_what_to_install():
    done = plan("llama-2-7b", "--free", "80GiB", "--exact")
    assert done.returncode == 2
    assert "install 'vramwatchd[probe]'" in done.stderr


def test_as_published_is_the_default():
    oss = record("gpt-oss-120b", "--free", "80GiB", "--context", "1024")
    assert (oss["dtype"], oss["quantize"], oss["fits"]) == ("bfloat16", "mxfp4", True)
    assert record("gpt-oss-120b", "--free", "80GiB", "--quantize", "none")["fits"] is False


def test_half_the_numbers_are_half_the_bytes():
    half, whole = (
        record("llama-2-7b", "--free", "80GiB", "--dtype", each) for each in ("float16", "float32")
    )
    assert 2 * half["bytes_per_token"] == whole["bytes_per_token"]
    assert 2 * half["weights_bytes"] == whole["weights_bytes"]


# --- what is answered ------------------------------------------------------------------------------


def test_the_batch_that_a_launcher_reads_fits_and_one_more_does_not():
    best = record("llama-2-7b", "--free", "24GiB")["max_batch"]
    assert record("llama-2-7b", "--free", "24GiB", "--batch", str(best))["fits"] is True
    assert record("llama-2-7b", "--free", "24GiB", "--batch", str(best + 1))["fits"] is False


def test_what_does_not_fit_is_an_answer_and_no_failure():
    found = record("llama-3.1-405b", "--free", "80GiB")
    assert (found["fits"], found["max_batch"], found["max_context"]) == (False, 0, 0)
    assert (found["parts"], found["device_map"], found["max_memory"]) == (None, None, None)
    done = plan("llama-3.1-405b", "--free", "80GiB", "--formula")
    assert done.returncode == 0
    assert "Does not fit on GPU 0 (80.0 GiB free)" in done.stdout


def test_the_sum_of_what_is_needed_is_told_and_adds_up():
    found = record("llama-2-7b", "--free", "80GiB", "--batch", "4")
    parts = ("weights_bytes", "kv_bytes", "activation_bytes", "overhead_bytes")
    assert sum(found[part] for part in parts) == found["peak_bytes"]
    assert found["kv_bytes"] == 4 * 4096 * found["bytes_per_token"]
    more = record("llama-2-7b", "--free", "80GiB", "--batch", "5")
    assert found["added_bytes_per_sequence"] == more["peak_bytes"] - found["peak_bytes"]


def test_one_size_stands_for_every_gpu_of_a_tensor_parallel_group():
    found = record("llama-3.1-70b", "--tp", "4", "--free", "80GiB")
    assert [gpu["free_bytes"] for gpu in found["gpus"]] == [80 * GIB] * 4
    assert found["bytes_per_token"] == 327_680 // 4
    assert found["device_map"] is None


def test_a_device_map_names_every_layer_once_and_leaves_room_for_the_cache():
    found = record("llama-3.1-70b", "--free", "80GiB", "--free", "80GiB", "--context", "8192")
    places = found["device_map"]
    assert [places[f"model.layers.{layer}"] for layer in (0, 79)] == [0, 1]
    assert len(places) == 80 + 3
    weights = [part["weights_bytes"] for part in found["parts"]]
    assert all(weights[int(gpu)] <= room < 80 * GIB for gpu, room in found["max_memory"].items())


def test_lines_are_one_object_each():
    done = plan("llama-2-7b", "--free", "80GiB", "--formula", "--format", "ndjson")
    assert len(done.stdout.splitlines()) == 1
    assert json.loads(done.stdout)["check"] == {
        "by": "formula",
        "agrees": None,
        "why": "as was asked",
        "differences": [],
    }


def test_weights_that_are_stored_otherwise_do_not_make_the_cache_seem_so():
    published = plan("deepseek-v3", "--free", "80GiB", "--tp", "8", "--formula").stdout
    assert "computed in bfloat16, weights in fp8, cache in bfloat16" in published


@pytest.mark.parametrize("name", models.names())
def test_every_model_of_the_catalogue_is_told_in_words(name):
    done = plan(name, "--free", "80GiB", "--formula")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{name}: ")
    assert "Largest batch of" in done.stdout


def test_no_pytorch_is_imported_and_nothing_heavy_either():
    code = (
        "import sys; from vramwatch.cli import main; "
        "main(['plan', 'llama-2-7b', '--free', '80GiB', '--formula'], standalone_mode=False); "
        "print(sorted({'torch', 'transformers', 'sqlalchemy', 'pynvml', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- what is free ----------------------------------------------------------------------------------


def test_without_a_daemon_the_driver_says_what_is_free(driver, tmp_path):
    driver.gpus[1].set_processes([Process(4_194_299, 60 * GIB)])
    done = plan("llama-2-7b", "--formula", "--format", "json", tmp_path=tmp_path, **driver.environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [gpu["gpu"] for gpu in found["gpus"]] == ["GPU 0"]
    crowded = plan("llama-2-7b", "--gpu", "1", "--format", "json", tmp_path=tmp_path, **driver.environment())
    assert json.loads(crowded.stdout)["max_batch"] < found["max_batch"]


def test_beside_a_daemon_its_store_says_what_is_free(tmp_path):
    path, now = tmp_path / "vramwatch.db", MonotonicClock(first_seq=1).now()
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        at_hand = ledger(now, holding(10, Bytes(3 * GIB)))
        store.write(Poll(now, (at_hand,), pace=Pace(Seconds(1.0), Seconds(5.0), 0.0)))
        found = record("llama-3.2-1b", "--store", str(path), tmp_path=tmp_path)
    assert [gpu["free_bytes"] for gpu in found["gpus"]] == [at_hand.memory.free]


def told_by_a_daemon(tmp_path, *arguments, **changed):
    """Plan beside a store, and a daemon that says what is free on GPU 0 and on the halves of GPU 1."""
    kept, now = tmp_path / "vramwatch.db", MonotonicClock(first_seq=1).now()
    size = {"free_bytes": 7 * GIB, "total_bytes": 8 * GIB}
    gpus = [
        {"gpu": "GPU-a", "ordinal": "0", "parent": None, **size},
        {"gpu": "GPU-b", "ordinal": "1", "parent": None, **size},
        *({"gpu": f"MIG-{half}", "ordinal": f"1:{half}", "parent": "GPU-b", **size} for half in (0, 1)),
    ]
    with closing(Store.open(kept, "nvml", "0.1.0")) as store:
        store.write(Poll(now, (ledger(now),), pace=Pace(Seconds(1.0), Seconds(5.0), 0.0)))
        told = {"time": time.time(), "writes": mark(kept), "gpus": gpus} | changed
        with closing(ControlServer(tmp_path / "control.sock", None, lambda request: told)) as server:
            found = record(
                "llama-3.2-1b",
                *arguments,
                tmp_path=tmp_path,
                VRAMWATCH_CONTROL__SOCKET=str(server.path),
                VRAMWATCH_STORE__PATH=str(kept),
            )
    return [(gpu["gpu"], gpu["free_bytes"]) for gpu in found["gpus"]]


@pytest.mark.parametrize(
    ("named", "planned"),
    [
        ((), ["GPU 0"]),
        (("--gpu", "1:1"), ["GPU 1:1"]),
        (("--gpu", "1"), ["GPU 1:0", "GPU 1:1"]),
        (("--gpu", "MIG-0", "--gpu", "0"), ["GPU 0", "GPU 1:0"]),
    ],
)
def test_beside_a_daemon_its_word_says_what_is_free(tmp_path, named, planned):
    assert told_by_a_daemon(tmp_path, *named) == [(gpu, 7 * GIB) for gpu in planned]


@pytest.mark.parametrize(
    "changed", [{"time": None}, {"time": 1e9}, {"writes": "0:0"}, {"gpus": []}], ids=lambda each: str([*each])
)
def test_a_daemon_that_cannot_say_it_or_writes_another_store_is_not_believed(tmp_path, changed):
    ((_, free),) = told_by_a_daemon(tmp_path, **changed)
    assert free != 7 * GIB


def test_a_store_of_long_ago_is_planned_from_and_that_is_said(tmp_path):
    path = tmp_path / "vramwatch.db"
    with closing(Store.open(path, "nvml", "0.1.0")) as store:
        store.write(Poll(instant(1), (ledger(instant(1)),), pace=Pace(Seconds(1.0), Seconds(5.0), 0.0)))
    done = plan("llama-3.2-1b", "--store", str(path), "--formula", tmp_path=tmp_path)
    assert done.returncode == 0
    assert "what is free is not of now" in done.stderr


def test_watching_answers_again_until_it_is_interrupted():
    command = [sys.executable, "-m", "vramwatch", "plan", "llama-2-7b", "--free", "80GiB", "--formula"]
    with subprocess.Popen([*command, "--watch", "--format", "ndjson"], stdout=subprocess.PIPE) as running:
        answers = [json.loads(running.stdout.readline())["max_batch"] for _ in range(2)]
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0
    assert answers[0] == answers[1] > 0


def test_without_a_gpu_it_is_said_that_one_may_be_named(tmp_path):
    done = plan("llama-2-7b", "--formula", tmp_path=tmp_path, LD_LIBRARY_PATH="")
    assert done.returncode == 69
    assert "--free 80GiB" in done.stderr


# --- which cache MLA has ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "model_type", "expanded"),
    [
        ("5.14.1", "deepseek_v3", True),
        ("5.15.0", "deepseek_v3", False),
        ("5.17.0", "deepseek_v32", True),
        ("5.18.0", "deepseek_v32", False),
        ("6.0.0.dev0", "deepseek_v3", False),
        ("unheard of", "deepseek_v3", False),
    ],
)
def test_a_latent_is_expanded_by_transformers_of_before(monkeypatch, installed, model_type, expanded):
    monkeypatch.setattr("vramwatch.cli.checking.version", lambda name: installed)
    assert expands_latent(model_type) is expanded
