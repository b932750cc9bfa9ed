"""Ollama 0.33. Runners: llm/llama_server.go; "ollama runner" is x/mlxrunner/client.go, and before 0.31 all.

Sizes: docs/api.md, "List Running Models"; OLLAMA_HOST: envconfig/config.go.
"""

import re
from collections.abc import Mapping, Sequence
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
_MODELS_MOST, _NAME_MOST = 256, 512  # loaded at once; characters of a name
_HOST = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:\[[^\]]*\]|[^:/]*)(?::(?P<port>\d{1,5}))?(?:/.*)?", re.DOTALL
)
_PORT = 11434
_PORTS = {"http": 80, "https": 443}  # of an address with a scheme and without a port


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
        return Asks((_PAGE,), (_PORT,), (), _port(facts.environment.get("OLLAMA_HOST")))

    def read(self, pages: Mapping[str, str]) -> tuple[Told, ...]:
        """The sum of all models counts for the service; then each model by name, as long as there are any.

        A runner is known by its blob and the page by names, so that no runner is told its own model's.
        """
        said = read_json(pages.get(_PAGE))
        models = said.get("models") if isinstance(said, dict) else None
        if not isinstance(models, list) or len(models) > _MODELS_MOST:
            return ()
        each = [Told(_sizes(model), model=name) for model in models if (name := _name(model))]
        sizes, on_gpu = ([one.figures.get(key) for one in each] for key in ("model_bytes", "model_gpu_bytes"))
        return (Told(known(model_bytes=_sum(sizes), model_gpu_bytes=_sum(on_gpu))), *each)


def _port(address: str | None) -> int | None:
    """Return the port of OLLAMA_HOST; None where it names none, or nothing that can be one."""
    host = _HOST.fullmatch((address or "").strip(" \t\"'"))
    return int(host["port"] or 0) or _PORTS.get(host["scheme"] or "") if host else None


def _name(model: object) -> str | None:
    name = model.get("name") if isinstance(model, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= _NAME_MOST else None


def _sizes(model: Mapping[str, object]) -> Mapping[str, float]:
    return known(model_bytes=figure(model.get("size")), model_gpu_bytes=figure(model.get("size_vram")))


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum; None where there is nothing, or one is not told: a part would pass for the whole."""
    told = [each for each in values if each is not None]
    return sum(told) if told and len(told) == len(values) else None


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
