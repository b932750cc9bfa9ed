"""faster-whisper and the servers that are built on it."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import model_name, option, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_PROGRAMS = frozenset(
    {
        "faster-whisper-server",
        "faster_whisper_server",
        "wyoming-faster-whisper",
        "wyoming_faster_whisper",
        "whisper-ctranslate2",
        "speaches",
    }
)
_SERVER_GATEWAYS = frozenset({"uvicorn", "gunicorn", "hypercorn", "fastapi"})
_APPLICATIONS = ("faster_whisper_server.", "speaches.")  # "speaches.main:create_app" of its Dockerfile


@dataclass(frozen=True, slots=True)
class FasterWhisper:
    """faster-whisper: known by the servers built on it; in a program of one's own it is not seen."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model is known where the command line names it."""
        command = working_command(facts)
        is_application = command.program in _SERVER_GATEWAYS and any(
            word.startswith(_APPLICATIONS) for word in command.arguments
        )
        if command.program not in _PROGRAMS and not is_application:
            return None
        return EngineFacts("faster_whisper", model=model_name(option(command.arguments, "--model")))
