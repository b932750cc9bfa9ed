"""text-generation-webui. Options: modules/shared.py of the repository."""

from dataclasses import dataclass
from typing import ClassVar

from vramwatch.core.commandline import has_option, lineage, model_name, option, working_command
from vramwatch.core.model import EngineFacts, ProcessFacts
from vramwatch.core.recognition import Precedence

_SCRIPT = "server.py"
_FOLDERS = ("text-generation-webui", "textgen")
_STARTER = "one_click.py"
# Options that hardly another server.py has; "--api" alone is nobody's in particular.
_OPTIONS = frozenset(
    {"--loader", "--lora-dir", "--model-menu", "--multi-user", "--chat-buttons", "--api-port"}
)


@dataclass(frozen=True, slots=True)
class TextGenerationWebui:
    """text-generation-webui: ``server.py``, told from others by folder, starter or options."""

    precedence: ClassVar[Precedence] = Precedence.ENGINE

    def recognise(self, facts: ProcessFacts) -> EngineFacts | None:
        """Return the claim; the model is known where the command line names it."""
        command = working_command(facts)
        if command.program != _SCRIPT:
            return None
        words = [word for each in lineage(facts) for word in each.argv]
        is_web_ui = any(word.endswith(_STARTER) or any(each in word for each in _FOLDERS) for word in words)
        if not is_web_ui and not has_option(command.arguments, _OPTIONS):
            return None
        return EngineFacts("text_generation_webui", model=model_name(option(command.arguments, "--model")))
