"""What holds for every engine that is found in the folder."""

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch import families
from vramwatch.core.metric_pages import GREATEST, Gauged
from vramwatch.core.model import Ancestor, Container, EngineFacts, ProcessFacts, ProcessKey
from vramwatch.core.owners import owner_of
from vramwatch.core.recognition import Engine, Precedence, recognise

PAGES = Path(__file__).parents[1] / "fixtures" / "engine_pages"
FOUND = families.discover("vramwatch.engines")
ENGINES: tuple[Engine, ...] = tuple(each() for each in FOUND.values())

# Words that engines look for, so that their deeper branches are reached too.
WORDS = st.sampled_from(
    (
        *("python3", "-u", "-m", "-c", "-W", "uvicorn", "torchrun", "/", "//", "-", "--", "=", "::", ""),
        *(
            "vllm",
            "serve",
            "--model",
            "--model=",
            "--served-model-name",
            "VLLM::Worker_TP1",
            "VLLM::EngineCore",
        ),
        *("ray::RayWorkerWrapper", "ray::ServeReplica:a:b", "sglang::scheduler_TP0", "sglang.launch_server"),
        *("llama-server", "-hf", "--models-dir", "ollama", "runner", "/m/blobs/sha256-ab12", "models--a--b"),
        *("text-generation-server", "trtllm-serve", "mpi4py.futures.server", "lmdeploy", "tritonserver"),
        *("main.py", "--port", "8188", "webui.py", "--medvram", "server.py", "--loader"),
        *("xinference-local", "Model: x-rep0", "aphrodite", "run", "wyoming_faster_whisper"),
        *("llama", "vllm-rs", "APHRODITE::Worker_TP1", "text-embeddings-router", "ray::SchedulerActor"),
    )
)
TEXTS = st.one_of(WORDS, st.text(max_size=20))
ARGVS = st.lists(TEXTS, max_size=6).map(tuple)
ANCESTORS = st.builds(Ancestor, pid=st.integers(1), name=TEXTS, argv=ARGVS, title=TEXTS)
FACTS = st.builds(
    ProcessFacts,
    key=st.just(ProcessKey("boot", 4242, 77)),
    name=TEXTS,
    argv=ARGVS,
    title=TEXTS,
    uid=st.none() | st.integers(0),
    ancestors=st.lists(ANCESTORS, max_size=3).map(tuple),
    environment=st.dictionaries(
        st.sampled_from(["RANK", "NIM_MODEL_NAME", "PYTORCH_X"]) | TEXTS, TEXTS, max_size=3
    ),
    container=st.none() | st.builds(Container, id=TEXTS, runtime=TEXTS, image=st.none() | TEXTS),
)


@given(FACTS)
def test_any_process_gets_an_answer_under_the_engines_own_name(facts: ProcessFacts) -> None:
    for name, engine in zip(FOUND, ENGINES, strict=True):
        claim = engine.recognise(facts)
        assert claim is None or claim.engine == name
        assert claim is None or (claim.role and claim.model != "")
        assert claim is None or claim.rank is None or claim.rank >= 0


@given(FACTS, st.randoms(use_true_random=False))
def test_the_order_of_the_engines_is_of_no_account(facts: ProcessFacts, shuffler: random.Random) -> None:
    shuffled = list(ENGINES)
    shuffler.shuffle(shuffled)
    assert recognise(shuffled, facts) == recognise(ENGINES, facts)


@given(FACTS)
def test_the_same_process_gets_the_same_answer_again(facts: ProcessFacts) -> None:
    assert recognise(ENGINES, facts) == recognise(ENGINES, facts)


@given(FACTS)
def test_every_process_has_an_owner(facts: ProcessFacts) -> None:
    owner = owner_of(facts, recognise(ENGINES, facts))
    assert owner.name
    assert ":" in owner.key


@given(FACTS)
def test_a_more_specific_claim_wins(facts: ProcessFacts) -> None:
    claims = {name: engine for name, engine in zip(FOUND, ENGINES, strict=True) if engine.recognise(facts)}
    winner = recognise(ENGINES, facts)
    most_specific = min((engine.precedence for engine in claims.values()), default=None)
    assert (winner and claims[winner.engine].precedence) == most_specific


@pytest.mark.parametrize("name", sorted(FOUND))
def test_an_engine_is_a_frozen_class_with_a_precedence_and_a_sentence(name: str) -> None:
    engine = FOUND[name]
    assert engine.precedence in Precedence
    assert engine.__doc__
    assert engine.__dataclass_params__.frozen


def test_an_unknown_engine_is_a_normal_answer() -> None:
    assert recognise(ENGINES, ProcessFacts(ProcessKey("boot", 1, 1))) is None
    assert recognise((), ProcessFacts(ProcessKey("boot", 1, 1), title="VLLM::EngineCore")) is None


def test_the_names_of_engines_are_those_of_their_files() -> None:
    facts = ProcessFacts(ProcessKey("boot", 1, 1), argv=("llama-server", "-m", "a"))
    assert FOUND["llama_cpp"]().recognise(facts) == EngineFacts("llama_cpp", model="a", preallocates=True)


GAUGED = [engine for engine in ENGINES if isinstance(engine, Gauged)]
WHOLE = [place.read_text() for place in sorted(PAGES.iterdir())]
QUANTITIES = {
    *("engine_kv_bytes", "engine_kv_ratio", "engine_pool_bytes", "engine_evictable_bytes"),
    *("engine_prefix_hit_ratio", "engine_sleep_level", "torch_reserved_bytes", "torch_allocated_bytes"),
    *("requests_running", "requests_waiting", "requests_total", "preemptions_total"),
    *("model_bytes", "model_gpu_bytes"),
}


@st.composite
def spoilt(draw) -> str:
    """A page with a part that was replaced by something else, or cut off."""
    text = draw(st.sampled_from(WHOLE))
    begin = draw(st.integers(0, len(text)))
    end = draw(st.integers(begin, min(len(text), begin + 40)))
    other = st.text(max_size=8) | st.sampled_from(["NaN", "1e999", "9007199254740992", "-3", '"', "[[", "{}"])
    return text[:begin] + draw(other) + text[end:]


@given(st.lists(spoilt() | st.text(max_size=60) | st.sampled_from(WHOLE), max_size=2), FACTS)
def test_whatever_an_engine_answers_only_figures_that_can_be_true_are_told(
    texts: list[str], facts: ProcessFacts
) -> None:
    for engine in GAUGED:
        pages = dict(zip(engine.asks(facts).paths, texts, strict=False))
        for told in engine.read(pages):
            assert told.figures.keys() <= QUANTITIES
            for quantity, value in told.figures.items():
                assert 0 <= value <= (1 if quantity.endswith("_ratio") else GREATEST)


@given(FACTS)
def test_an_engine_asks_for_pages_and_ports_that_there_can_be(facts: ProcessFacts) -> None:
    for engine in GAUGED:
        asks = engine.asks(facts)
        assert asks.paths
        assert all(path.startswith("/") for path in asks.paths)
        assert all(0 < port < 1 << 16 for port in asks.usual_ports)


@pytest.mark.parametrize("size", [20_000, 40_000])
@pytest.mark.parametrize("part", ['a="', "a", "{", "}", '\\"', 'x="y",', " ", "1"])
def test_a_hostile_page_is_read_in_a_time_that_grows_with_its_length_alone(part: str, size: int) -> None:
    line = "vllm:num_requests_running{" + part * size + "} 1\n"
    begun = time.process_time()
    for engine in GAUGED:
        engine.read(dict.fromkeys(engine.asks(ProcessFacts(ProcessKey("boot", 1, 1))).paths, line * 4))
    assert time.process_time() - begun < 2.0
