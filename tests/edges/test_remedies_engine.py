"""The remedy ``engine`` against answers over real HTTP, composed after the sources named beside each call."""

import pytest
from pydantic import ValidationError

from tests.asking_engines import asking_ourselves
from tests.core.test_ladder import case
from tests.receivers import receiving
from vramwatch.core.attempts import Apply, RemedyName
from vramwatch.core.model import ProcessKey
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.units import GIB
from vramwatch.couriers.posting import HttpCourier
from vramwatch.remedies import engine
from vramwatch.remedies.engine import CALLS, Engine
from vramwatch.remedying import Hands

IDLE = 'sglang:num_running_reqs{model_name="m"} 0.0\nsglang:num_queue_reqs{model_name="m"} 0.0\n'


class Answers:
    """What an engine answers by path: texts, one after the other, the last one again and again."""

    def __init__(self, **paths):
        self.paths = {f"/{name}": list(texts) for name, texts in paths.items()}

    def __call__(self, exchange):
        texts = self.paths.get(exchange.request.path, [])
        text = texts.pop(0) if len(texts) > 1 else texts[0] if texts else None
        status = "404 Not Found" if text is None else "400 Bad Request" if text == "busy" else "200 OK"
        body = (text or "").encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        exchange.say(head.encode() + body)


COMMANDS = {
    "sglang": ("python", "-m", "sglang.launch_server", "--model-path", "m"),
    "comfyui": ("python", "/srv/ComfyUI/main.py"),
    "ollama": ("ollama", "serve"),
    "vllm": ("vllm", "serve", "m"),
    "lmdeploy": ("lmdeploy", "serve", "api_server", "m"),
}


def carried_out(script, call="sglang_flush_cache", *, is_named=True, at=None, **more):
    """Return the report of the remedy, and the paths that were asked for; the engine is this very process.

    ``at``: "configured" writes its address down, else it is found from the process.
    """
    kind = CALLS[call].engine
    with receiving(script) as receiver:
        service = {"call": call, **more}
        if at == "configured":
            service["address"] = receiver.url.rstrip("/")
        remedy = Engine(services={"chat": service} if is_named else {})
        asking = asking_ourselves(receiver, argv=(*COMMANDS[kind], "--port", str(receiver.port)))
        asking.told(look=False)
        (tenant,) = asking.tenants.values()
        assert tenant.engine.engine == kind
        apply = Apply(
            "a1",
            "i1",
            "GPU-1",
            "rule:chat",
            RemedyName.ENGINE,
            (tenant.facts.key,),
            frozenset(),
            "",
            GIB,
            1,
            facts={"OWNER_NAME": "chat", "ENGINE": kind},
        )
        report = remedy.carry_out(apply, Hands(None, HttpCourier, asking.gauging.hearing))
        return report, [(each.method, each.path) for each in receiver.got]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(engine, "TWICE_WITHIN", 0.01)


def test_a_cache_is_flushed_once_the_engine_was_seen_idle_twice():
    report, asked = carried_out(Answers(metrics=[IDLE], flush_cache=["Cache flushed."]))
    assert report.fault is None
    assert asked == [("GET", "/metrics"), ("GET", "/metrics"), ("POST", "/flush_cache")]


def test_an_engine_that_works_at_the_second_look_is_left_alone():
    busy = IDLE.replace('num_queue_reqs{model_name="m"} 0.0', 'num_queue_reqs{model_name="m"} 2.0')
    report, asked = carried_out(Answers(metrics=[IDLE, busy], flush_cache=["Cache flushed."]))
    assert report.refused
    assert report.fault == "requests_waiting is 2"
    assert ("POST", "/flush_cache") not in asked


@pytest.mark.parametrize("metrics", [[], ["# nothing\n"], [IDLE.split("\n", maxsplit=1)[0]]])
def test_who_does_not_say_that_it_is_idle_is_left_alone(metrics):
    report, asked = carried_out(Answers(metrics=metrics, flush_cache=["Cache flushed."]))
    assert report.refused
    assert ("POST", "/flush_cache") not in asked


def test_a_refusal_of_the_engine_is_heeded():
    report, _ = carried_out(Answers(metrics=[IDLE], flush_cache=["busy"]))
    assert report.refused
    assert "400" in report.fault


@pytest.mark.parametrize("at", ["found", "configured"])
def test_an_address_is_found_or_written_down_and_asked_for_its_names_either_way(at):
    report, asked = carried_out(Answers(metrics=[IDLE], flush_cache=["ok"]), at=at)
    assert report.fault is None
    assert asked.count(("GET", "/metrics")) == 2
    report, asked = carried_out(Answers(metrics=["other:name 0\n"], flush_cache=["ok"]), at=at)
    assert report.refused
    assert ("POST", "/flush_cache") not in asked


def test_what_loses_nothing_is_called_without_being_named():
    report, asked = carried_out(Answers(metrics=[IDLE], flush_cache=["ok"]), is_named=False)
    assert report.fault is None
    assert asked[-1] == ("POST", "/flush_cache")


def test_an_engine_that_is_no_service_of_its_process_is_not_called():
    with receiving(Answers(metrics=[IDLE], flush_cache=["ok"])) as receiver:
        asking = asking_ourselves(receiver, argv=(*COMMANDS["sglang"], "--port", "1"))
        asking.told(look=False)
        said = asking.gauging.hearing.hear("sglang", [each.facts.key for each in asking.tenants.values()])
        assert receiver.got == []
    assert "no socket of this machine that is known to be its own" in said


STATS = '{"devices": [{"torch_vram_total": 2, "torch_vram_free": 1}]}'


def test_models_are_unloaded_where_the_queue_is_empty():
    def answers(left):
        queue = f'{{"exec_info": {{"queue_remaining": {left}}}}}'
        return Answers(system_stats=[STATS], prompt=[queue], free=[""])

    report, asked = carried_out(answers(0), "comfyui_free")
    assert report.fault is None
    assert asked[-1] == ("POST", "/free")
    report, asked = carried_out(answers(1), "comfyui_free")
    assert report.fault == "requests_running is 1"
    assert ("POST", "/free") not in asked


def test_a_model_of_ollama_is_unloaded_by_name_and_only_where_it_is_loaded():
    loaded = '{"models": [{"name": "big", "size": 9, "size_vram": 6}]}'
    answers = {"api/ps": [loaded], "api/generate": ["{}"]}
    report, asked = carried_out(Answers(**answers), "ollama_unload", model="big")
    assert report.fault is None
    assert asked[-1] == ("POST", "/api/generate")
    report, asked = carried_out(Answers(**answers), "ollama_unload", model="small")
    assert report.fault == "small is not loaded there"
    assert ("POST", "/api/generate") not in asked


QUIET = {
    "vllm_sleep": "vllm:num_requests_running 0.0\nvllm:num_requests_waiting 0.0\n",
    "lmdeploy_sleep": "lmdeploy:num_requests_running 0.0\nlmdeploy:num_requests_waiting 0.0\n",
}
SLEEP = {"vllm_sleep": "/sleep?level=1&mode=wait", "lmdeploy_sleep": "/sleep?level=1"}


@pytest.mark.parametrize("call", QUIET)
def test_an_engine_is_put_to_sleep_where_it_says_that_it_is_awake(call):
    metrics, path = [QUIET[call]], SLEEP[call]
    awake = {"metrics": metrics, "is_sleeping": ['{"is_sleeping": false}'], path[1:]: ["ok"]}
    report, asked = carried_out(Answers(**awake), call)
    assert report.fault is None
    assert asked[-1] == ("POST", path)
    asleep = {**awake, "is_sleeping": ['{"is_sleeping": true}']}
    report, asked = carried_out(Answers(**asleep), call)
    assert report.fault == "it sleeps already"
    report, asked = carried_out(Answers(**{**awake, "is_sleeping": []}), call)  # without its developers' mode
    assert report.refused
    assert ("POST", path) not in asked


def test_what_costs_service_is_only_called_where_that_service_is_named():
    metrics = [QUIET["vllm_sleep"]]
    awake = {"metrics": metrics, "is_sleeping": ['{"is_sleeping": false}'], SLEEP["vllm_sleep"][1:]: ["ok"]}
    report, asked = carried_out(Answers(**awake), "vllm_sleep", is_named=False)
    assert report.fault
    assert asked == []


def test_only_the_service_that_is_named_is_called_and_only_the_engine_that_runs_there():
    party = Party(GIB, frozenset({ProcessKey("boot", 1, 7)}), engines=frozenset({"vllm"}))
    service = {"call": "vllm_sleep"}
    offer = Engine(services={"chat": service}).offer(case(), party)
    assert isinstance(offer, Offer)
    assert offer.costs_service
    assert isinstance(Engine(services={"other": service}).offer(case(), party), Unfit)
    flush = {"call": "sglang_flush_cache", "address": "http://127.0.0.1:30000"}
    assert isinstance(Engine(services={"chat": flush}).offer(case(), party), Unfit)
    harmless = Engine().offer(case(), Party(GIB, party.processes, engines=frozenset({"sglang"})))
    assert isinstance(harmless, Offer)
    assert not harmless.costs_service


@pytest.mark.parametrize(
    "wrong",
    [
        {"call": "vllm_collective_rpc", "address": "http://127.0.0.1:8000"},
        {"call": "sglang_flush_cache", "address": "http://10.0.0.1:30000"},
        {"call": "sglang_flush_cache", "address": "http://127.0.0.1:30000/release_memory_occupation"},
        {"call": "ollama_unload", "address": "http://127.0.0.1:11434"},
    ],
)
def test_what_is_not_known_to_be_safe_cannot_be_configured(wrong):
    with pytest.raises(ValidationError):
        Engine(services={"chat": wrong})


def test_work_of_any_model_counts_whatever_it_is_called():
    odd = IDLE + 'sglang:num_running_reqs{model_name="a} 0"} 1.0\n'
    report, _ = carried_out(Answers(metrics=[odd], flush_cache=["Cache flushed."]))
    assert report.refused
