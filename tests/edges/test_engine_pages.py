"""What each engine's pages tell, of releases old and new; every page says where its names come from."""

import json
import re
import time
from dataclasses import replace

import pytest

from tests.engine_pages import PAGES, page
from vramwatch import families
from vramwatch.core.metric_pages import GREATEST, RANKS_MOST, SERIES_MOST, Told, read_page
from vramwatch.core.model import ProcessFacts, ProcessKey
from vramwatch.core.units import GIB
from vramwatch.gauging.fetching import PAGE_MOST

ENGINES = {name: found() for name, found in families.discover("vramwatch.engines").items()}


def process(*argv, environment=None):
    return ProcessFacts(
        ProcessKey("boot", 4242, 77),
        name=argv[0][:15],
        argv=argv,
        title=" ".join(argv),
        environment=environment or {},
    )


def read(engine, **pages):
    return ENGINES[engine].read({f"/{path.replace('__', '/')}": page(name) for path, name in pages.items()})


TOLD = [
    (
        "vllm",
        {"metrics": "vllm-0.33.txt"},
        {
            "engine_kv_ratio": 0.9875,
            "engine_prefix_hit_ratio": 0.25,
            "engine_sleep_level": 0.0,
            "requests_running": 12.0,
            "requests_waiting": 5.0,
            "requests_total": 1000.0,
            "preemptions_total": 7.0,
        },
    ),
    (
        "vllm",
        {"metrics": "vllm-0.8.txt"},
        {
            "engine_kv_ratio": 0.5,
            "engine_prefix_hit_ratio": 0.5,
            "requests_running": 2.0,
            "requests_waiting": 0.0,
        },
    ),
    (
        "sglang",
        {"metrics": "sglang-0.5.23.txt"},
        {
            "engine_kv_ratio": 50_862 / 102_400,
            "engine_pool_bytes": 10.0 * GIB,
            "engine_kv_bytes": pytest.approx((50_862 + 25_600) / 102_400 * 10.0 * GIB),
            "engine_evictable_bytes": 2.5 * GIB,
            "engine_prefix_hit_ratio": 0.25,
            "requests_running": 4.0,
            "requests_waiting": 2.0,
            "requests_total": 1234.0,
            "preemptions_total": 3.0,
        },
    ),
    (
        "lmdeploy",
        {"metrics": "lmdeploy-0.18.txt"},
        {
            "engine_kv_ratio": 0.75,
            "engine_prefix_hit_ratio": 0.5,
            "requests_running": 8.0,
            "requests_waiting": 3.0,
            "requests_total": 41.0,
        },
    ),
    (
        "tensorrt_llm",
        {"prometheus__metrics": "tensorrt-llm-2026.txt"},
        {
            "engine_kv_ratio": 0.625,
            "engine_prefix_hit_ratio": 0.125,
            "requests_running": 6.0,
            "requests_waiting": 0.0,
            "requests_total": 77.0,
        },
    ),
    (
        "tgi",
        {"metrics": "tgi-3.txt"},
        {"requests_running": 4.0, "requests_waiting": 7.0, "requests_total": 51.0},
    ),
    (
        "triton",
        {"metrics": "triton-trtllm.txt"},
        {
            "engine_kv_ratio": 0.375,
            "requests_running": 5.0,
            "requests_waiting": 1.0,
            "requests_total": 62.0,
        },
    ),
    ("triton", {"metrics": "triton.txt"}, {"requests_waiting": 4.0, "requests_total": 500.0}),
    (
        "nim",
        {"v1__metrics": "nim-1.txt"},
        {"engine_kv_ratio": 0.5, "requests_running": 3.0, "requests_waiting": 1.0},
    ),
    (
        "nim",
        {"v1__metrics": "vllm-0.33.txt"},
        {"engine_kv_ratio": 0.9875, "requests_running": 12.0, "requests_waiting": 5.0},
    ),
    (
        "llama_cpp",
        {"metrics": "llama-cpp-2025.txt"},
        {"engine_kv_ratio": 0.25, "requests_running": 1.0, "requests_waiting": 0.0},
    ),
    (
        "llama_cpp",
        {"metrics": "llama-cpp-0c1e57098.txt", "slots": "llama-cpp-0c1e57098-slots.json"},
        {"engine_kv_ratio": 1954 / 4096, "requests_running": 1.0, "requests_waiting": 0.0},
    ),
    (
        "ollama",
        {"api__ps": "ollama-0.32.json"},
        {"model_bytes": 9663676416.0, "model_gpu_bytes": 7247757312.0},
    ),
    ("tei", {"metrics": "tei-1.9.txt"}, {"requests_waiting": 3.0, "requests_total": 42.0}),
    (
        "aphrodite",
        {"metrics": "aphrodite-0.24.txt"},
        {
            "engine_kv_ratio": 0.9875,
            "engine_prefix_hit_ratio": 0.25,
            "engine_sleep_level": 0.0,
            "requests_running": 12.0,
            "requests_waiting": 5.0,
            "requests_total": 1000.0,
            "preemptions_total": 7.0,
        },
    ),
    ("comfyui", {"prompt": "comfyui-0.3.64-prompt.json"}, {"requests_running": 1.0, "requests_waiting": 2.0}),
    (
        "comfyui",
        {"system_stats": "comfyui-002c3fb9a-system_stats.json", "prompt": "comfyui-0.3.64-prompt.json"},
        {
            "torch_reserved_bytes": 8.0 * GIB,
            "torch_allocated_bytes": 7.0 * GIB,
            "requests_running": 1.0,
            "requests_waiting": 2.0,
        },
    ),
    (
        "comfyui",
        {"system_stats": "comfyui-0.3.64-system_stats.json", "prompt": "comfyui-0.3.64-prompt.json"},
        {
            "torch_reserved_bytes": 8.0 * GIB,
            "torch_allocated_bytes": 7.0 * GIB,
            "requests_running": 1.0,
            "requests_waiting": 2.0,
        },
    ),
]


@pytest.mark.parametrize(("engine", "pages", "figures"), TOLD)
def test_a_page_tells_these_figures_and_no_others(engine, pages, figures):
    told = [each for each in read(engine, **pages) if each.model is None]
    assert [replace(each, rank=None, pool_tokens=None) for each in told] == [Told(figures)]


def test_ollama_tells_its_models_in_sum_and_each_by_its_name():
    models = [
        {"name": "big", "size": 9.0, "size_vram": 6.0},
        {"name": "small", "size": 3.0, "size_vram": 3.0},
    ]
    whole, big, small = ENGINES["ollama"].read({"/api/ps": json.dumps({"models": models})})
    assert whole == Told({"model_bytes": 12.0, "model_gpu_bytes": 9.0})
    assert big == Told({"model_bytes": 9.0, "model_gpu_bytes": 6.0}, model="big")
    assert small.model == "small"


def test_a_sum_is_not_told_of_models_that_do_not_all_tell_their_size():
    models = [{"name": "big", "size": 9.0, "size_vram": 6.0}, {"name": "odd", "size": "?", "size_vram": 3.0}]
    whole, *_ = ENGINES["ollama"].read({"/api/ps": json.dumps({"models": models})})
    assert whole == Told({"model_gpu_bytes": 9.0})


def test_two_data_parallel_engines_tell_each_for_itself():
    first, second = read("vllm", metrics="vllm-0.33-dp2.txt")
    assert (first.rank, second.rank) == (0, 1)
    assert (first.figures["engine_kv_ratio"], second.figures["engine_kv_ratio"]) == (0.9875, 0.25)
    assert (first.figures["requests_running"], second.figures["requests_running"]) == (12.0, 3.0)


@pytest.mark.parametrize("release", ["0.33", "before it told tokens"])
def test_a_data_parallel_engine_has_its_own_blocks_and_not_those_of_all(release):
    """vLLM tells the sum of blocks on the line of each engine."""
    text = page("vllm-0.33-dp2.txt")
    if release != "0.33":
        text = text.replace('kv_cache_size_tokens="262144",', "")
    assert [each.pool_tokens for each in ENGINES["vllm"].read({"/metrics": text})] == [262_144, 262_144]


def test_a_pool_whose_bytes_were_given_to_vllm_is_told_in_bytes():
    text = page("vllm-0.33-dp2.txt").replace('memory_bytes="None"', 'memory_bytes="8589934592"')
    _, second = ENGINES["vllm"].read({"/metrics": text})
    assert second.figures["engine_pool_bytes"] == 8 * GIB
    assert second.figures["engine_kv_bytes"] == 2 * GIB
    assert second.pool_tokens is None


def test_pools_beside_that_of_tokens_leave_sglangs_bytes_of_a_token_unknown():
    text = page("sglang-0.5.23.txt")
    text = re.sub(r"(?m)^(sglang:mamba_available_tokens.*) 0.0$", r"\1 12.0", text)
    (told,) = ENGINES["sglang"].read({"/metrics": text})
    assert told.figures["engine_pool_bytes"] == 10 * GIB
    assert not {"engine_kv_bytes", "engine_evictable_bytes"} & told.figures.keys()


def test_the_fullest_of_sglangs_pools_counts():
    text = re.sub(r"(?m)^(sglang:mamba_usage.*) 0.0$", r"\1 0.75", page("sglang-0.5.23.txt"))
    (told,) = ENGINES["sglang"].read({"/metrics": text})
    assert told.figures["engine_kv_ratio"] == 0.75


def test_comfyui_with_memory_on_several_gpus_does_not_say_which_figures_are_of_which():
    said = json.loads(page("comfyui-002c3fb9a-system_stats.json"))
    said["devices"][1]["torch_vram_total"] = 1 << 30
    queue = page("comfyui-0.3.64-prompt.json")
    (told,) = ENGINES["comfyui"].read({"/system_stats": json.dumps(said), "/prompt": queue})
    assert told == Told({"requests_running": 1.0, "requests_waiting": 2.0})


@pytest.mark.parametrize(
    ("options", "environment", "machine", "is_asked"),
    [
        ((), {}, 1, True),
        ((), {}, 4, False),
        ((), {}, None, False),
        (("--cuda-device", "2"), {}, 4, True),
        (("--cuda-device", "1,2"), {}, 4, False),
        ((), {"CUDA_VISIBLE_DEVICES": "GPU-0a1b"}, 4, True),
        ((), {"NVIDIA_VISIBLE_DEVICES": "all"}, 1, True),
        ((), {"NVIDIA_VISIBLE_DEVICES": "all"}, 4, False),
        ((), {"CUDA_VISIBLE_DEVICES": "0,1", "NVIDIA_VISIBLE_DEVICES": "0"}, 4, False),
    ],
)
def test_comfyui_is_not_made_to_open_gpus_that_it_does_not_use(options, environment, machine, is_asked):
    asks = ENGINES["comfyui"].asks(
        process("python", "/opt/ComfyUI/main.py", *options, environment=environment)
    )
    assert ("/system_stats" in asks.harmless(machine)) is is_asked
    assert "/prompt" in asks.harmless(machine)


def test_replicas_of_xinference_tell_each_for_itself():
    first, second = read("xinference", metrics="xinference-4.txt")
    assert (first.model, first.rank, second.rank) == ("qwen2.5-instruct", 0, 1)
    assert first.figures == {"requests_running": 2.0, "requests_total": 12.0}
    assert second.figures == {"requests_running": 0.0, "requests_total": 9.0}


@pytest.mark.parametrize("level", [1, 2])
def test_an_engine_that_sleeps_tells_how_deep(level):
    state = {1: "weights_offloaded", 2: "discard_all"}[level]
    text = page("vllm-0.33.txt").replace('"awake"} 1.0', '"awake"} 0.0')
    text = text.replace(f'"{state}"}} 0.0', f'"{state}"}} 1.0')
    (told,) = ENGINES["vllm"].read({"/metrics": text})
    assert told.figures["engine_sleep_level"] == level


def slots(*each):
    said = [
        {"id": number, "n_ctx": 4096, "is_processing": busy, "n_prompt_tokens": tokens}
        for number, (busy, tokens) in enumerate(each)
    ]
    return ENGINES["llama_cpp"].read({"/slots": json.dumps(said)})


def test_slots_tell_what_runs_and_a_single_one_how_full_it_is():
    assert slots((True, 1024)) == (Told({"engine_kv_ratio": 0.25, "requests_running": 1.0}),)
    assert slots((False, 1024)) == (Told({"engine_kv_ratio": 0.0, "requests_running": 0.0}),)
    assert slots((True, 1024), (True, 12)) == (Told({"requests_running": 2.0}),)


def test_a_server_that_may_sleep_is_not_woken_by_a_look_at_its_slots():
    asks = ENGINES["llama_cpp"].asks
    assert asks(process("llama-server", "-m", "x.gguf")).paths == ("/metrics", "/slots")
    assert asks(process("llama-server", "-m", "x.gguf", "--sleep-idle-seconds", "60")).paths == ("/metrics",)


def test_lmdeploy_is_not_asked_where_its_ranks_cannot_be_told_apart():
    command = ("lmdeploy", "serve", "api_server", "internlm3")
    asks = ENGINES["lmdeploy"].asks
    assert asks(process(*command)).paths == asks(process(*command, "--dp", "1")).paths == ("/metrics",)
    assert asks(process(*command, "--dp", "2")).paths == ()


def test_ollama_is_asked_where_it_was_told_to_listen():
    runner = ("ollama", "runner", "--model", "/m/blobs/sha256-ab", "--port", "40001")
    asks = ENGINES["ollama"].asks(process(*runner, environment={"OLLAMA_HOST": "http://0.0.0.0:9999"}))
    assert (asks.port, asks.port_options) == (9999, ())
    assert ENGINES["ollama"].asks(process(*runner)).port is None


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("0.0.0.0:9999", 9999),
        (" '127.0.0.1:9999' ", 9999),
        ("http://[::1]:9999/ollama", 9999),
        (":9999", 9999),
        ("http://ollama.example", 80),
        ("https://ollama.example/", 443),
        ("0.0.0.0", None),
        ("0.0.0.0:0", None),
        ("", None),
    ],
)
def test_an_address_of_ollama_names_a_port_as_ollama_reads_it(address, port):
    facts = process("ollama", "serve", environment={"OLLAMA_HOST": address})
    assert ENGINES["ollama"].asks(facts).port == port


def gauged():
    return [engine for engine in ENGINES.values() if hasattr(engine, "read")]


@pytest.mark.parametrize("engine", gauged(), ids=lambda engine: type(engine).__name__)
def test_another_engines_page_is_not_its_own(engine):
    own = {name for known, pages, _ in TOLD if ENGINES[known] is engine for name in pages.values()}
    foreign = ["tgi-3.txt", "lmdeploy-0.18.txt", "xinference-4.txt", "comfyui-0.3.64-prompt.json"]
    for name in (each for each in foreign if each not in own and type(engine).__name__.lower() not in each):
        assert engine.read(dict.fromkeys(engine.asks(process("x")).paths, page(name))) == ()


def test_every_page_says_where_its_names_come_from():
    note = page("NOTE.md")
    for place in (each for each in PAGES.iterdir() if each.name != "NOTE.md"):
        said = place.read_text() if place.suffix == ".txt" else note
        assert said.startswith(("# composed: ", "# recorded: ")) or place.name in note, place.name


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e300", "", "0x10", "1_0", "zehn"])
def test_a_value_that_is_no_figure_is_not_told_and_never_zero(value):
    assert read_page(f"a_b {value}", ["a_b"]) == {}


def test_labels_may_hold_anything_that_is_escaped():
    (line,) = read_page('a{x="q\\"} 5",y="a\\\\b\\nc",z=""} 7', ["a"])["a"]
    assert line.labels == {"x": 'q"} 5', "y": "a\\b\nc", "z": ""}
    assert line.value == 7


def test_a_page_without_end_costs_bounded_memory():
    text = "a 1\n" * (SERIES_MOST + 10)
    assert len(read_page(text, ["a"])["a"]) == SERIES_MOST
    assert read_page(f"a {GREATEST * 4}", ["a"]) == {}


RUNNING = "vllm:num_requests_running"

HOSTILE = {
    "a thousand ranks": "\n".join(f'{RUNNING}{{engine="{n}"}} {n}' for n in range(SERIES_MOST)),
    "a label without end": f'{RUNNING}{{a="' + '\\"' * (PAGE_MOST // 2 - 50) + '"} 1',
    "labels without end": f"{RUNNING}{{" + ",".join(f'a{n}="b"' for n in range(PAGE_MOST // 13)) + "} 1",
    "long lines": (f'{RUNNING}{{a="' + '\\"' * 4000 + '"} 1\n') * (PAGE_MOST // 8192),
    "lines that say nothing": f"{RUNNING} NaN\n" * (PAGE_MOST // 30),
    "malformed lines": f'{RUNNING}{{engine="1 1\n' * (PAGE_MOST // 40),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_page_costs_seconds_of_the_processor_at_most(text):
    """Each cost 2 to 50 of them before lines and ranks were bounded, while the thread of the polls waits."""
    assert len(text) <= PAGE_MOST
    began = time.process_time()
    told = ENGINES["vllm"].read({"/metrics": text})
    assert time.process_time() - began < 4.0
    assert len(told) <= RANKS_MOST


def test_ollamas_page_tells_of_models_as_many_as_a_machine_can_load_and_by_names():
    def models(*names):
        return {"/api/ps": json.dumps({"models": [{"name": name, "size": 7} for name in names]})}

    assert len(ENGINES["ollama"].read(models("a", "b"))) == 3
    assert ENGINES["ollama"].read(models(*map(str, range(1000)))) == ()
    assert [each.model for each in ENGINES["ollama"].read(models("a" * 513))] == [None]
