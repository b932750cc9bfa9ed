"""Ollama. Runner's command line: llm/server.go of ollama/ollama 0.32; "ollama runner" before that.

Sizes: docs/api.md, "List Running Models"; OLLAMA_HOST: envconfig/config.go.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import Command, model_name, option, parse, working_command
from vramwatch.core.metric_pages import Asks, Told, figure, known, read_json
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_RUNNERS = ("llama-server", "ollama_llama_se")  # the second is cut as comm is: ollama_llama_server
_BLOB = re.compile(r"/blobs/sha256[-:][0-9a-f]+")
_BLOB_NAME = re.compile(r"sha256[-:](?P<digest>[0-9a-f]+)")
_DIGEST_SHOWN = 12  # as `ollama list` and `docker images` shorten a digest

_PAGE = "/api/ps"
_HOST = re.compile(r"(?:https?://)?(?:\[[^\]]*\]|[^:/]*):(?P<port>\d{1,5})/?")


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

    def asks(self, facts: ProcessFacts) -> Asks:
        """The server is asked, at the address that it hands on to its runners; a runner's own port is not."""
        host = _HOST.fullmatch(facts.environment.get("OLLAMA_HOST", ""))
        return Asks((_PAGE,), (11434,), (), int(host["port"]) if host else None)

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        """A runner is known by its blob and the page by names, so that figures count for a single model."""
        said = read_json(pages.get(_PAGE))
        models = said.get("models") if isinstance(said, dict) else None
        if not isinstance(models, list):
            return ()
        one = models[0] if len(models) == 1 and isinstance(models[0], dict) else {}
        return (
            Told(known(model_bytes=figure(one.get("size")), model_gpu_bytes=figure(one.get("size_vram")))),
        )


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
