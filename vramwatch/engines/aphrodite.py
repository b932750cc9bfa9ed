"""Aphrodite, a fork of vLLM. Commands: aphrodite/endpoints/cli.py and openai/api_server.py."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import Command, model_name, operand, option, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence


@dataclass(frozen=True, slots=True)
class Aphrodite:
    """Aphrodite: ``aphrodite run MODEL`` or its API server as a module."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the name it serves under is preferred to the model's path."""
        command = working_command(facts)
        if command.program != "aphrodite" and not command.program.startswith("aphrodite.endpoints."):
            return None
        return EngineFacts("aphrodite", "server", _model(command), preallocates=True)


def _model(command: Command) -> str | None:
    served = option(command.arguments, "--served-model-name", "--model")
    return model_name(served or operand(command.arguments, "run"))
