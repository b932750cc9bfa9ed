"""Aphrodite 0.24.1, a fork of vLLM. Commands: aphrodite/entrypoints/cli/, once aphrodite/endpoints/.

Titles: aphrodite/utils/system_utils.py; metrics: aphrodite/v1/metrics/loggers.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core import vllm_family
from vramwatch.core.metric_pages import Asks, Told
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence
from vramwatch.core.vllm_family import Kin

_APHRODITE = Kin(
    name="aphrodite",
    programs=frozenset({"aphrodite"}),
    modules=("aphrodite.entrypoints.", "aphrodite.endpoints."),
    subcommands=("run", "serve"),
    prefix="APHRODITE",
    prefix_variable="APHRODITE_PROCESS_NAME_PREFIX",
    port=2242,
    actors={},  # its classes are called as vLLM's, which has them
)


@dataclass(frozen=True, slots=True)
class Aphrodite:
    """Aphrodite: API servers, engine cores and workers; the model from the command that started them."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        return vllm_family.recognise(_APHRODITE, facts)

    def asks(self, facts: ProcessFacts) -> Asks:
        return vllm_family.asks(_APHRODITE, facts)

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        return vllm_family.read(_APHRODITE, pages)
