"""Ollama. Runner's command line: llm/server.go of ollama/ollama 0.32; "ollama runner" before that."""

import re
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import Command, model_name, option, parse, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_RUNNERS = ("llama-server", "ollama_llama_se")  # the second is cut as comm is: ollama_llama_server
_BLOB = re.compile(r"/blobs/sha256[-:][0-9a-f]+")
_BLOB_NAME = re.compile(r"sha256[-:](?P<digest>[0-9a-f]+)")
_DIGEST_SHOWN = 12  # as `ollama list` and `docker images` shorten a digest


@dataclass(frozen=True, slots=True)
class Ollama:
    """Ollama: its server and one runner a model, which is known by its blob and not by its name."""

    precedence: ClassVar[Precedence] = Precedence.WRAPPER

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; a runner without its server is known by the folder of its model."""
        command = working_command(facts)
        model = option(command.arguments, "--model", "-m")
        if command.program == "ollama":
            role = "runner" if command.arguments[:1] == ("runner",) else "server"
        elif command.program.startswith(_RUNNERS) and _is_ollamas(facts, command, model):
            role = "runner"
        else:
            return None
        return EngineFacts("ollama", role, _short(model), preallocates=role == "runner")


def _is_ollamas(facts: ProcessFacts, command: Command, model: str | None) -> bool:
    return (
        command.program.startswith("ollama")
        or bool(model and _BLOB.search(model))
        or any(parse(each.argv).program == "ollama" for each in facts.ancestors)
    )


def _short(model: str | None) -> str | None:
    name = model_name(model)
    blob = _BLOB_NAME.fullmatch(name) if name else None
    return f"sha256-{blob['digest'][:_DIGEST_SHOWN]}" if blob else name
