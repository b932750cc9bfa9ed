"""What holds for every engine that is found in the folder."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramwatch import families
from vramwatch.core.model import Ancestor, Container, EngineFacts, ProcessFacts, ProcessKey
from vramwatch.core.owners import owner_of
from vramwatch.core.recognition import Engine, Precedence, recognise

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
        *("xinference-local", "Model: x-0", "aphrodite", "run", "wyoming_faster_whisper"),
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
    claim = FOUND["llama_cpp"]().recognise(ProcessFacts(ProcessKey("boot", 1, 1), argv=("llama-server",)))
    assert claim == EngineFacts("llama_cpp", preallocates=True)
