"""Every engine against processes as /proc shows them; each row says where its words come from."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vramwatch import families
from vramwatch.core.model import Ancestor, Container, EngineFacts, ProcessFacts, ProcessKey
from vramwatch.core.owners import owner_of
from vramwatch.core.recognition import Engine, recognise

FIXTURES = Path(__file__).parents[1] / "fixtures" / "engines"
ENGINES: tuple[Engine, ...] = tuple(each() for each in families.discover("vramwatch.engines").values())
UNKNOWN = "unknown"


def rows(file: str) -> list[dict[str, Any]]:
    return yaml.safe_load((FIXTURES / f"{file}.yaml").read_text())


def process(row: dict[str, Any]) -> ProcessFacts:
    argv = tuple(row.get("argv", ()))
    ancestors = tuple(
        Ancestor(100 + place, above[0][:15], tuple(above), " ".join(above))
        for place, above in enumerate(row.get("ancestors", ()))
    )
    return ProcessFacts(
        ProcessKey("boot", 4242, 77),
        name=row.get("name", ""),
        argv=argv,
        title=" ".join(argv),
        uid=1000,
        ancestors=ancestors,
        environment=row.get("environment", {}),
        container=Container("c0ffee", "docker", image=row["image"]) if "image" in row else None,
    )


EVERY_ROW = [
    pytest.param(file.stem, row, id=f"{file.stem}: {row['it']}")
    for file in sorted(FIXTURES.glob("*.yaml"))
    for row in rows(file.stem)
]


@pytest.mark.parametrize(("engine", "row"), EVERY_ROW)
def test_a_process_is_recognised_with_role_model_and_rank(engine: str, row: dict[str, Any]) -> None:
    claim = recognise(ENGINES, process(row))
    if engine == UNKNOWN:
        assert claim is None
        return
    expected = row["expected"]
    assert claim is not None
    assert (claim.engine, claim.role, claim.model, claim.rank) == (
        engine,
        expected["role"],
        expected.get("model"),
        expected.get("rank"),
    )


@pytest.mark.parametrize(("_engine", "row"), EVERY_ROW)
def test_no_two_engines_of_one_precedence_claim_a_process(_engine: str, row: dict[str, Any]) -> None:
    facts = process(row)
    claimed_at = [each.precedence for each in ENGINES if each.recognise(facts)]
    assert len(claimed_at) == len(set(claimed_at))


@pytest.mark.parametrize("engine", sorted(families.discover("vramwatch.engines")))
def test_every_engine_has_processes_to_be_tested_on(engine: str) -> None:
    assert rows(engine)


@pytest.mark.parametrize(("_engine", "row"), EVERY_ROW)
def test_every_fixture_says_where_it_comes_from(_engine: str, row: dict[str, Any]) -> None:
    assert row["origin"] in ("recorded", "composed")
    assert row["source"]


@pytest.mark.parametrize(
    ("engine", "processes"),
    [
        (
            "vllm",
            [
                {"argv": ["vllm", "serve", "Qwen/Qwen3-8B"]},
                {"argv": ["VLLM::APIServer_1"], "ancestors": [["vllm", "serve", "Qwen/Qwen3-8B"]]},
                {"argv": ["VLLM::EngineCore"], "ancestors": [["vllm", "serve", "Qwen/Qwen3-8B"]]},
                {
                    "argv": ["VLLM::Worker_TP1"],
                    "ancestors": [["VLLM::EngineCore"], ["vllm", "serve", "Qwen/Qwen3-8B"]],
                },
            ],
        ),
        (
            "sglang",
            [
                {"argv": ["sglang", "serve", "Qwen/Qwen3-8B"]},
                {"argv": ["sglang::scheduler_TP0"], "ancestors": [["sglang", "serve", "Qwen/Qwen3-8B"]]},
                {"argv": ["sglang::detokenizer"], "ancestors": [["sglang", "serve", "Qwen/Qwen3-8B"]]},
            ],
        ),
    ],
)
def test_api_server_engine_core_and_ranks_are_one_owner(engine: str, processes: list[dict[str, Any]]) -> None:
    owners = {owner_of(facts, recognise(ENGINES, facts)).key for facts in map(process, processes)}
    assert owners == {f"engine:1000/{engine}/Qwen3-8B"}


def test_a_plain_torch_program_is_owned_by_its_script() -> None:
    facts = process({"name": "pt_main_thread", "argv": ["python", "-u", "/home/alice/train.py"]})
    claim = recognise(ENGINES, facts)
    assert claim == EngineFacts("torch", "program")
    assert owner_of(facts, claim).key == "program:1000/train.py"


@pytest.mark.parametrize(
    ("argv", "preallocates"),
    [
        (["vllm", "serve", "m"], True),
        (["llama-server", "-m", "a.gguf"], True),
        (["llama-server", "--models-dir", "/models"], False),
        (["ollama", "serve"], False),
        (["python", "/opt/ComfyUI/main.py"], False),
    ],
)
def test_an_engine_says_whether_its_kv_pool_is_taken_at_start(argv: list[str], preallocates: bool) -> None:
    claim = recognise(ENGINES, process({"argv": argv}))
    assert claim is not None
    assert claim.preallocates is preallocates
