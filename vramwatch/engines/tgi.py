"""Text Generation Inference 3.3.6. Programs: launcher, router, server and backends/ of the repository.

Metrics: docs/source/reference/metrics.md of the same; none tells how full the KV cache is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import lineage, model_name, operand, option, parse, working_command
from vramwatch.core.metric_pages import Asks, Told, read_page, told, total
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_ROLES = {
    "text-generation-launcher": "launcher",
    "text-generation-router": "router",
    "text-generation-router-v2": "router",
    "text-generation-router-llamacpp": "server",  # the one process of that backend
    "text-generation-server": "worker",
}
_MODEL_VARIABLE = "MODEL_ID"  # the launcher's --model-id as a variable

_RUNNING, _WAITING, _REQUESTS = "tgi_batch_current_size", "tgi_queue_size", "tgi_request_count"


@dataclass(frozen=True, slots=True)
class Tgi:
    """Text Generation Inference: a launcher with a router and one server a shard."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model from the shard's own command or from the launcher's."""
        role = _ROLES.get(working_command(facts).program)
        if role is None:
            return None
        commands = [parse(each.argv) for each in lineage(facts)]
        models = (
            operand(each.arguments, "serve") or option(each.arguments, "--model-id")
            for each in commands
            if each.program in _ROLES
        )
        named = next((name for name in map(model_name, models) if name), None)
        model = named or model_name(facts.environment.get(_MODEL_VARIABLE))
        return EngineFacts("tgi", role, model, preallocates=True)

    def asks(self, facts: ProcessFacts) -> Asks:
        return Asks(("/metrics",), (3000, 80), ("--port", "-p"))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        page = read_page(pages.get("/metrics", ""), (_RUNNING, _WAITING, _REQUESTS))
        return tuple(
            told(
                requests_running=total(page.get(_RUNNING, ())),
                requests_waiting=total(page.get(_WAITING, ())),
                requests_total=total(page.get(_REQUESTS, ())),
            )
        )
