"""LMDeploy. Command: lmdeploy/cli/serve.py, release 0.16.0."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import model_name, operand, option, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence


@dataclass(frozen=True, slots=True)
class Lmdeploy:
    """LMDeploy: ``lmdeploy serve api_server MODEL`` and ``lmdeploy chat MODEL``."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the name it serves under is preferred to the model's path."""
        command = working_command(facts)
        if command.program != "lmdeploy" and not command.program.startswith("lmdeploy."):
            return None
        served = option(command.arguments, "--model-name")
        path = operand(command.arguments, "serve", "api_server") or operand(command.arguments, "chat")
        return EngineFacts("lmdeploy", "server", model_name(served or path), preallocates=True)
