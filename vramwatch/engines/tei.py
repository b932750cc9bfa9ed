"""Text Embeddings Inference 1.9.3. Programs: cuda-all-entrypoint.sh, backends/python/src/management.rs.

Metrics: core/src/queue.rs and router/src/http/server.rs; none tells how many run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import lineage, model_name, option, parse, working_command
from vramwatch.core.metric_pages import Asks, Told, read_page, told, total
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_SERVER = "text-embeddings-router"  # "text-embeddings-router-80": of an image for several architectures
_WORKER = "python-text-embeddings-server"
_MODEL_VARIABLE = "MODEL_ID"

_WAITING, _REQUESTS = "te_queue_size", "te_request_count"


@dataclass(frozen=True, slots=True)
class Tei:
    """Text Embeddings Inference: one process, or one with a Python backend below it. It keeps no KV."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model from the server's own command, else from its variable."""
        program = working_command(facts).program
        if not program.startswith(_SERVER) and program != _WORKER:
            return None
        commands = (parse(each.argv) for each in lineage(facts))
        named = next(
            (option(c.arguments, "--model-id") for c in commands if c.program.startswith(_SERVER)), None
        )
        model = model_name(named or facts.environment.get(_MODEL_VARIABLE))
        return EngineFacts("tei", "worker" if program == _WORKER else "server", model)

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks(("/metrics",), (3000, 80), ("--port", "-p"))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get("/metrics", ""), (_WAITING, _REQUESTS))
        return tuple(
            told(
                requests_waiting=total(page.get(_WAITING, ())),
                requests_total=total(page.get(_REQUESTS, ())),
            )
        )
