"""vLLM 0.33.0. The Rust front end ``vllm-rs`` of its wheel serves the same pages, without sleep and cache.

Actors: vllm/v1/executor/ray_executor_v2.py and vllm/v1/engine/core.py; RayWorkerWrapper is of before 0.33.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core import vllm_family
from vramwatch.core.metric_pages import Asks, Told
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence
from vramwatch.core.vllm_family import Kin

_VLLM = Kin(
    name="vllm",
    programs=frozenset({"vllm", "vllm-rs"}),
    modules=("vllm.entrypoints.",),
    subcommands=("serve",),
    prefix="VLLM",
    prefix_variable="VLLM_PROCESS_NAME_PREFIX",
    port=8000,
    actors={
        "ray::RayWorkerWrapper": "worker",
        "ray::RayWorkerProc": "worker",
        "ray::EngineCoreActor": "engine_core",
        "ray::DPMoEEngineCoreActor": "engine_core",
    },
)


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM: API servers, engine cores and workers; the model from the command that started them."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        return vllm_family.recognise(_VLLM, facts)

    def asks(self, facts: ProcessFacts) -> Asks:
        return vllm_family.asks(_VLLM, facts)

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        return vllm_family.read(_VLLM, pages)
