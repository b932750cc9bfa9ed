"""The remedy ``engine`` against answers over real HTTP, composed after the sources named beside each call."""

import pytest
from pydantic import ValidationError

from tests.core.test_ladder import case
from tests.receivers import receiving
from vramwatch.core.attempts import Apply, RemedyName
from vramwatch.core.model import ProcessKey
from vramwatch.core.parties import Offer, Party, Unfit
from vramwatch.core.units import GIB
from vramwatch.posting import HttpCourier
from vramwatch.remedies import engine
from vramwatch.remedies.engine import Engine
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


def carried_out(script, call="sglang_flush_cache", **more):
    """Return the report of the remedy, and the paths that were asked for."""
    with receiving(script) as receiver:
        remedy = Engine(services={"chat": {"call": call, "address": receiver.url.rstrip("/"), **more}})
        apply = Apply(
            "a1",
            "i1",
            "GPU-1",
            "rule:chat",
            RemedyName.ENGINE,
            (),
            frozenset(),
            "",
            GIB,
            1,
            facts={"OWNER_NAME": "chat"},
        )
        report = remedy.carry_out(apply, Hands(None, HttpCourier))
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
    assert "num_queue_reqs is 2" in report.fault
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


def test_models_are_unloaded_where_the_queue_is_empty():
    queue = '{"queue_running": [], "queue_pending": []}'
    report, asked = carried_out(Answers(queue=[queue], free=[""]), "comfyui_free")
    assert report.fault is None
    assert asked[-1] == ("POST", "/free")
    running = '{"queue_running": [[0]], "queue_pending": []}'
    report, asked = carried_out(Answers(queue=[running], free=[""]), "comfyui_free")
    assert report.refused
    assert ("POST", "/free") not in asked


def test_only_the_service_that_is_named_is_called_and_only_the_engine_that_runs_there():
    party = Party(GIB, frozenset({ProcessKey("boot", 1, 7)}), engines=frozenset({"sglang"}))
    service = {"call": "sglang_flush_cache", "address": "http://127.0.0.1:30000"}
    assert isinstance(Engine(services={"chat": service}).offer(case(), party), Offer)
    assert isinstance(Engine(services={"other": service}).offer(case(), party), Unfit)
    other = Party(GIB, party.processes, engines=frozenset({"vllm"}))
    assert isinstance(Engine(services={"chat": service}).offer(case(), other), Unfit)


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
