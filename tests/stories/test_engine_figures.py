"""An engine's own figures, from its page over HTTP to status, history and the detectors."""

import json
import os

import pytest

from tests.asking_engines import asking_ourselves
from tests.engine_pages import page, serving
from tests.nvml.gpu import Process
from tests.ports import free_port
from tests.receivers import answering, receiving
from tests.servers import STEP, fired, one, patterns, play
from tests.stories.test_the_daemon import House, stop
from tests.waiting import wait_until
from vramwatch.core.units import GIB
from vramwatch.core.verdicts import Cause


@pytest.fixture
def house(tmp_path, driver):
    house = House(tmp_path, driver.environment())
    house.write_config("200ms, list_interval: 500ms, list_min_interval: 500ms", engines="{interval: 1s}")
    return house


def figures(house):
    told = json.loads(house.say("status", "--format", "json").stdout)
    return {held["pid"]: held["figures"] for gpu in told["gpus"] for held in gpu["holdings"]}


def test_what_vllm_says_of_its_pool_stands_in_status_and_history(house, driver, tmp_path):
    pages = {"/metrics": page("vllm-0.33.txt")}
    port = free_port()
    command = ("serve", "Qwen/Qwen3-8B", "--port", str(port))
    with serving(tmp_path / "vllm", "vllm", *command, pages=pages, child="VLLM::EngineCore") as server:
        driver.gpus[0].set_processes([Process(server.inner, 70 * GIB)])
        with house.running() as daemon:
            house.until_ready()
            wait_until(lambda: figures(house).get(server.inner), "the engine's figures are known")
            told = figures(house)[server.inner]
            seen = house.say("status").stdout
            server.serve({"/metrics": page("vllm-0.33.txt").replace("0.9875", "0.125")})
            wait_until(
                lambda: figures(house)[server.inner]["engine_kv_ratio"] == 0.125, "they are asked for again"
            )
            said = stop(daemon)
    assert told["engine_kv_ratio"] == 0.9875
    assert told["requests_waiting"] == 5
    assert f"pid {server.inner}, KV 99% full, 5 waiting" in seen
    assert "engine tells its figures engine=vllm" in said
    history = house.say("history", "--since", "1h", "--quantity", "engine_kv_ratio", "--format", "csv").stdout
    assert ",0.9875" in history
    assert ",0.125" in history


def test_each_model_that_ollama_has_loaded_is_named_in_status_with_its_bytes(house, driver, tmp_path):
    sizes = {"gemma4:12b": (9 * GIB, 6 * GIB), "nomic-embed": (GIB, GIB)}
    models = [{"name": name, "size": size, "size_vram": vram} for name, (size, vram) in sizes.items()]
    port = free_port()
    pages = {"/api/ps": json.dumps({"models": models})}

    def loaded():
        return json.loads(house.say("status", "--format", "json").stdout)["models"]

    with serving(tmp_path / "ollama", "ollama", "serve", "--port", str(port), pages=pages) as server:
        driver.gpus[0].set_processes([Process(server.inner, 8 * GIB)])
        with house.running() as daemon:
            house.until_ready()
            wait_until(loaded, "the engine's models are known")
            (big, small), seen = loaded(), house.say("status").stdout
            stop(daemon)
    assert big == {
        "engine": "ollama",
        "pids": [server.inner],
        "model": "gemma4:12b",
        "bytes": 9 * GIB,
        "gpu_bytes": 6 * GIB,
    }
    assert small["gpu_bytes"] == GIB
    assert f"gemma4:12b  9.0 GiB, 6.0 GiB of it on GPUs, ollama pid {server.inner}" in seen
    assert "nomic-embed  1.0 GiB, all of it on GPUs" in seen


def minutes(receiver, count, fills):
    """Yield a card whose engine is asked each minute; from the third hour on its pool ``fills``."""
    asking = asking_ourselves(receiver)
    quiet = page("vllm-0.33.txt").replace("0.9875", "0.4").replace("5.0", "0.0")
    for minute in range(count):
        receiver.script = answering(200, page("vllm-0.33.txt") if fills and minute >= 120 else quiet)
        asking.now += STEP
        yield one(minute * STEP, 22_000.0, 0.9, told=asking.told()[os.getpid()])


def test_requests_that_wait_for_vllms_full_pool_come_to_be_told_though_its_size_is_not_known():
    with receiving() as receiver:
        told = fired(play(minutes(receiver, 240, fills=True)))
    assert patterns(told) == {"pool_pressure"}
    judgement = told[0].incident.judgement
    assert judgement.cause is Cause.KV_CACHE
    assert judgement.evidence.sentence.startswith("requests wait for a full pool: 5 now")
    assert judgement.evidence.numbers["pool_used_ratio"] == 0.9875


def test_an_engine_with_room_in_its_pool_is_never_spoken_of():
    with receiving() as receiver:
        assert play(minutes(receiver, 240, fills=False)) == []
