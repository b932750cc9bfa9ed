"""llama.cpp. Options: tools/server/README.md of ggml-org/llama.cpp, 2026."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import Command, has_option, model_name, option, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_PROGRAMS = {
    "llama-server": "server",
    "llama_cpp.server": "server",  # the server of llama-cpp-python
    "llama-cli": "cli",
    "llama-run": "cli",
    "llama-mtmd-cli": "cli",
    "llama-bench": "bench",
    "llama-embedding": "cli",
}
_ALIAS = ("-a", "--alias", "--model-alias")
_MODEL = ("-m", "--model", "-hf", "-hfr", "--hf-repo", "-mu", "--model-url")
_MODEL_VARIABLE = "LLAMA_ARG_MODEL"
_MODEL_CHOICES = frozenset({"--models-dir", "--models-preset", "--models-max"})


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp and llama-cpp-python: one process a model, or a router that starts such processes."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; a model is named by its alias, else by its file or repository."""
        command = working_command(facts)
        role = _PROGRAMS.get(command.program)
        if role is None:
            return None
        named = option(command.arguments, *_ALIAS) or option(command.arguments, *_MODEL)
        model = model_name(named or facts.environment.get(_MODEL_VARIABLE))
        is_router = _chooses_models(command) and model is None
        return EngineFacts("llama_cpp", "router" if is_router else role, model, preallocates=not is_router)


def _chooses_models(command: Command) -> bool:
    return has_option(command.arguments, _MODEL_CHOICES)
