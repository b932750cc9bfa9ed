"""Text Generation Inference. Programs: launcher, router and server of the repository, 2026-01."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import lineage, model_name, operand, option, parse, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_ROLES = {
    "text-generation-launcher": "launcher",
    "text-generation-router": "router",
    "text-generation-server": "worker",
}
_MODEL_VARIABLE = "MODEL_ID"  # the launcher's --model-id as a variable


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
